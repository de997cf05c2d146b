"""Speech synthesis, as a multiple of real time on one core. Run `python -m benchmarks.corpus`."""

import tempfile
from pathlib import Path

from benchmarks.timing import machine, median_seconds
from scaling.speech.corpus.synth import synthesise

HOURS = 2.0
REPEATS = 1


def build() -> float:
    """Make a small corpus in a fresh folder and return its hours."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = synthesise(Path(folder) / "corpus", hours=HOURS, seed=0, workers=1)
        return float(corpus.hours + corpus.manifest["held_out_hours"])


if __name__ == "__main__":
    print(machine())
    hours = build()
    seconds = median_seconds(build, REPEATS)
    print(f"corpus synth, one core: {hours * 3600 / seconds:.0f} x real time ({seconds:.1f} s for {hours:.3g} h)")
