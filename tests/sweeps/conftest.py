"""A toy trainer whose loss follows a known law, and grids for it."""

import textwrap

import pytest

TOY = textwrap.dedent(
    '''
    """A trainer that takes no time: its loss is a known law of N and D, with seeded noise."""
    import math, os, random, time
    from scaling import Cost, RunRecord

    def cost(spec):
        return Cost(params=spec.model["size"], flops_per_step=6 * spec.model["size"] * 10, frames_per_step=10)

    def train(spec, run):
        args = spec.trainer_args
        state = run.load() or {"step": 0, "begun": []}
        state["begun"].append(state["step"])
        for step in range(state["step"], args.get("steps", 1)):
            time.sleep(args.get("seconds", 0.0))
            run.log(round((step + 1) / args.get("steps", 1) * spec.updates), loss=1.0 / (step + 1))
            state["step"] = step + 1
            if run.save_due or run.should_stop:
                run.save(state)
            if run.should_stop:
                return None
        if spec.seed == args.get("bad_seed"):
            raise RuntimeError(f"seed {spec.seed} is bad")
        if spec.seed == args.get("mad_seed"):
            return RunRecord.of(spec, cost(spec), loss=None, reason="loss nan at step 1")
        n, d = spec.model["size"], 10 * spec.updates
        noise = random.Random(1_000_003 * spec.seed + n).gauss(0.0, 1e-3)
        loss = (1.7 + 40 / n**0.35 + 400 / d**0.37) * math.exp(noise)
        return RunRecord.of(spec, cost(spec), loss=float(loss), metrics={"resumes": float(len(state["begun"]) - 1)})
    '''
)

GRID = textwrap.dedent(
    """
    name: toy
    trainer: toy:train
    model: {sizes: [100, 300, 1k]}
    budgets: [1e7, 1e8]
    seeds: [0, 1]
    min_updates: 1
    cluster: {executor: debug, slots: 2, save_every: 0.1s}
    """
)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Return a function that writes a toy grid (GRID with replacements or more lines) and returns its path."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.py").write_text(TOY)

    def write(*more, name="grid.yaml", **replaced):
        lines = [line for line in GRID.strip().splitlines() if line.split(":")[0] not in replaced]
        lines += [f"{key}: {value}" for key, value in replaced.items() if value is not None]
        (tmp_path / name).write_text("\n".join([*lines, *more]) + "\n")
        return tmp_path / name

    return write
