"""What the commands of `scaling-sweep` do. Heavy imports wait until a command needs them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.command import write_output

if TYPE_CHECKING:
    from sweeps.folder import SweepFolder
    from sweeps.plan import Plan
    from sweeps.studies import StudyPlan

PROGRAM = "scaling-sweep"
MUCH_HELD_OUT = 0.25
"""Share of held-out audio over which an import warns."""


def init(args: argparse.Namespace) -> int:
    """Write a template."""
    from sweeps.templates import STUDIES, write_study, write_template

    study = args.template in STUDIES
    files = (write_study if study else write_template)(args.template, args.output)
    for path in files:
        print(f"wrote {path}")
    print(f"next: {PROGRAM} study {files[0].parent}" if study else f"next: {PROGRAM} plan {files[0]}")
    return 0


def synth(args: argparse.Namespace) -> int:
    """Make a synthetic corpus."""
    from scaling.speech.corpus.synth import synthesise
    from scaling.units import parse_count

    _check_corpus(args)
    corpus = synthesise(args.dir, hours=parse_count(args.hours, where="--hours"), seed=args.seed, workers=args.workers)
    return _made(corpus)


def import_corpus(args: argparse.Namespace) -> int:
    """Make a corpus of audio files."""
    from scaling.speech.corpus.importing import import_audio

    _check_corpus(args)
    return _made(import_audio(args.dir, source=args.source, seed=args.seed, workers=args.workers))


def _check_corpus(args: argparse.Namespace) -> None:
    from scaling.errors import InputError

    if args.seed < 0:
        raise InputError("a seed cannot be negative", where="--seed", value=args.seed, remedy="write 0")
    if args.workers is not None and args.workers < 1:
        raise InputError("at least one process works", where="--workers", value=args.workers, remedy="write 1")


def _made(corpus: Any) -> int:
    """Say what a corpus holds."""
    from scaling.speech.corpus.datasets import SHARED_SPEAKERS

    about = corpus.manifest
    held_out = corpus.table["held_out"]
    speakers = corpus.table["speaker"]
    shared = str(about["recipe"].get("source", "")).startswith(SHARED_SPEAKERS)
    if not shared and set(speakers[held_out]) & set(speakers[~held_out]):
        print("! held-out clips share speakers with training: give one subfolder a speaker", file=sys.stderr)
    for item in about["excluded"][:10]:
        print(f"left out {item['file']}: {item['reason']}", file=sys.stderr)
    if len(about["excluded"]) > 10:
        print(f"... {len(about['excluded']) - 10} more, named in {corpus.path}/corpus.json", file=sys.stderr)
    share = about["held_out_hours"] / (about["hours"] + about["held_out_hours"])
    if share > MUCH_HELD_OUT:
        print(f"! {share:.0%} of the audio is held out: whole speakers are, and these are long", file=sys.stderr)
    print(
        f"{corpus.path}: {about['hours']:.4g} h in {about['utterances']:,} utterances, "
        f"{about['held_out_hours'] * 60:.3g} min held out ({share:.0%}), {about['speakers']} speakers, "
        + (f"{about['trials']:,} trials, " if "trials" in about else "")
        + f"hash {corpus.hash}"
    )
    return 0


def verify(args: argparse.Namespace) -> int:
    """Compare a corpus with its checksums."""
    from scaling.speech.corpus.store import Corpus

    corpus = Corpus(args.dir)
    corpus.verify()
    print(f"{args.dir}: {len(corpus.manifest['shards'])} shards are as they were sealed, hash {corpus.hash}")
    return 0


def _load_plan(args: argparse.Namespace, *, measure: bool = True) -> Plan:
    from sweeps.gridfile import load_grid
    from sweeps.jobs.timing import with_times
    from sweeps.plan import make_plan

    plan = make_plan(load_grid(args.grid))
    executor = getattr(args, "executor", None) or plan.grid.cluster.executor
    return with_times(plan, executor, measure=measure)


def show_plan(args: argparse.Namespace) -> int:
    """Show a plan."""
    from scaling.errors import InputError
    from sweeps.jobs.checks import check_cap
    from sweeps.show import format_plan

    plan = _load_plan(args, measure=not args.no_measure)
    if args.json != "-":
        print(format_plan(plan))
        try:
            check_cap(plan)
        except InputError as error:
            print(f"! submit will refuse: {error.what}, {error.where}")
    write_output(args.json, plan.to_dict())
    return 0


def submit_grid(args: argparse.Namespace) -> int:
    """Start what has no result yet."""
    from sweeps.show import format_totals, format_warnings

    plan = _load_plan(args)
    print(format_totals(plan, args.executor), *format_warnings(plan), sep="\n", file=sys.stderr)
    if args.dry_run:
        from sweeps.folder import SweepFolder
        from sweeps.jobs.checks import check
        from sweeps.jobs.dryrun import dry_run

        check(plan, args.executor or plan.grid.cluster.executor)
        text, taken = dry_run(plan, SweepFolder(args.results / plan.grid.name), args.executor)
        print(text)
        return 0 if taken else 1
    folder, new = _submit(plan, args)
    if args.wait and new:
        from sweeps.runcommands import wait

        if (code := wait(folder)) == 0:
            print(f"next: scaling-fit {folder.path}")
        return code
    print(f"next: {PROGRAM} status {folder.path}" if new else f"next: scaling-fit {folder.path}")
    return 0


def _submit(plan: Plan, args: argparse.Namespace) -> tuple[SweepFolder, int]:
    """Submit a plan and say what that did; return its sweep, and how many runs are to do."""
    from sweeps.jobs.submit import submit

    submission = submit(plan, results=args.results, executor=args.executor)
    folder = submission.folder
    going = f" ({submission.going} of them run or wait already)" if submission.going else ""
    print(f"{folder.path}: {len(submission.new)} runs to do{going}, {submission.done} done before", file=sys.stderr)
    for remark in submission.remarks:
        print(remark, file=sys.stderr)
    if submission.cancelled:
        retry = f"{PROGRAM} retry {plan.grid.name} --run ID"
        print(f"! {submission.cancelled} runs were cancelled one by one and stay so: {retry}", file=sys.stderr)
    return folder, len(submission.new)


def study(args: argparse.Namespace) -> int:
    """Run a study, or list them."""
    from scaling.errors import InputError
    from sweeps.studies import STUDIES, find_study, read_study, shipped

    if args.list:
        for plan in (read_study(shipped(name)) for name in STUDIES):
            print(f"{plan.name:<12}{plan.question}\n{'':<12}about {plan.minutes:.0f} min on two CPU cores")
        return 0
    if args.name is None:
        raise InputError("which study?", where="NAME", remedy=f"{', '.join(STUDIES)}, or a folder; --list says more")
    return _run_study(find_study(args.name), args)


def _run_study(asked: StudyPlan, args: argparse.Namespace) -> int:
    """Make a study's corpus where it is missing, submit its grids, and say what answers its question."""
    from scaling.errors import InputError
    from scaling.speech.corpus.store import MANIFEST
    from scaling.speech.corpus.synth import synthesise
    from sweeps.runcommands import wait
    from sweeps.show import format_totals, format_warnings

    grids = asked.full if args.full else asked.grids
    if not grids:
        raise InputError("this study has no grids for a cluster", where="--full", value=asked.name)
    print(f"{asked.question} ({asked.folder})", file=sys.stderr)
    corpus = asked.corpus
    if corpus is not None and not args.full and not (corpus.path / MANIFEST).exists():
        _made(synthesise(corpus.path, hours=corpus.hours, seed=corpus.seed))
    folders, left = [], 0
    for grid in grids:
        plan = _load_plan(argparse.Namespace(grid=grid, executor=args.executor))
        print(format_totals(plan, args.executor), *format_warnings(plan), sep="\n", file=sys.stderr)
        folder, new = _submit(plan, args)
        folders.append(folder.path)
        # jobs of a cluster run beside each other, and nobody has to stay; here one grid takes all slots
        if folder.sweep()["executor"] == "slurm":
            left += new
        elif new and (code := wait(folder)) != 0:
            return code
    if left:
        print(f"next: {PROGRAM} status {folders[0]}; when all is done:")
    shown = f" (figures {', '.join(asked.figures)})" if asked.figures else ""
    first, *more = asked.answers(folders, full=args.full)
    print(f"{'     ' if left else 'next:'} {first}{shown}", *(f"      {command}" for command in more), sep="\n")
    return 0


def collect(args: argparse.Namespace) -> int:
    """Write the records as a table."""
    from scaling.errors import WorkError
    from scaling.results import read_records
    from sweeps.collect import write_table
    from sweeps.folder import SweepFolder

    folder = SweepFolder.find(args.sweep)
    rows, excluded = read_records(folder.path, curves=False) if (folder.path / "records").exists() else ([], [])
    for item in excluded:
        print(f"left out {item['file']}: {item['reason']}", file=sys.stderr)
    if not rows:
        message = f"{folder.path}: no record yet"
        raise WorkError(message)
    output = args.output or folder.path / "runs.csv"
    write_table([{key: value for key, value in row.items() if key != "curve"} for row in rows], output)
    print(f"wrote {output} ({len(rows)} rows)")
    return 0


def targets(args: argparse.Namespace) -> int:
    """Make what the runs of a grid predict."""
    from sweeps.gridfile import load_grid
    from sweeps.outputs import make_all_targets
    from sweeps.plan import make_plan

    print(*make_all_targets(make_plan(load_grid(args.grid))), sep="\n")
    return 0


def export_run(args: argparse.Namespace) -> int:
    """Write a run's encoder."""
    from scaling.speech.export import export
    from scaling.speech.weights import Weights
    from sweeps.outputs import SUFFIX, find_run

    run = find_run(args.run)
    weights = Weights.load(run)
    output = args.output or Path((run.name if run.is_dir() else run.stem) + SUFFIX[args.to])
    export(weights, args.to, output)
    print(f"wrote {output}: {weights.shape}, {weights.shape.frontend}, {weights.spec['objective']}")
    return 0


def probe(args: argparse.Namespace) -> int:
    """Probe finished encoders."""
    from scaling.errors import InputError, did_you_mean
    from scaling.speech.probes.catalogue import DEFAULT, PROBES, ProbeSettings
    from scaling.units import parse_count
    from sweeps.probing import find_probings, probe_all

    for name in args.tasks:
        if name not in PROBES:
            raise InputError("no such probe", where="--task", value=name, remedy=did_you_mean(name, PROBES))
    numbers = {key: parse_count(getattr(args, key), where=f"--{key.replace('_', '-')}") for key in (
        "hours", "test_hours", "epochs", "seeds", "cache_gb")}  # fmt: skip
    for key in ("epochs", "seeds"):
        if numbers[key] != int(numbers[key]):
            raise InputError("not a whole number", where=f"--{key}", value=numbers[key], remedy="write 3")
    settings = ProbeSettings(
        probes=tuple(args.tasks) or DEFAULT,
        hours=numbers["hours"],
        test_hours=numbers["test_hours"],
        epochs=int(numbers["epochs"]),
        seeds=int(numbers["seeds"]),
        cache_gb=numbers["cache_gb"],
        seconds=float("inf"),
    )
    if args.workers is not None and args.workers < 1:
        raise InputError("at least one process works", where="--workers", value=args.workers, remedy="write 1")
    probings = find_probings(args.runs, baselines=args.baselines)
    table, whole = probe_all(probings, settings, args.corpus, workers=args.workers)
    print(table)
    return 0 if whole else 1


def run_pilot(args: argparse.Namespace) -> int:
    """Tune learning rate and batch."""
    from sweeps.gridfile import load_grid
    from sweeps.pilot import pilot

    output = args.output or args.grid.with_suffix(".tuned.yaml")
    print(pilot(load_grid(args.grid), results=args.results, executor=args.executor, output=output))
    return 0
