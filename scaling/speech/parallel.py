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
from torch.nn.parallel import DistributedDataParallel

from scaling.cost import check_shares

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
    several = int(os.environ.get("SLURM_NTASKS", "1")) > 1 and os.environ.get("SUBMITIT_EXECUTOR") == "slurm"
    if "RANK" in os.environ or not several:
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
    check_shares(crops, group, team.size)
    share = crops // team.size
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
        from torch.distributed.fsdp import fully_shard

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
    exchange = getattr(model, "set_requires_gradient_sync", None)  # a sharded model's
    if callable(exchange):
        exchange(last)
    yield


def whole_state(model: Model, optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Return weights and optimiser by the parameters' names, whole and on the CPU, whatever they were sharded over."""
    moments = {
        name: {key: _whole(value) for key, value in optimiser.state[parameter].items()}
        for name, parameter in model.named_parameters()
    }
    return {"model": whole_weights(model), "optimiser": moments}


def whole_weights(model: Model) -> dict[str, torch.Tensor]:
    """Return the weights by name, whole and on the CPU; all processes take part."""
    return {name: _whole(value) for name, value in model.state_dict().items()}


@torch.no_grad()
def load_whole_state(model: Model, optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load what `whole_state` returned into a model that may be sharded otherwise."""
    for name, value in model.state_dict().items():
        value.copy_(_shared_as(state["model"][name], value))
    for name, parameter in model.named_parameters():
        for key, value in optimiser.state[parameter].items():
            value.copy_(_shared_as(state["optimiser"][name][key], value))


def _whole(value: torch.Tensor) -> torch.Tensor:
    whole = value.full_tensor() if hasattr(value, "full_tensor") else value
    return whole.detach().cpu()


def _shared_as(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Return a whole tensor, or this process's part of it where another is sharded."""
    if not hasattr(like, "device_mesh"):
        return value.to(like.device)
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)  # type: ignore[attr-defined]
