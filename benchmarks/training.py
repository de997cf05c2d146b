"""Training speed beside Transformers and torchaudio: `python -m benchmarks.training [--rounds 3] [--shapes Slim,Base]`.

Every measurement is a process of its own, and the contenders take turns, so that none profits from a quiet moment. A
step is forward, backward, clipping (ours only) and AdamW. FLOPs are those that the encoder and its head take
(`scaling.cost`), the same for all contenders of a shape; their share of the device's fastest matrix product is MFU.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass

from benchmarks.timing import machine
from scaling.records import RunSpec
from scaling.shape import FRAMES_PER_SECOND, SAMPLE_RATE, Shape
from scaling.speech import cost
from scaling.speech.catalogue import CATALOGUE, resolved_settings
from scaling.tables import format_table


@dataclass(frozen=True)
class Case:
    """A shape with its batch: on a CPU, and on a GPU where that differs."""

    shape: Shape
    crops: int
    seconds: float
    gpu: tuple[int, float]


SLIM = Shape(layers=12, width=384, ffn=768, heads=8)
BASE = Shape(layers=12, width=768, ffn=3072, heads=12)
MEL = {"frontend": "logmel", "position_kernel": 32}
CASES = {
    "Slim": Case(SLIM, 4, 4.0, (12, 15.6)),
    "Base": Case(BASE, 4, 4.0, (12, 15.6)),
    "log-Mel 28k": Case(Shape(layers=2, width=40, ffn=80, heads=1, position_groups=40, **MEL), 8, 2.0, (64, 4.0)),
    "log-Mel 1.1M": Case(Shape(layers=5, width=152, ffn=304, heads=4, position_groups=152, **MEL), 8, 2.0, (64, 4.0)),
}
OURS = ("hubert", "wav2vec2", "tera", "best_rq")
PEERS = ("Transformers wav2vec2", "torchaudio hubert")


def spec_of(case: Case, objective: str, precision: str, crops: int, seconds: float) -> RunSpec:
    """Return the run that is timed."""
    facts = CATALOGUE[objective]
    targets = {**facts.targets, **({"clusters": 500} if objective == "hubert" else {})}
    train = {
        "crops": crops,
        "crop_samples": round(seconds * SAMPLE_RATE),
        "peak_lr": 1e-5,
        "schedule": "wsd",
        "warmup_updates": 1,
        "precision": precision,
        "weight_decay": 0.01,
        "clip": 10.0,
        "dropout": 0.0,
        "layer_drop": 0.0,
        "mask_prob": facts.mask_prob,
        "mask_length": 10,
        "penalty": 10.0,
        "feature_grad": 0.1,
    }
    return RunSpec(
        objective=objective,
        objective_args=resolved_settings(objective, case.shape, {}, crops, seconds),
        model=case.shape.to_dict(),
        targets=targets,
        train=train,
        updates=100,
    )


def one(name: str, contender: str, precision: str, compiled: bool) -> dict[str, float]:
    """Return seconds a step and peak memory in MiB of one contender, measured in this process."""
    import torch

    from benchmarks.trainingpeers import DEVICE, matmul_ceiling, median_step, torchaudio_step, transformers_step

    if contender == "ceiling":
        return {"flops": matmul_ceiling(precision)}
    case = CASES[name]
    crops, seconds = case.gpu if DEVICE.type == "cuda" else (case.crops, case.seconds)
    samples = round(seconds * SAMPLE_RATE)
    if contender in OURS:
        from scaling.speech.stopwatch import make_step

        spec = spec_of(case, contender, precision, crops, seconds)
        taken = median_step(make_step(spec, compiled=compiled))
    else:
        step = transformers_step if contender == PEERS[0] else torchaudio_step
        taken = step(case.shape, crops, samples, precision)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if DEVICE.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
    objective = contender if contender in OURS else contender.split()[1]
    flops = cost(spec_of(case, objective, precision, crops, seconds)).flops_per_step
    return {"seconds": taken, "peak": peak, "audio": crops * seconds, "flops": flops}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shapes", default=",".join(CASES))
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--ours", default=",".join(OURS), help="objectives of ours")
    parser.add_argument("--compile", action="store_true", help="compile our layers")
    parser.add_argument("--one", nargs=3, metavar=("SHAPE", "CONTENDER", "PRECISION"), help="in this process, as JSON")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(*args.one, compiled=args.compile)))
        return
    print(machine())
    found: dict[tuple[str, str, str], list[dict[str, float]]] = defaultdict(list)
    for _ in range(args.rounds):
        for precision in args.precisions.split(","):
            for name in args.shapes.split(","):
                peers = PEERS if CASES[name].shape.frontend == "waveform" else ()
                for contender in ("ceiling", *args.ours.split(","), *peers):
                    command = [sys.executable, "-m", "benchmarks.training", "--one", name, contender, precision]
                    command += ["--compile"] if args.compile else []
                    done = subprocess.run(command, capture_output=True, text=True, check=True)
                    found[name, contender, precision].append(json.loads(done.stdout.splitlines()[-1]))
    rows = []
    for (name, contender, precision), values in found.items():
        if contender == "ceiling":
            continue
        seconds = statistics.median(v["seconds"] for v in values)
        ceiling = statistics.median(v["flops"] for v in found[name, "ceiling", precision])
        rate = values[0]["flops"] / seconds
        rows.append(
            [
                name,
                contender if contender not in OURS else f"ours, {contender}",
                precision,
                f"{1 / seconds:.2f}",
                f"{values[0]['audio'] / seconds:.1f}",
                f"{rate / 1e9:.0f}",
                f"{rate / ceiling:.0%}",
                f"{statistics.median(v['peak'] for v in values):.0f}",
            ]
        )
    header = ["shape", "contender", "precision", "steps/s", "audio s/s", "GFLOP/s", "MFU", "peak MiB"]
    print(format_table(header, rows, left=(0, 1, 2)))
    for precision in args.precisions.split(","):
        values = [v["flops"] for key, of in found.items() if key[1:] == ("ceiling", precision) for v in of]
        print(f"matrix product, {precision}: {statistics.median(values) / 1e9:.0f} GFLOP/s")
    print(f"D is counted in frames: {FRAMES_PER_SECOND} a second of audio")


if __name__ == "__main__":
    main()
