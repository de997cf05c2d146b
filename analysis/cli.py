"""The command `scaling-fit`. Heavy imports wait until the arguments are read."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.command import add_common, run_command

if TYPE_CHECKING:
    from analysis.data.metrics import Scale
    from analysis.data.table import RunTable
    from analysis.figures.study import Study
    from analysis.outputs import Outputs

PROGRAM = "scaling-fit"
MIN_DRAWS = 20
METRIC_LESS = ("approaches", "scores", "details")
"""Parts that are printed of the loss's fit alone, unless --details asks."""
COLUMNS = (
    ("n", "model size"),
    ("d", "data seen"),
    ("c", "training FLOPs"),
    ("u", "unique data"),
    ("b", "batch"),
    ("loss", "loss"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 any group fitted, 1 no fit, 2 the input is wrong."""
    parser = _parser()
    parser.set_defaults(typed=list(sys.argv[1:] if argv is None else argv))
    return run_command(parser, argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Fit scaling laws to a folder of run records or to any table of runs, and say how big a model, on "
        "how much data, a compute budget asks for.",
    )
    parser.set_defaults(function=_fit)
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="results folder, a sweep's folder, .csv, .tsv, .parquet, .jsonl",
    )
    parser.add_argument(
        "--budget",
        action="append",
        default=[],
        metavar="C",
        help="FLOPs to answer for, e.g. 1e18; repeatable",
    )
    parser.add_argument(
        "--law",
        default="auto",
        help="a law, FILE.py:OBJECT, or auto: the one that foretells dearer runs best (default)",
    )
    parser.add_argument("--objective", default="huber", help="huber, lad, log-mse or mse (default: %(default)s)")
    parser.add_argument(
        "--delta", type=float, help="Huber's delta (default: 1.345 x the residuals' scale; papers: 1e-3)"
    )
    parser.add_argument("--bootstrap", type=int, default=1000, metavar="DRAWS", help="draws (default: %(default)s)")
    parser.add_argument(
        "--interval", default="auto", help="pairs, residual, wild, parametric, delta, or auto by the design (default)"
    )
    parser.add_argument(
        "--cluster",
        default="auto",
        metavar="WHAT",
        help="runs that share noise: run, size, seed, a column, none, or auto by the residuals (default)",
    )
    parser.add_argument(
        "--weights", metavar="COLUMN", help="weights of the law's rows: a column, or `variance` for a model of it"
    )
    parser.add_argument(
        "--curve", default="auto", help="of the isoFLOP minima: quadratic, skewed, local or auto (default)"
    )
    parser.add_argument("--unique-hours", type=float, metavar="U", help="hours of distinct audio to answer for")
    parser.add_argument("--unique", metavar="U", help="the same in D's unit, for other data: 25G")
    parser.add_argument("--max-params", metavar="N", help="largest size that can be deployed: what that costs is said")
    parser.add_argument("--level", type=float, default=0.95, help="level of the intervals (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all draws (default: %(default)s)")
    names = parser.add_argument_group("columns of a table, where their names are not common ones")
    for option, text in COLUMNS:
        names.add_argument(f"--{option}", metavar="COLUMN", help=text)
    names.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="NAME",
        help="a downstream metric, a column or one of the records', to fit beside the loss; repeatable",
    )
    names.add_argument(
        "--scale", default="auto", help="of the metrics' laws: logit, floor, or auto by their names (default)"
    )
    names.add_argument("--size", help="what counts as N in records: params (default), total, encoder, flops_per_frame")
    names.add_argument("--group", metavar="COLUMN", help="fit each value of a column apart")
    names.add_argument("--where", metavar="EXPRESSION", help="keep rows for which this holds, e.g. 'loss < 3.4'")
    names.add_argument(
        "--flops-per-param-token",
        type=float,
        metavar="K",
        help="K of C = K N D where C or D is missing (default: 6)",
    )
    parser.add_argument(
        "--compare", action="store_true", help="say how much of the first recipe's compute each of the others needs"
    )
    parser.add_argument("--quick", action="store_true", help="only the answer: no other laws, no checks")
    out = parser.add_argument_group("output")
    out.add_argument("--details", action="store_true", help="print every check, not only what failed")
    out.add_argument("--format", default="text", help="of what is printed: text, html or latex")
    out.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: fits/NAME)")
    out.add_argument(
        "--json",
        metavar="FILE",
        help="write the fit as JSON, and no folder unless --out is given; - for standard output",
    )
    out.add_argument("--figures", type=Path, metavar="DIR", help="draw every figure of a paper that the runs allow")
    out.add_argument(
        "--venue", default="neurips", help="whose page they go on: icml, acl, icassp, ... (default: %(default)s)"
    )
    out.add_argument("--column", default="single", help="width: single or double column (default: %(default)s)")
    out.add_argument("--report", type=Path, metavar="FILE", help="write everything as one HTML page")
    add_common(parser)
    return parser


def _fit(args: argparse.Namespace) -> int:
    from analysis.beside import LAST, differences, failed, transfer
    from analysis.data.loading import load
    from analysis.figures.study import Group
    from analysis.rendering import render
    from analysis.summary import summarise
    from scaling.errors import InputError, WorkError
    from scaling.units import parse_count

    budgets = [parse_count(budget, where="--budget") for budget in args.budget]
    _check(args)
    show = (lambda *_, **__: None) if args.json == "-" else print
    # what was written is no part of a page of HTML or LaTeX
    tell = show if args.format == "text" or args.json == "-" else lambda text: print(text, file=sys.stderr)
    outputs = _outputs(args, tell)
    tables: list[RunTable] = []
    for path, name in zip(args.paths, _names(args.paths), strict=True):
        loaded = load(
            path,
            n=args.n,
            d=args.d,
            c=args.c,
            u=args.u,
            b=args.b,
            loss=_loss(args),
            size=args.size,
            group=args.group,
            where=args.where,
            flops_per_param_token=args.flops_per_param_token,
        )
        tables += [replace(table, label=f"{name} {table.label}".strip()) for table in loaded]
    if args.compare:
        return _compare(args, tables, budgets, show)
    if len(tables) > 1 and args.format == "text":
        show(f"{len(tables)} groups, fitted apart: losses of different groups are not compared\n")
    scales = _scales(args, tables)
    studies: list[Study] = []
    failures: list[Exception] = []
    unfitted: list[Group] = []
    for table in tables:
        try:
            study = _study(args, table, budgets, scales)
        except (InputError, WorkError) as error:
            failures.append(error)
            unfitted.append(Group(table=table))
            if len(tables) > 1:
                print(f"{table.label or table.source['path']}: {error}\n", file=sys.stderr)
            continue
        studies.append(study)
        for number, part in enumerate((study, *study.metrics.values())):
            left = METRIC_LESS if number and not args.details else LAST
            show(summarise(part.fit.to_dict(), args.format, details=args.details, without=left) + "\n")
        told = study.fit.to_dict()
        one = differences([told]) if len(tables) == 1 else []
        if blocks := [*one, *transfer(told), *failed(told)]:
            show(render(blocks, args.format) + "\n")
    if len(tables) > 1 and (blocks := differences([study.fit.to_dict() for study in studies])):
        show(render(blocks, args.format) + "\n")
    outputs.write(studies, failures, unfitted, many=len(tables) > 1)
    if not studies:
        raise failures[0]
    return 0


def _outputs(args: argparse.Namespace, tell: Any) -> Outputs:
    """Return what to write: a folder of its own where no other output is asked for."""
    from analysis.outputs import Outputs

    asked = Outputs(
        out=Path("fits") / Path(args.paths[0]).resolve().stem if args.out is None and args.json is None else args.out,
        json=args.json,
        figures=args.figures,
        report=args.report,
        venue=args.venue,
        column=args.column,
        command=[PROGRAM, *args.typed],
        tell=tell,
    )
    asked.check()
    return asked


def _check(args: argparse.Namespace) -> None:
    from analysis.approaches.curvechoice import CURVES
    from analysis.engine.objectives import objective_named
    from analysis.engine.resampling import METHODS
    from analysis.laws import law_named
    from analysis.rendering import FORMS
    from scaling.errors import InputError, did_you_mean

    objective_named(args.objective, args.delta)
    if args.law != "auto":
        law_named(args.law)
    for option, value, what, known in (
        ("--curve", args.curve, "curve", CURVES),
        ("--interval", args.interval, "kind of interval", ("auto", *METHODS)),
        ("--format", args.format, "form", tuple(FORMS)),
    ):
        if value not in known:
            raise InputError(f"no such {what}", where=option, value=value, remedy=did_you_mean(value, known))
    if args.bootstrap < 0 or 0 < args.bootstrap < MIN_DRAWS:
        what = "a number of draws cannot be negative" if args.bootstrap < 0 else "too few draws for an interval"
        remedy = f"write 0 for none, or at least {MIN_DRAWS}"
        raise InputError(what, where="--bootstrap", value=args.bootstrap, remedy=remedy)
    if not 0 < args.level < 1:
        raise InputError("a level lies between 0 and 1", where="--level", value=args.level, remedy="write 0.95")
    if args.seed < 0:
        raise InputError("a seed cannot be negative", where="--seed", value=args.seed, remedy="write 0")
    k = args.flops_per_param_token
    if k is not None and not 0 < k < float("inf"):
        raise InputError("not a positive number", where="--flops-per-param-token", value=k, remedy="write 6")


def _names(paths: Sequence[str]) -> list[str]:
    """Return what tells several paths apart: their names, or the whole paths where those are alike."""
    if len(paths) == 1:
        return [""]
    names = [Path(path).resolve().stem for path in paths]
    return names if len(set(names)) == len(names) else list(paths)


def _loss(args: argparse.Namespace) -> str | None:
    """Return the column of the loss; --compare compares by a metric in its place."""
    from scaling.errors import InputError

    if not args.compare or not args.metric:
        return args.loss
    if len(args.metric) > 1 or args.loss or args.scale != "auto":
        given = args.loss or " ".join(args.metric)
        remedy = "give one --metric, without --loss and --scale"
        raise InputError("recipes are compared by one metric as it is", where="--compare", value=given, remedy=remedy)
    return args.metric[0]


def _scales(args: argparse.Namespace, tables: Sequence[RunTable]) -> list[Scale]:
    """Return the metrics' scales, and refuse one that no group can be fitted by before any is."""
    from analysis.data.measuring import find_metrics, measure
    from analysis.data.metrics import SCALES
    from scaling.errors import InputError, did_you_mean

    if args.scale not in SCALES:
        raise InputError("no such scale", where="--scale", value=args.scale, remedy=did_you_mean(args.scale, SCALES))
    if not args.metric:
        if args.scale != "auto":
            raise InputError("a scale is a metric's", where="--scale", value=args.scale, remedy="add --metric NAME")
        return []
    scales = find_metrics(tables, args.metric, args.scale)
    for scale in scales:
        failures = []
        for table in tables:
            try:
                measure(table, scale)
            except InputError as error:
                failures.append(error)
        if len(failures) == len(tables):
            raise failures[0]
    return scales


def _study(args: argparse.Namespace, table: RunTable, budgets: list[float], scales: list[Scale]) -> Study:
    """Return the fit of a table, with those of its metrics."""
    from analysis.figures.study import Study
    from analysis.fitting import fit

    options = _options(args, table, budgets)
    if not scales:
        return Study(fit=fit(table, **options), table=table)
    from analysis.comparison.metrics import fit_metrics

    found = fit_metrics(table, scales, **options)
    own = {name: Study(fit=fitted, table=found.tables[name]) for name, fitted in found.fits.items()}
    return Study(fit=found.loss, table=table, metrics=own)


def _options(args: argparse.Namespace, table: RunTable, budgets: list[float]) -> dict[str, Any]:
    """Return the arguments of `fit`."""
    from analysis.engine.objectives import objective_named
    from scaling.units import parse_count

    return {
        "law": args.law,
        "objective": objective_named(args.objective, args.delta),
        "budgets": budgets,
        "draws": args.bootstrap,
        "level": args.level,
        "interval": args.interval,
        "cluster": args.cluster,
        "weights": args.weights,
        "unique": _unique(args, table),
        "limit": parse_count(args.max_params, where="--max-params") if args.max_params else None,
        "curve": args.curve,
        "judged": not args.quick,
        "seed": args.seed,
    }


def _unique(args: argparse.Namespace, table: RunTable) -> float | None:
    """Return the unique data to answer for, in D's unit."""
    from analysis.data.columns import FRAMES_AN_HOUR
    from scaling.errors import InputError
    from scaling.units import parse_count

    if args.unique_hours is None:
        return parse_count(args.unique, where="--unique") if args.unique else None
    if args.unique is not None or table.data_unit != "frames":
        why = "given twice" if args.unique is not None else f"D is in {table.data_unit} here, not in frames"
        raise InputError(
            f"unique data: {why}", where="--unique-hours", value=args.unique_hours, remedy="give --unique in D's unit"
        )
    return parse_count(args.unique_hours, where="--unique-hours") * FRAMES_AN_HOUR


def _compare(args: argparse.Namespace, tables: list[RunTable], budgets: list[float], show: Any) -> int:
    """Print and write the comparison of recipes."""
    from analysis.comparison.compare import compare
    from analysis.engine.objectives import objective_named
    from analysis.laws import law_named
    from scaling.errors import InputError
    from scaling.files import plain, write_json

    given = {"--interval": args.interval != "auto", "--weights": args.weights, "--max-params": args.max_params,
             "--unique": args.unique or args.unique_hours, "--curve": args.curve != "auto", "--quick": args.quick,
             "--details": args.details, "--format": args.format != "text", "--figures": args.figures,
             "--report": args.report}  # fmt: skip
    if ignored := [option for option, value in given.items() if value]:
        raise InputError("not an option of --compare", where=ignored[0], value=args.__dict__.get(ignored[0][2:]))
    found = compare(
        tables,
        cluster=None if args.cluster == "auto" else args.cluster,
        law=None if args.law == "auto" else law_named(args.law),
        objective=objective_named(args.objective, args.delta),
        draws=args.bootstrap,
        level=args.level,
        seed=args.seed,
        budget=budgets[0] if budgets else None,
    )
    show(found.summary())
    if args.json == "-":
        print(json.dumps(plain(found.to_dict()), indent=1))
    elif args.json is not None or args.out is not None:
        path = Path(args.json) if args.json is not None else args.out / "compare.json"
        write_json(path, found.to_dict())
        show(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
