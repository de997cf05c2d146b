"""The training loop: spends a run's FLOPs, evaluates, resumes exactly, and ends as a record.

What a step sees, and every random number in it, is a function of the seed and the crop (`data`, `noise`), so a
checkpoint needs weights and optimiser alone to go on bit for bit on the CPU, and any number of processes trains alike.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import torch

from scaling import __version__
from scaling.cost import Cost
from scaling.errors import InputError, WorkError
from scaling.records import RunRecord, RunSpec
from scaling.run import RunFolder
from scaling.speech import cost as run_cost
from scaling.speech import settings_of
from scaling.speech.corpus.store import Corpus
from scaling.speech.derived import Frames
from scaling.speech.evaluation import eval_id, evaluate
from scaling.speech.features import normalisation
from scaling.speech.loader import Prefetch
from scaling.speech.model import Model, compile_layers, make_optimiser
from scaling.speech.opening import micro_crops, open_corpus, open_crops, prepare
from scaling.speech.parallel import Team, join_team, load_whole_state, split, whole_state, whole_weights, wrap
from scaling.speech.stepper import MicroBatch, Stepper, check_precision
from scaling.speech.targets import Targets, make_targets
from scaling.speech.weights import Weights

if TYPE_CHECKING:
    from scaling.speech.probes.run import Probed

CURVE_POINTS = 64
"""Points of the training curve; the loss is averaged between them."""
MAX_SKIPPED = 10
"""Steps in a row without a finite loss and gradient that end a run as diverged."""
RESTORE_ATTEMPTS, RESTORE_SECONDS = 10, 3.0
"""How often, and how long apart, processes that find different checkpoints look again."""
AHEAD = 2
"""Steps that are read ahead."""
GPU_READERS = 4
"""Threads that read beside a GPU: speed and noise on log-Mel features need three for 8,000 audio-seconds a second."""


def train(spec: RunSpec, run: RunFolder) -> RunRecord | None:
    """Train one encoder from its last checkpoint on and return its record; None when told to stop.

    Raises:
        InputError: When the corpus changed, the device lacks the precision, the processes cannot share the batch, or
            the checkpoint is of another run.
    """
    with join_team() as team:
        corpus = open_corpus(spec)
        torch.set_num_threads(spec.threads)
        check_precision(spec.train["precision"], team.device)
        if team.leads:
            prepare(spec)
        team.wait()
        return Training(spec, run, team, corpus).to_record()


@dataclass
class Progress:
    """How far a run is: what its checkpoint holds beside weights and optimiser."""

    step: int = 0
    inherited: int = 0
    """Steps that its parent took."""
    seconds: float = 0.0
    started: str = ""
    curve: list[list[float]] = field(default_factory=list)
    """[FLOPs, mean loss since the last point]."""
    total: float = 0.0
    """Sum of the losses since the curve's last point, and their number."""
    count: int = 0
    skipped: int = 0
    """Steps that were not finite, and those of them since the last that was."""
    in_a_row: int = 0
    execution: list[dict[str, Any]] = field(default_factory=list)


class Training:
    """One run on this process."""

    def __init__(self, spec: RunSpec, run: RunFolder, team: Team, corpus: Corpus) -> None:
        """Build the model and load the last checkpoint, or the parent's state."""
        self.spec, self.run, self.team, self.corpus = spec, run, team, corpus
        self.cost: Cost = run_cost(spec)
        self.targets: Targets | None = make_targets(corpus, spec.targets, spec.where.get("teacher"))
        self.crops = open_crops(spec, corpus)
        group = int(spec.objective_args.get("group", 1))
        micro = micro_crops(spec, spec.train["crops"] // team.size, halvings=run.out_of_memory)
        self.passes = split(spec.train["crops"], group, team, micro)
        self.model = Model(spec).to(team.device)
        if spec.execution.get("compile"):
            compile_layers(self.model)
        shard = bool(spec.execution.get("shard")) and team.size > 1
        settings = settings_of(spec)
        self.wrapped = wrap(self.model, team, shard=shard, unused=bool(settings["layer_drop"]))
        self.optimiser = make_optimiser(self.model, settings)
        self.progress = Progress(started=_now())
        self._restore()
        self._note_execution(shard)
        self._begun = time.monotonic() - self.progress.seconds

    def to_record(self) -> RunRecord | None:
        """Train to the end and return the record; None when told to stop."""
        reason = self._train()
        if reason is None:
            return None
        done = self.progress
        common: dict[str, Any] = {
            "updates": done.step,
            "eval_id": eval_id(self.spec, self.corpus, self.targets, self.model),
            "loss_unit": self.targets.unit if self.targets else "nats",
            "flops_total": self._flops_total(),
            "flops_new": (done.step - done.inherited) * self.cost.flops_per_step,
            "parent": str(self.spec.parent["id"]) if done.inherited else "",
            "curve": done.curve,
            "seconds": time.monotonic() - self._begun,
            "device": device_name(self.team.device),
            "execution": done.execution,
            "versions": versions(),
            "started": done.started,
            "finished": _now(),
        }
        result = (
            None
            if reason
            else evaluate(self.wrapped, self.model, self.crops, self.targets, self.spec, self.team.device)
        )
        if result is None or not abs(result.loss) < float("inf"):
            reason = reason or "the validation loss is not finite"
            return RunRecord.of(self.spec, self.cost, loss=None, reason=reason, **common)
        weights = self._weights()
        if self.team.leads and self.run.keep_weights:
            weights.save(self.run.path)
        if self.spec.probes:
            self._save()  # one that is stopped while it is probed trains nothing again
        probed = self._probe(weights)
        if probed is None:
            return None
        return RunRecord.of(
            self.spec,
            self.cost,
            loss=result.loss,
            loss_se=result.standard_error,
            metrics={
                **result.metrics,
                **({"skipped_steps": float(done.skipped)} if done.skipped else {}),
                **probed.metrics,
            },
            probe_id=probed.id,
            **common,
        )

    def _probe(self, weights: Weights) -> Probed | None:
        """Return what the encoder is good for, by the process that leads; None when told to stop."""
        from scaling.speech.probes.run import Probed, probe_in_run

        if not self.spec.probes or not self.team.leads:
            return Probed()
        return probe_in_run(self.spec, weights, self.corpus, self.run)

    def _train(self) -> str | None:
        """Take the steps that are left; return why the run diverged, empty if it did not, None when told to stop."""
        spec, done = self.spec, self.progress
        stepper = Stepper(self.model, self.wrapped, self.optimiser, spec, self.team)
        marks = {round(spec.updates * (i + 1) / CURVE_POINTS) for i in range(CURVE_POINTS)}
        many = len(self.passes)
        gpu = self.team.device.type == "cuda"
        readers = GPU_READERS if gpu else 1  # a CPU's cores are the training's
        ahead: Prefetch[MicroBatch]
        first, last = done.step * many, spec.updates * many
        with Prefetch(self._read, first, last, ahead=AHEAD * many, threads=readers, pin=gpu) as ahead:
            source: Iterator[MicroBatch] = iter(ahead)
            while done.step < spec.updates:
                passes = [next(source) for _ in range(many)]
                taken = stepper.step(passes, done.step, stop=self.run.should_stop)
                done.step += 1
                if taken.taken:
                    done.total, done.count, done.in_a_row = done.total + taken.loss, done.count + 1, 0
                else:
                    done.skipped, done.in_a_row = done.skipped + 1, done.in_a_row + 1
                if done.step in marks and done.count:
                    mean = done.total / done.count
                    done.curve.append([done.step * self.cost.flops_per_step, mean])
                    self.run.log(
                        done.step,
                        loss=mean,
                        updates=spec.updates,
                        peak=taken.rate,
                        norm=taken.norm,
                        skipped=done.skipped,
                    )
                    done.total, done.count = 0.0, 0
                if done.in_a_row >= MAX_SKIPPED:
                    return (
                        f"{MAX_SKIPPED} steps in a row without a finite loss and gradient, the last at {done.step} "
                        f"of {spec.updates} (loss {taken.loss}, gradient {taken.norm})"
                    )
                if done.step in spec.branches:
                    self._save_branch()
                if taken.stop and done.step < spec.updates:
                    self.run.note_stop()
                    self._save()
                    return None
                if self._save_now():
                    self._save()
        return ""

    def _read(self, number: int) -> MicroBatch:
        """Return a micro-batch of this process; called ahead, beside the training."""
        step, place = divmod(number, len(self.passes))
        first, count = self.passes[place]
        batch = self.crops.batch(step, self.spec.train["crops"], first, count)
        given = self.model.objective.given(batch, self.targets, self.spec.seed)
        return MicroBatch(inputs=batch.inputs, mask=batch.mask, given=given, first=int(batch.numbers[0]))

    def _save_now(self) -> bool:
        """Return whether a checkpoint is due; all processes take part in one."""
        due = self.run.save_due and self.progress.step < self.spec.updates
        return bool(self.team.total([float(due and self.team.leads)])[0])

    def _state(self) -> dict[str, Any]:
        self.progress.seconds = time.monotonic() - self._begun
        state = whole_state(self.model, self.optimiser)
        return {"run": self.spec.id, **state, "progress": dict(vars(self.progress))}

    def _save(self) -> None:
        self.run.save(self._state())

    def _save_branch(self) -> None:
        self.run.save_branch(self.progress.step, self._state())

    def _restore(self) -> None:
        """Load the last checkpoint, or what the parent kept where this run has none; all processes the same one.

        Each process reads for itself, and a shared file system may show them different files for a moment.
        """
        for attempt in range(RESTORE_ATTEMPTS):
            state = self._read_state()
            step = float(state["progress"]["step"]) if state is not None else 0.0
            sums = self.team.total([step, step * step])
            if self.team.size * sums[1] == sums[0] ** 2:
                break
            if attempt == RESTORE_ATTEMPTS - 1:
                message = f"the processes of this run find different checkpoints; this one that of step {step:.0f}"
                raise WorkError(message)
            time.sleep(RESTORE_SECONDS)
        if state is None:
            return
        before = Progress(**state["progress"])
        if state["run"] == self.spec.id:
            self.progress = before
        else:
            self.progress = Progress(
                step=before.step,
                inherited=before.step,
                skipped=before.skipped,
                in_a_row=before.in_a_row,
                started=_now(),
            )
        load_whole_state(self.model, self.optimiser, state)

    def _read_state(self) -> dict[str, Any] | None:
        state = self.run.load()
        if state is not None and state.get("run") != self.spec.id:
            raise InputError(
                "a checkpoint of another run",
                where=self.run.path,
                value=state.get("run"),
                remedy="move the checkpoint away; the run then begins anew",
            )
        if state is None and self.spec.parent:
            state = self.run.load_branch(self.spec.parent["id"], self.spec.parent["step"])
        return state

    def _note_execution(self, shard: bool) -> None:
        """Note how the run goes on, where that is new."""
        now = {
            "processes": self.team.size,
            "crops_a_pass": max(count for _, count in self.passes),
            "compiled": bool(self.spec.execution.get("compile")),
            "sharded": shard,
        }
        before = self.progress.execution[-1] if self.progress.execution else {}
        if {key: before.get(key) for key in now} != now:
            self.progress.execution.append({"from_step": self.progress.step, **now})

    def _flops_total(self) -> float:
        """Return C and what made the targets of the frames that the run saw."""
        spent = self.progress.step * self.cost.flops_per_step
        if self.targets is None:
            return spent
        distinct = float(Frames(self.corpus).counts[self.crops.utterances].sum())
        seen = min(self.progress.step * self.cost.frames_per_step, distinct)
        return spent + self.targets.fit_flops + self.targets.flops_per_frame * seen

    def _weights(self) -> Weights:
        """Return what the run leaves; all processes take part in putting it together."""
        state = whole_weights(self.model)
        mean, deviation = (None, None)
        if self.model.encoder.shape.frontend == "logmel":
            mean, deviation = (torch.as_tensor(x, dtype=torch.float32) for x in normalisation(self.corpus))
        return Weights(
            shape=self.model.encoder.shape,
            spec=self.spec.science,
            encoder_state=_part(state, "encoder."),
            objective_state=_part(state, "objective."),
            input_mean=mean,
            input_deviation=deviation,
            flops_total=self._flops_total(),
        )


def device_name(device: torch.device) -> str:
    """Return the name of the device that trained."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {"scaling-sweep": __version__, "torch": torch.__version__, "python": platform.python_version()}


def _part(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
