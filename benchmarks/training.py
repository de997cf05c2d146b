"""Training speed by size: time a step and FLOP/s, one thread or a GPU. Run `python -m benchmarks.training`."""

from pathlib import Path

from benchmarks.timing import machine
from scaling.shape import FRAMES_PER_SECOND
from scaling.speech import measure
from sweeps.gridfile import load_grid
from sweeps.plan import make_plan

GRID = Path(__file__).parents[1] / "examples" / "quickstart.yaml"

if __name__ == "__main__":
    print(machine())
    for point in make_plan(load_grid(GRID)).runs:
        seconds = measure(point.spec)
        audio = point.cost.frames_per_step / FRAMES_PER_SECOND
        rate = point.cost.flops_per_step / seconds / 1e9
        print(f"N {point.cost.params:8,.0f}  batch {audio:3.0f} s  {seconds * 1e3:7.2f} ms a step  {rate:6.2f} GFLOP/s")
