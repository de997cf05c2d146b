"""Reading of batches, one thread: seconds of audio a second. Run `python -m benchmarks.loader`."""

import math
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import machine, median_seconds
from scaling.shape import SAMPLE_RATE, Shape
from scaling.speech.corpus.store import Corpus
from scaling.speech.corpus.synth import synthesise
from scaling.speech.data import Crops

HOURS = 1.0
CROP_SECONDS, CROPS = 15.0, 16
"""Crops of HuBERT's length, so most utterances of the corpus are shorter; without `join` those are of 4 s."""
SHORT_CROP_SECONDS, SHORT_CROPS = 4.0, 60
REPEATS = 15
H100 = 8_000
"""Seconds of audio that a Base model (12 x 768) trains on in a second of an H100: an assumption, not measured here."""

NOISE = {"snr_db": [5, 25], "share": 0.5}
AUGMENTATIONS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "speed 0.9 to 1.1": {"speed": [0.9, 1.1]},
    "white noise, half of the crops": {"noise": {**NOISE, "kind": "white"}},
    "speech as noise, half of the crops": {"noise": {**NOISE, "kind": "speech"}},
    "speed and speech as noise": {"speed": [0.9, 1.1], "noise": {**NOISE, "kind": "speech"}},
    "SpecAugment": {"specaugment": {}},
    "all": {"speed": [0.9, 1.1], "noise": {**NOISE, "kind": "speech"}, "specaugment": {}},
}


def rate(corpus: Corpus, frontend: str, *, join: bool, augment: dict[str, Any] | None) -> float:
    """Return seconds of audio that a thread reads in a second, each call another step of the run."""
    shape = Shape(frontend=frontend, layers=12, width=768, ffn=3072, heads=12)
    seconds, crops = (CROP_SECONDS, CROPS) if join else (SHORT_CROP_SECONDS, SHORT_CROPS)
    samples = round(seconds * SAMPLE_RATE)
    masked = shape.frames(samples) // 2
    reader = Crops(corpus, shape, samples, masked=masked, mask_length=10, join=join, augment=augment)
    steps = iter(range(REPEATS + 1))
    return crops * seconds / median_seconds(lambda: reader.batch(next(steps), crops), REPEATS)


def main() -> None:
    torch.set_num_threads(1)
    print(f"{machine()}; {HOURS:g} h of synthetic speech in the page cache")
    print(f"{'':38}{f'crops of {SHORT_CROP_SECONDS:g} s':>24}{f'joined, {CROP_SECONDS:g} s':>24}")
    print(f"{'front end, augmentation':38}" + f"{'audio-s/s':>14}{'threads':>10}" * 2)
    with tempfile.TemporaryDirectory() as folder:
        corpus = synthesise(Path(folder) / "corpus", hours=HOURS, seed=0)
        for frontend in ("waveform", "logmel"):
            for name, augment in AUGMENTATIONS.items():
                if frontend == "waveform" and augment and "specaugment" in augment:
                    continue
                rates = [rate(corpus, frontend, join=join, augment=augment) for join in (False, True)]
                cells = "".join(f"{one:14,.0f}{math.ceil(H100 / one):10d}" for one in rates)
                print(f"{f'{frontend}, {name}':38}{cells}")
    print(f"threads: reading threads for a Base model on an H100 at {H100:,} s of audio a second (assumed)")


if __name__ == "__main__":
    main()
