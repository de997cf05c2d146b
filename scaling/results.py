"""A sweep's records as flat rows: what `scaling-fit` reads from a folder, and `collect` writes as a table."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from scaling.errors import InputError
from scaling.files import TEMPORARY_PREFIX, read_json, read_json_lines
from scaling.records import RunRecord
from scaling.speech.probes.catalogue import METRICS, SE

SUPERSEDED, PILOT = "superseded", "pilot"
"""Flags that a sweep's own files add to its records: no longer in its plan; a trial of a pilot."""
SCORES = "probes"
"""Folder of a sweep with a file a probed run: probe id -> {protocol, scores: {probe: {metric: value}}}."""
_APART = ("spec", "metrics", "versions", "flags", "execution")


def read_records(sweep: Path, *, curves: bool = True) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Return (rows, excluded): one flat row a record, and {file, reason} of files in records/ that are none.

    A row has the file that it is from; the record's fields (`curve` a list of [FLOPs, loss]); `flags` with `;`
    between; `objective`, `seed` and `peak_lr` of its spec; `censored`, the side whose sizes the plan dropped;
    `model_*` and `metric_*`. Of several protocols by which runs were probed, a run's metrics are by the one
    that most runs have, the newest of equals: a few that were probed more thoroughly stay comparable with the rest.

    Args:
        sweep: A folder that holds `records/`. Its `sweep.json` and `plan.jsonl`, where they are, say which records
            the plan no longer has, which are trials of a pilot, and which budgets were cut.
        curves: Whether rows keep `curve`, which is most of a record.
    """
    about = read_json(sweep / "sweep.json") if (sweep / "sweep.json").exists() else {}
    cuts = {(cut["objective"], cut["unique_hours"], cut["budget"]): cut["side"] for cut in about.get("censored", [])}
    plan_file = sweep / "plan.jsonl"
    planned = {row["id"] for row in read_json_lines(plan_file)} if plan_file.exists() else None
    probed = {name: read_json(sweep / SCORES / name) for name in sorted(_names(sweep / SCORES)) if _of_run(name)}
    usual = Counter(of for scores in probed.values() for of in scores)
    rows, excluded = [], []
    for file in sorted((sweep / "records").iterdir(), key=lambda file: file.name):
        if not file.is_file() or file.name.startswith((".", TEMPORARY_PREFIX)):
            continue
        if file.suffix != ".json":
            excluded.append({"file": str(file), "reason": "not a run record (not a .json file)"})
            continue
        try:
            record = RunRecord.read(file)
        except InputError as error:
            excluded.append({"file": str(file), "reason": error.what})
            continue
        flags = list(record.flags)
        if planned is not None and record.id not in planned:
            flags.append(SUPERSEDED)
        if about.get("pilot"):
            flags.append(PILOT)
        record = _with_scores(record, probed.get(file.name, {}), usual)
        row = {**_row(record, flags), "file": str(file)}
        if not curves:
            del row["curve"]
        row["censored"] = cuts.get((row["objective"], record.unique_hours, record.budget), "")
        rows.append(row)
    return rows, excluded


def _with_scores(record: RunRecord, scores: dict[str, Any], usual: Counter[str]) -> RunRecord:
    """Return a record with the metrics of the protocol that most runs have, and none of another."""
    if not scores:
        return record
    of = max(reversed(scores), key=lambda one: usual[one])
    found = {name: value for one in scores[of]["scores"].values() for name, value in one.items()}
    ours = set(METRICS) | {name + SE for name in METRICS}
    kept = record.metrics if of == record.probe_id else {k: v for k, v in record.metrics.items() if k not in ours}
    return replace(record, metrics={**kept, **found}, probe_id=of)


def _of_run(name: str) -> bool:
    """Whether a file of scores is a run's, not that of raw features or of an encoder before training."""
    return not name.startswith((".", TEMPORARY_PREFIX, "random-", "raw")) and name.endswith(".json")


def _names(folder: Path) -> set[str]:
    """Return the names in a folder, none where there is no such folder."""
    return {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()


def _row(record: RunRecord, flags: list[str]) -> dict[str, Any]:
    spec = record.spec
    return {
        **{key: value for key, value in vars(record).items() if key not in _APART},
        "flags": ";".join(flags),
        "objective": spec.get("objective", ""),
        "seed": spec.get("seed"),
        "peak_lr": spec.get("train", {}).get("peak_lr"),
        **{f"model_{key}": value for key, value in spec.get("model", {}).items()},
        **{f"metric_{key}": value for key, value in record.metrics.items()},
    }
