"""The weights that a finished run leaves: the encoder, the objective's part, and what is needed to build them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from scaling.errors import InputError
from scaling.files import atomic_file
from scaling.shape import Shape

if TYPE_CHECKING:
    from scaling.speech.encoder import Encoder

FILE = "weights.pt"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What a finished run leaves."""

    shape: Shape
    spec: Mapping[str, Any]
    """All that decided the run."""
    encoder_state: Mapping[str, torch.Tensor]
    objective_state: Mapping[str, torch.Tensor]
    input_mean: torch.Tensor | None
    """Mean and deviation by which log-Mel frames were normalised, [80]; None for the waveform front end."""
    input_deviation: torch.Tensor | None
    flops_total: float

    def save(self, folder: Path) -> None:
        """Write them into a run's folder in one step."""
        values = {"format": FORMAT, **vars(self), "shape": self.shape.to_dict(), "spec": dict(self.spec)}
        with atomic_file(folder / FILE) as file:
            torch.save(values, file)

    @classmethod
    def load(cls, folder: Path) -> Weights:
        """Return the weights of a run.

        Args:
            folder: The run's folder, or the file itself.

        Raises:
            InputError: When there are none, or the file is not one of ours.
        """
        path = _file(folder)
        try:
            values = torch.load(path, map_location="cpu", weights_only=True)
            if values.pop("format") != FORMAT:
                raise KeyError("format")
            return cls(**{**values, "shape": Shape.from_dict(values["shape"])})
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"not the weights of a run ({type(error).__name__})", where=path, remedy="name a finished run's folder"
            ) from None

    def encoder(self) -> Encoder:
        """Return the encoder, in evaluation mode."""
        from scaling.speech.encoder import Encoder

        encoder = Encoder(self.shape)
        encoder.load_state_dict(dict(self.encoder_state))
        return encoder.eval()


def weights_hash(folder: Path) -> str:
    """Return the hash of an encoder's weights, whatever file they are in.

    Raises:
        InputError: When the run left none.
    """
    digest = hashlib.sha256()
    for name, value in sorted(Weights.load(folder).encoder_state.items()):
        digest.update(name.encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _file(folder: Path) -> Path:
    path = folder / FILE if folder.is_dir() else folder
    if not path.exists():
        raise InputError(
            "no weights here",
            where=folder,
            remedy="name the folder of a finished run, results/SWEEP/runs/ID (keep_weights: false leaves none)",
        )
    return path
