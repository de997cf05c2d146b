"""Studies of every kind that figures are drawn of, fitted once."""

from functools import cache

import numpy as np
import pandas as pd
import pytest

from analysis import fit, load
from analysis.data.points import Points
from analysis.figures.study import Study
from analysis.laws import law_named
from scaling import Cost, RunRecord, RunSpec
from scaling.files import write_json, write_json_lines

from ..conftest import chinchilla, isoflop_table

ODD = ("<script>alert(1)</script>", r"cost in $x_$ and \frac{a}", "100%&_#{}~^", "日本語の音声 模型")
"""Names that are markup somewhere, or signs that the font lacks."""


def factorial_table(noise=0.004, seed=0):
    """Return every size at every amount of data."""
    rng = np.random.default_rng(seed)
    n, d = (g.ravel() for g in np.meshgrid(np.geomspace(1e6, 1e9, 10), np.geomspace(2e8, 2e11, 9)))
    return pd.DataFrame({"params": n, "tokens": d, "loss": chinchilla(n, d) * np.exp(noise * rng.normal(size=len(n)))})


def repeated_table(seed=0):
    """Return sizes at amounts of unique data seen up to 40 times, of the law that knows what repeats are worth."""
    rng = np.random.default_rng(seed)
    n, u, epochs = (g.ravel() for g in np.meshgrid(np.geomspace(3e6, 3e9, 6), [1e8, 1e9, 1e10], [1, 2, 4, 10, 40.0]))
    log = np.log
    at = Points(log_n=log(n), log_d=log(u * epochs), log_u=log(u), log_c=log(6 * n * u * epochs))
    loss = np.exp(law_named("data-constrained").log_loss(log([1.7, 400, 2000, 0.34, 0.37, 15.0, 5.0]), at))
    noise = np.exp(0.002 * rng.normal(size=len(n)))
    return pd.DataFrame({"params": n, "tokens": u * epochs, "unique_tokens": u, "loss": loss * noise})


def speech_table(seed=0):
    """Return isoFLOP runs as records of speech have them: frames, recorded costs, seconds, devices and metrics."""
    rng = np.random.default_rng(seed)
    budgets = (1e15, 4e15, 1.6e16, 6.4e16)
    frame = isoflop_table(budgets, sizes=6, noise=0.004, cost=lambda n: 6 * n + 4e7 * (n / 1e7) ** 0.3, seed=seed)
    frame = frame.rename(columns={"tokens": "frames"})
    frame["seconds"] = frame["flops"] / (2e13 * frame["params"] / (1e7 + frame["params"]))
    frame["device"] = np.where(frame["params"] > frame["params"].median(), "NVIDIA H100 80GB HBM3", "cpu (x86_64)")
    frame["asr_wer"] = 12 * frame["loss"] * np.exp(0.02 * rng.normal(size=len(frame)))
    frame["metric_phone_error_rate"] = 9 * frame["loss"]
    return frame


def many_table(count=5000):
    rng = np.random.default_rng(0)
    n, d = np.exp(rng.uniform(np.log(1e6), np.log(1e9), count)), np.exp(rng.uniform(np.log(1e9), np.log(1e12), count))
    return pd.DataFrame({"params": n, "tokens": d, "loss": chinchilla(n, d) * np.exp(0.01 * rng.normal(size=count))})


def curve_table():
    n = np.geomspace(1e6, 1e9, 9)
    return pd.DataFrame({"params": n, "loss": 2.0 + 0.04 * np.log(n / 6e7) ** 2})


def sweep_folder(folder):
    """Write a sweep with runs that are done, diverged, begun, waiting and dropped."""
    plan = []
    for i, size in enumerate([10, 20, 40, 80, 160, 320, 640, 1280]):
        cost = Cost(params=size * 1000, flops_per_step=6e6 * size, frames_per_step=1000)
        spec = RunSpec(trainer="toy:train", model={"size": size}, updates=12800 // size)
        loss = None if i == 4 else 2 + (np.log(size) - 4) ** 2
        if i < 5:
            times = {"started": f"2026-03-01T0{i}:00:00+00:00", "finished": f"2026-03-01T0{i}:50:00+00:00"}
            record = RunRecord.of(spec, cost, loss=loss, seconds=3000.0, device="toy", **times)
            write_json(folder / "records" / f"{spec.id}.json", record.to_dict())
        if i == 5:
            write_json_lines(folder / "runs" / spec.id / "metrics.jsonl", [{"step": 1}])
        status = "dropped" if i == 7 else "run"
        flops = spec.updates * cost.flops_per_step
        plan.append({"id": spec.id, "status": status, "params": cost.params, "flops": flops})
    write_json(folder / "sweep.json", {})
    write_json_lines(folder / "plan.jsonl", plan)
    return folder


TABLES = {
    "isoflop": lambda: isoflop_table(noise=0.003),
    "seeds": lambda: isoflop_table(noise=0.003, seeds=3),
    "budgets": lambda: isoflop_table(np.geomspace(1e17, 1e20, 14), noise=0.002),
    "single": lambda: isoflop_table((1e18,), noise=0.002, sizes=7),
    "curve": curve_table,
    "factorial": factorial_table,
    "repeated": repeated_table,
    "speech": speech_table,
    "thousandth": lambda: isoflop_table(noise=0.003, seeds=3).eval("loss = loss / 3e3"),
    "thousand": lambda: isoflop_table(noise=0.003).eval("loss = loss * 3e2"),
    "many": many_table,
}
JUDGED = ("isoflop", "factorial")


@pytest.fixture(scope="session")
def study_of(tmp_path_factory):
    """Return a function of a table's name that gives its study."""

    @cache
    def make(name):
        path = tmp_path_factory.mktemp("tables") / f"{name}.csv"
        TABLES[name]().to_csv(path, index=False)
        table = load(path)[0]
        return Study(fit=fit(table, draws=0 if name == "many" else 60, judged=name in JUDGED), table=table)

    return make


@pytest.fixture(scope="session")
def odd_studies(tmp_path_factory):
    """Return studies whose groups, devices, loss and metrics have names that are markup somewhere."""
    path = tmp_path_factory.mktemp("odd") / "<b>$runs$.csv"
    frame = pd.concat([speech_table(seed=i).assign(recipe=name, device=name) for i, name in enumerate(ODD)])
    odd = {"loss": ODD[1], "asr_wer": f"{ODD[2]}_wer", "metric_phone_error_rate": f"metric_{ODD[3]}"}
    frame.rename(columns=odd).to_csv(path, index=False)
    tables = load(path, group="recipe", loss=ODD[1])
    return [Study(fit=fit(table, draws=20, judged=False), table=table) for table in tables]


@pytest.fixture(scope="session")
def sweep_study(tmp_path_factory):
    """Return the study of a sweep that is not over."""
    table = load(sweep_folder(tmp_path_factory.mktemp("sweep")))[0]
    return Study(fit=fit(table, draws=20, judged=False), table=table)
