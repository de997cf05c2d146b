"""The states of an encoder over clips, computed once: whole in half precision on disk, or their means.

States are standardised by the mean and deviation of each value over the training frames, layer by layer: a linear head
can undo that, and one learning rate then serves all encoders. The layers are summed with softmax weights,

    x[t] = sum_l softmax(w)_l z_l[t],

so the mean of a clip's sum is the sum of its layers' means, and clips that are judged as a whole need only those.
"""

from __future__ import annotations

import errno
import math
import os
import tempfile
from collections.abc import Sequence

import numpy as np
import torch

from scaling.speech.probes.labels import Clip
from scaling.speech.reading import Source

SMALLEST_DEVIATION = 1e-4


class FrameStates:
    """States of every frame of some clips, [frames, layers, width]; the first `train` clips set the scale.

    Attributes:
        starts: First frame of each clip, and the number of frames: [clips + 1].
        layers: Layers, the first one's input counted.
        width: Values a frame and layer.
        device: Where states go when they are read, and heads learn.
        size: Bytes of all states in half precision.
    """

    def __init__(self, source: Source, clips: Sequence[Clip], *, train: int, cache_gb: float) -> None:
        """Compute them.

        Args:
            source: Makes the states.
            clips: Training clips, then test clips.
            train: How many of them are for training.
            cache_gb: The most that they may take on disk, in a file without a name in the folder for temporaries
                (TMPDIR), which goes with the process.
        """
        self._source, self._clips = source, list(clips)
        self._rows: torch.Tensor | None = None
        self.device = head_device()
        self.starts = np.concatenate([[0], np.cumsum([clip.count for clip in clips])])
        self.layers, _, self.width = self._read(0).shape
        shape = (int(self.starts[-1]), self.layers, self.width)
        self.size = 2 * math.prod(shape)
        self._array = _nameless(shape) if self.size <= cache_gb * 1e9 else None
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
        self._mean, self._deviation = (torch.from_numpy(x).float().to(self.device) for x in (mean, deviation))

    @property
    def cached(self) -> bool:
        """Whether the states are on disk; else they are computed at every reading, with the same result."""
        return self._array is not None

    def clip(self, number: int) -> torch.Tensor:
        """Return the standardised states of a clip, [frames, layers, width]."""
        return (self.as_they_are(number) - self._mean) / self._deviation

    def frames(self, numbers: Sequence[int], clips: int) -> torch.Tensor:
        """Return standardised states of some frames, counted from the first clip on, [frames, layers, width].

        Args:
            numbers: Which frames.
            clips: Clips that they come of, from the first on: read once into memory where they are not on disk.
        """
        if self._array is not None:
            read = torch.from_numpy(self._array[np.asarray(numbers)].astype(np.float32)).to(self.device)
            return ((read - self._mean) / self._deviation).half().float()
        if self._rows is None:
            self._rows = torch.cat([self.clip(i).half() for i in range(clips)])
        return self._rows[numbers].float()

    def as_they_are(self, number: int) -> torch.Tensor:
        """Return the states of a clip to half precision, [frames, layers, width]."""
        if self._array is not None:
            kept = self._array[self.starts[number] : self.starts[number + 1]].astype(np.float32)
            return torch.from_numpy(kept).to(self.device)
        return self._read(number).transpose(0, 1).half().float().to(self.device)

    def batch(self, numbers: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the states of some clips, [clips, frames, layers, width], zeros at their ends, and their lengths."""
        each = [self.clip(int(number)) for number in numbers]
        return torch.nn.utils.rnn.pad_sequence(each, batch_first=True), torch.tensor([len(one) for one in each])

    def _read(self, number: int) -> torch.Tensor:
        clip = self._clips[number]
        return self._source.states(clip.utterance, clip.first, clip.count)


def _nameless(shape: tuple[int, ...]) -> np.ndarray | None:
    """Return an array of half precision in a file that has no name, or None where the disk has no room for it."""
    with tempfile.TemporaryFile() as file:
        try:
            os.posix_fallocate(file.fileno(), 0, 2 * math.prod(shape))  # a write beyond a full disk would kill us
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            return None
        return np.memmap(file, dtype=np.float16, mode="r+", shape=shape)


def pooled(source: Source, clips: Sequence[Clip], *, train: int) -> torch.Tensor:
    """Return the mean over time of each clip's states, standardised by those of the training clips.

    Returns:
        float32 [clips, layers, width], where heads learn.
    """
    means = torch.stack([source.states(clip.utterance, clip.first, clip.count).mean(dim=1) for clip in clips])
    mean, deviation = means[:train].mean(dim=0), means[:train].std(dim=0).clamp_min(SMALLEST_DEVIATION)
    return ((means - mean) / deviation).to(head_device())


def head_device() -> torch.device:
    """Return where heads learn: a GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
