"""The states of an encoder over clips, computed once: whole in half precision on disk, or their means.

States are standardised by the mean and deviation of each value over the training frames, layer by layer: a linear head
can undo that, and one learning rate then serves all encoders. The layers are summed with softmax weights,

    x[t] = sum_l softmax(w)_l z_l[t],

so the mean of a clip's sum is the sum of its layers' means, and clips that are judged as a whole need only those.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from scaling.files import TEMPORARY_PREFIX
from scaling.speech.probes.labels import Clip
from scaling.speech.reading import Source

SMALLEST_DEVIATION = 1e-4


class FrameStates:
    """States of every frame of some clips, [frames, layers, width]; the first `train` clips set the scale.

    Use as a context manager: what is on disk goes at the end.

    Attributes:
        starts: First frame of each clip, and the number of frames: [clips + 1].
        layers: Layers, the first one's input counted.
        width: Values a frame and layer.
        cached: Whether the states are on disk; else they are computed at every reading, with the same result.
    """

    def __init__(self, source: Source, clips: Sequence[Clip], *, train: int, folder: Path, cache_gb: float) -> None:
        """Compute them.

        Args:
            source: Makes the states.
            clips: Training clips, then test clips.
            train: How many of them are for training.
            folder: Where the cache goes.
            cache_gb: The most that it may take.
        """
        self._source, self._clips = source, list(clips)
        self.starts = np.concatenate([[0], np.cumsum([clip.count for clip in clips])])
        self.layers, _, self.width = self._read(0).shape
        size = 2 * int(self.starts[-1]) * self.layers * self.width
        self.cached = size <= cache_gb * 1e9
        self._folder: Path | None = None
        self._array: np.ndarray | None = None
        if self.cached:
            folder.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(dir=folder, prefix=f"{TEMPORARY_PREFIX}states-"))
            shape = (int(self.starts[-1]), self.layers, self.width)
            self._array = np.memmap(self._folder / "states.f16", dtype=np.float16, mode="w+", shape=shape)
        sums, squares = np.zeros((self.layers, self.width)), np.zeros((self.layers, self.width))
        for i in range(len(self._clips)):
            states = self._read(i).numpy()
            if self._array is not None:
                self._array[self.starts[i] : self.starts[i + 1]] = states.transpose(1, 0, 2)
            if i < train:
                wide = states.astype(np.float64)
                sums, squares = sums + wide.sum(axis=1), squares + (wide**2).sum(axis=1)
        mean = sums / self.starts[train]
        deviation = np.sqrt(np.maximum(squares / self.starts[train] - mean**2, SMALLEST_DEVIATION**2))
        self._mean, self._deviation = (torch.from_numpy(x).float() for x in (mean, deviation))

    def __enter__(self) -> FrameStates:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the cache."""
        self._array = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def clip(self, number: int) -> torch.Tensor:
        """Return the standardised states of a clip, [frames, layers, width]."""
        return (self.as_they_are(number) - self._mean) / self._deviation

    def as_they_are(self, number: int) -> torch.Tensor:
        """Return the states of a clip to half precision, [frames, layers, width]."""
        if self._array is not None:
            return torch.from_numpy(self._array[self.starts[number] : self.starts[number + 1]].astype(np.float32))
        return self._read(number).transpose(0, 1).half().float()

    def batch(self, numbers: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the states of some clips, [clips, frames, layers, width], zeros at their ends, and their lengths."""
        each = [self.clip(int(number)) for number in numbers]
        return torch.nn.utils.rnn.pad_sequence(each, batch_first=True), torch.tensor([len(one) for one in each])

    def _read(self, number: int) -> torch.Tensor:
        clip = self._clips[number]
        return self._source.states(clip.utterance, clip.first, clip.count)


def pooled(source: Source, clips: Sequence[Clip], *, train: int) -> torch.Tensor:
    """Return the mean over time of each clip's states, standardised by those of the training clips.

    Returns:
        float32 [clips, layers, width].
    """
    means = torch.stack([source.states(clip.utterance, clip.first, clip.count).mean(dim=1) for clip in clips])
    mean, deviation = means[:train].mean(dim=0), means[:train].std(dim=0).clamp_min(SMALLEST_DEVIATION)
    return (means - mean) / deviation
