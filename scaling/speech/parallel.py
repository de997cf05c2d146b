"""The processes that train one run together: one, several of a node, or several nodes.

Every process reads its own share of each batch; gradients are averaged (DistributedDataParallel), or weights and
optimiser are sharded too (FSDP2). Started by submitit on SLURM, by torchrun, or alone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed
from torch.distributed.checkpoint import state_dict as sharded
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from scaling.errors import InputError

if TYPE_CHECKING:
    from scaling.speech.model import Model


WAIT = timedelta(hours=2)
"""How long the processes wait for one another."""


@dataclass(frozen=True, kw_only=True)
class Team:
    """Who this process is among those of the run."""

    rank: int = 0
    size: int = 1
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def total(self, values: list[float]) -> list[float]:
        """Return the sum of each value over the processes."""
        if self.size == 1:
            return values
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(sums)
        return [float(v) for v in sums]

    def wait(self) -> None:
        """Wait for all processes."""
        if self.size > 1:
            distributed.barrier()


@contextlib.contextmanager
def join_team() -> Iterator[Team]:
    """Join the processes of this run, and leave them at the end."""
    _export_submitit()
    size = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if torch.cuda.is_available():
        device = torch.device("cuda", local % torch.cuda.device_count())
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
    if size == 1:
        yield Team(device=device)
        return
    ours = not distributed.is_initialized()
    if ours:
        # one process makes features and targets while the others wait, where no submission made them before
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=WAIT)
    try:
        yield Team(rank=distributed.get_rank(), size=size, device=device)
    finally:
        if ours:
            distributed.destroy_process_group()


def _export_submitit() -> None:
    """Set torch's variables from those of a SLURM job of several tasks, by submitit's own helper."""
    if "RANK" in os.environ or int(os.environ.get("SLURM_NTASKS", "1")) == 1 or "SLURM_PROCID" not in os.environ:
        return
    from submitit.helpers import TorchDistributedEnvironment

    TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)


def split(crops: int, group: int, team: Team, micro: int | None) -> list[tuple[int, int]]:
    """Return (first, count) of the micro-batches of this process: its share of a batch, in passes of equal groups.

    Args:
        crops: Crops of the whole batch.
        group: Crops that stay together, since the objective takes statistics over them.
        team: The processes.
        micro: Crops a pass at most; the whole share when not given.

    Raises:
        InputError: When the processes cannot share the batch equally.

    Example:
        >>> split(12, 2, Team(rank=1, size=2, device=torch.device("cpu")), 4)
        [(6, 4), (10, 2)]
    """
    groups = crops // group
    if groups % team.size:
        able = [n for n in range(1, groups + 1) if groups % n == 0]
        raise InputError(
            f"{team.size} processes cannot share a batch of {crops} crops in groups of {group} equally",
            where="processes",
            value=team.size,
            remedy=f"use {', '.join(map(str, able[:12]))} processes (GPUs x nodes), another train.batch"
            + (", or a smaller objective_args.wav2vec2.group_seconds" if group > 1 else ""),
        )
    share = groups // team.size * group
    step = share if micro is None else max(1, micro // group) * group
    first = team.rank * share
    return [(first + done, min(step, share - done)) for done in range(0, share, step)]


def wrap(model: Model, team: Team, *, shard: bool, unused: bool) -> torch.nn.Module:
    """Return the model as the processes train it together.

    Args:
        model: On the device of this process.
        team: The processes.
        shard: Whether weights, gradients and optimiser are sharded (FSDP2) instead of copied.
        unused: Whether a step may leave parameters out (layer drop).
    """
    if team.size == 1:
        return model
    if shard:
        for layer in model.encoder.encoder.transformer.layers:
            fully_shard(layer)
        fully_shard(model)  # in place: the model becomes an FSDPModule
        return model
    devices = [team.device] if team.device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=devices, find_unused_parameters=unused)


@contextlib.contextmanager
def gradients_kept(model: torch.nn.Module, last: bool) -> Iterator[None]:
    """Exchange gradients after the last pass of a step only."""
    if isinstance(model, DistributedDataParallel) and not last:
        with model.no_sync():
            yield
        return
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(last)
    yield


def whole_state(model: Model, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Return weights and optimiser by name, whole and on the CPU, whatever they were sharded over."""
    options = sharded.StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights, state = sharded.get_state_dict(model, optimiser, options=options)
    return {"model": weights, "optimiser": state}


def load_whole_state(model: Model, optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load what `whole_state` returned into a model that may be sharded otherwise."""
    options = sharded.StateDictOptions(full_state_dict=True)
    sharded.set_state_dict(
        model, optimiser, model_state_dict=state["model"], optim_state_dict=state["optimiser"], options=options
    )
