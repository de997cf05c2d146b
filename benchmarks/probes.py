"""Probes of an encoder of about a million parameters on an hour of speech: `python -m benchmarks.probes [--hours 1]`.

Each probe is timed alone with what it shares of the others' work already there; `states` is that shared part: the
encoder over all audio, kept on disk in half precision.
Needs corpora/demo (`scaling-sweep corpus synth corpora/demo --hours 10 --seed 0`).
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks.timing import machine
from scaling.cost import params_kept
from scaling.shape import Shape
from scaling.sizes import ladder
from scaling.speech.corpus.store import Corpus
from scaling.speech.encoder import Encoder
from scaling.speech.features import normalisation
from scaling.speech.probes.catalogue import PROBES, ProbeSettings
from scaling.speech.probes.labels import Labels
from scaling.speech.probes.tasks import TASKS, Bench
from scaling.speech.reading import Reader
from scaling.speech.weights import Weights
from scaling.tables import format_table
from scaling.units import format_count


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("corpora/demo"))
    parser.add_argument("--size", type=float, default=1e6)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--probes", default=",".join(PROBES))
    args = parser.parse_args()
    corpus = Corpus(args.corpus)
    (shape,) = ladder([args.size], aspect="slim", frontend="logmel", position=(32, 0), where="--size")
    source = Reader(corpus, untrained(corpus, shape))
    settings = ProbeSettings(hours=args.hours, seeds=1)
    rows: list[tuple[str, float]] = []
    bench = Bench(source, Labels(corpus), settings)
    rows.append(("states", seconds(bench.speech)))
    size = bench.speech()[1].size
    rows += [(probe, seconds(partial(TASKS[probe], bench))) for probe in args.probes.split(",")]
    print(machine())
    audio = f"{args.hours:g} h to learn from, {settings.test_hours:g} h to be judged on"
    print(f"{shape}, N {format_count(params_kept(shape))}; {audio}; one head each")
    print(f"{torch.get_num_threads()} threads; cache {size / 1e6:.0f} MB")
    print(format_table(["what", "seconds"], [[what, f"{value:.1f}"] for what, value in rows]))
    print(f"together {sum(value for _, value in rows):.1f} s")


def untrained(corpus: Corpus, shape: Shape) -> Weights:
    """Return random weights over a corpus's log-Mel features."""
    torch.manual_seed(0)
    mean, deviation = (torch.as_tensor(x, dtype=torch.float32) for x in normalisation(corpus))
    return Weights(shape=shape, spec={}, encoder_state=Encoder(shape).state_dict(), objective_state={},
                   input_mean=mean, input_deviation=deviation, flops_total=0.0)  # fmt: skip


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
