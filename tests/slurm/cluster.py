"""What the SLURM tests share: a trainer whose result tells of every step, grids for it, and the cluster's daemons."""

import os
import signal
import subprocess
import textwrap
from pathlib import Path

from sweeps.jobs.intents import intents_of
from sweeps.jobs.intents import jobs_of as jobs_of_intents

from ..sweeps import helpers
from ..sweeps.helpers import states, wait_for

__all__ = ["states", "wait_for"]

SCRIPT = Path(__file__).with_name("cluster.sh")

CHAIN = textwrap.dedent(
    '''
    """A trainer whose result is a chain over all its steps: one step lost, repeated or out of order changes it."""
    import os, signal, time
    from scaling import Cost, RunRecord

    def cost(spec):
        return Cost(params=spec.model["size"], flops_per_step=6.0 * spec.model["size"], frames_per_step=1)

    def link(chain, step, seed):
        return (chain * 48271 + 11 * step + seed) % 2147483647

    def train(spec, run):
        args = spec.trainer_args
        if args.get("deaf"):  # a site that sends no signal
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2, signal.SIGINT})
        if args.get("hungry", 0) > run.out_of_memory:
            raise MemoryError("the batch does not fit")
        if args.get("bad_rank") == int(os.environ.get("SLURM_PROCID", "0")):
            raise ValueError("this process is bad")
        hog = bytearray(int(args.get("hog", 0) * 1e6))
        if hog:
            hog[::4096] = b"x" * len(hog[::4096])
            time.sleep(3)
        state = run.load() or {"step": 0, "chain": 1, "begun": 0}
        state["begun"] += 1
        while state["step"] < spec.updates:
            time.sleep(args.get("seconds", 0.0))
            state["chain"] = link(state["chain"], state["step"], spec.seed)
            state["step"] += 1
            run.log(state["step"], loss=1.0 / state["step"])
            if run.should_stop:
                time.sleep(args.get("slow_save", 0) if run.leader else 0)
                run.save(state)
                return None
            if run.save_due:
                run.save(state)
        metrics = {"chain": float(state["chain"]), "resumes": state["begun"] - 1.0}
        return RunRecord.of(spec, cost(spec), loss=1.0 + 1.0 / state["chain"], metrics=metrics)
    '''
)

GRID = textwrap.dedent(
    """
    name: {name}
    trainer: chain:train
    model: {{sizes: {sizes}}}
    steps: [{steps}]
    seeds: {seeds}
    trainer_args: {args}
    cluster:
      executor: slurm
      save_every: {save_every}
      slurm: {{partition: {partition}, timeout: {timeout}{more}}}
      resources: [{{up_to: 1G, memory_gb: 0.25, processes: {processes}}}]
    """
)


def write_grid(folder, **changed):
    """Write the trainer and a grid for it, and return the grid's path."""
    values = {
        "name": "chain",
        "sizes": "[100]",
        "steps": 50,
        "seeds": "[0]",
        "args": "{seconds: 0.1}",
        "save_every": "1s",
        "partition": "main",
        "timeout": "60m",
        "more": "",
        "processes": 1,
        **changed,
    }
    (folder / "chain.py").write_text(CHAIN)
    grid = folder / "grid.yaml"
    grid.write_text(GRID.format(**values))
    return grid


def expected_chain(updates, seed):
    """Return the chain of an undisturbed run."""
    chain = 1
    for step in range(updates):
        chain = (chain * 48271 + 11 * step + seed) % 2147483647
    return float(chain)


def submitted(grid):
    """Submit a grid to SLURM from this process, and return what `submit` says."""
    return helpers.submitted(grid, "slurm")


def jobs_of(folder):
    """Return run -> the last job that was sent for it."""
    return jobs_of_intents(intents_of(folder))


def start_cluster(**settings):
    """Start what is not running of the cluster (daemons that were killed, nodes that are down)."""
    subprocess.run([SCRIPT, "start"], check=True, capture_output=True, env={**os.environ, **settings}, timeout=120)


def preempt(nodes):
    """Take whole nodes for two seconds from the jobs of the partition `low`."""
    options = ["--partition=high", f"--nodes={nodes}", "--exclusive", "--mem=0", "--time=2"]
    subprocess.run(["srun", *options, "sleep", "2"], check=True, capture_output=True, timeout=120)


def daemon(name):
    """Return the process id of one of the cluster's daemons."""
    return int((Path(os.environ["SLURM_CI_DIR"]) / "run" / f"{name}.pid").read_text())


def kill(pid, number=signal.SIGKILL):
    """Send a signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
