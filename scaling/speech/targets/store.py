"""Targets on disk: one label or one vector of values for every frame of a corpus, beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scaling.files import read_json
from scaling.progress import progress
from scaling.records import content_hash
from scaling.speech.corpus.store import Corpus
from scaling.speech.derived import Frames, derive, frames_in

LABELS, VALUES = "labels.u16", "values.f16"


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What every frame of a corpus stands for."""

    values: np.ndarray
    """uint16 labels [frames], or float16 values [frames, n]; mapped from disk."""
    classes: int
    """Number of labels; 0 for values."""
    model: str
    """Hash of what made them."""
    constant: np.ndarray
    """What the best constant predictor says: counts of the classes, or the median of each value."""
    entropy: float | None
    """Entropy of the labels in nats over the training audio: their cost without looking; None for values."""
    used: int
    """Labels that occur; 0 for values."""
    unit: str
    """Unit of a loss on them."""
    fit_flops: float
    """FLOPs that fitting took, the teacher's training with it."""
    flops_per_frame: float
    """FLOPs that making the target of a frame takes."""

    @property
    def unigram(self) -> np.ndarray:
        """Probabilities of the classes, each counted once more than it occurs."""
        return (self.constant + 1) / (self.constant + 1).sum()


def make_labels(
    corpus: Corpus,
    settings: Mapping[str, Any],
    fit: Callable[[], tuple[np.ndarray, Mapping[str, float]]],
    label: Callable[[np.ndarray], Iterable[tuple[int, np.ndarray]]],
) -> Targets:
    """Return labels of a corpus, made where they are missing.

    Args:
        corpus: The corpus.
        settings: All that decides the labels; their hash names the folder.
        fit: Returns the model of the labels, and {classes, fit_flops, flops_per_frame}.
        label: Takes that model and yields (utterance, labels of its frames).
    """
    frames = Frames(corpus)

    def write(folder: Path) -> dict[str, Any]:
        model, about = fit()
        classes = int(about["classes"])
        out = np.memmap(folder / LABELS, dtype=np.uint16, mode="w+", shape=(frames.total,))
        counts = np.zeros(classes, dtype=np.int64)
        training = set(corpus.subset().tolist())
        with progress("labels", frames.total / frames_in(1), "h") as show:
            for utterance, labels in label(model):
                out[frames.offsets[utterance] : frames.offsets[utterance + 1]] = labels
                if int(utterance) in training:
                    counts += np.bincount(labels, minlength=classes)
                show(frames.offsets[utterance + 1] / frames_in(1))
        out.flush()
        np.save(folder / "model.npy", model, allow_pickle=False)
        shares = counts[counts > 0] / counts.sum()
        return {
            "settings": dict(settings),
            "model": hashlib.sha256(model.tobytes()).hexdigest()[:16],
            "constant": counts,
            "entropy": float(-(shares * np.log(shares)).sum()),
            "used": len(shares),
            "unit": "nats",
            **about,
        }

    return open_targets(derive(corpus, f"{settings['kind']}-{content_hash(dict(settings))}", write), frames)


def open_targets(folder: Path, frames: Frames) -> Targets:
    """Return the targets in a folder."""
    info = read_json(folder / "info.json")
    constant = np.array(info["constant"])
    classes = int(info.get("classes", 0))
    return Targets(
        values=np.memmap(folder / LABELS, dtype=np.uint16, mode="r", shape=(frames.total,))
        if classes
        else np.memmap(folder / VALUES, dtype=np.float16, mode="r", shape=(frames.total, len(constant))),
        classes=classes,
        model=info["model"],
        constant=constant,
        entropy=info.get("entropy"),
        used=int(info.get("used", 0)),
        unit=info["unit"],
        fit_flops=info["fit_flops"],
        flops_per_frame=info["flops_per_frame"],
    )
