"""What a call of `scaling-fit` writes: the fit, the figures, the report, and what to do next."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.errors import InputError, WorkError
from scaling.files import plain, write_json

if TYPE_CHECKING:
    from analysis.figures.gallery import Picture
    from analysis.figures.study import Group, Study

HEADLINE_FIGURE = "isoflop"
LONGEST = 80
"""Letters of a folder's name."""


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What was asked to be written."""

    out: Path | None
    """Folder of the fits; None for none."""
    json: str | None
    """File, or `-`."""
    figures: Path | None
    report: Path | None
    venue: str
    column: str
    command: Sequence[str]
    """As it was typed, for the report and the next command."""
    tell: Callable[[str], Any]

    def check(self) -> None:
        """Refuse what cannot be written, before anything is fitted.

        Raises:
            InputError: When there is no such venue or width, or a file stands where a folder is to be.
        """
        from analysis.figures.style import width_of

        width_of(self.venue, self.column)
        page = self.report.parent if self.report is not None else None
        for option, folder in (("--figures", self.figures), ("--out", self.out), ("--report", page)):
            for part in [folder, *folder.parents] if folder is not None else []:
                if part.exists() and not part.is_dir():
                    raise InputError("a file stands there", where=option, value=part, remedy="name a folder")

    def write(
        self, studies: Sequence[Study], failures: Sequence[Exception], unfitted: Sequence[Group], *, many: bool
    ) -> None:
        """Write everything; the fits first, since a figure could fail. Without a fit, figures of the runs alone.

        Args:
            studies: What was fitted.
            failures: Why other groups allowed no fit.
            unfitted: Their runs.
            many: Whether the input had several groups, which get a folder each.

        Raises:
            WorkError: When a figure could not be drawn.
        """
        if not studies:
            if self.figures is not None:
                self._figures(studies, [], unfitted)
            return
        slugs = _slugs([study.fit.label for study in studies]) if many else [""] * len(studies)
        headline = self._fits(studies, slugs)
        self._json(studies, failures, many=many)
        pictures = self._figures(studies, slugs, unfitted) if self.figures is not None else []
        reported: list[Picture] = []
        if self.report is not None:
            from analysis.figures.style import DEFAULT_VENUE, width_of
            from analysis.report.page import write_report

            usual = pictures and width_of(self.venue, self.column) == width_of(DEFAULT_VENUE)
            reported = write_report(
                studies, self.report, command=self.command, failures=failures, pictures=pictures if usual else None
            )
            self.tell(f"wrote {self.report}")
        if self.figures is None and self.report is None and self.out is not None and studies[0].fit.budgets:
            again = shlex.join(
                [*self.command, "--figures", str(self.out / "figures"), "--report", str(self.out / "report.html")]
            )
            self.tell(f"next  {again}")
        faulty = [picture for picture in [*headline, *pictures, *reported] if picture.faulty]
        if faulty:
            raise WorkError("; ".join(dict.fromkeys(f"{picture.name} {picture.reason}" for picture in faulty)))

    def _fits(self, studies: Sequence[Study], slugs: Sequence[str]) -> list[Picture]:
        """Write fit.json, its draws and the isoFLOP figure of each study; return the figures."""
        if self.out is None:
            return []
        from analysis.figures.gallery import draw_all, write_all
        from analysis.store import save_fit

        folders = [self.out / slug for slug in slugs]
        if any(study.metrics for study in studies):  # a folder of its own for each metric, within its group's
            studies, folders = _with_metrics(studies, folders)
        files = [save_fit(study.fit, folder) for study, folder in zip(studies, folders, strict=True)]
        pictures = draw_all(
            studies, venue=self.venue, column=self.column, formats=("pdf", "png"), names=[HEADLINE_FIGURE]
        )
        drawn = write_all(pictures, folders, self.out)
        for file, folder in zip(files, folders, strict=True):
            self.tell("wrote " + ", ".join(str(path) for path in [file, *(p for p in drawn if p.parent == folder)]))
        return pictures

    def _json(self, studies: Sequence[Study], failures: Sequence[Exception], *, many: bool) -> None:
        if self.json is None:
            return
        values: dict[str, Any] = studies[0].fit.to_dict()
        if many:
            values = {"groups": {study.fit.label: study.fit.to_dict() for study in studies}}
            values["failed"] = [str(error) for error in failures]
        if self.json == "-":
            print(json.dumps(plain(values), indent=1))
        else:
            write_json(Path(self.json), values)
            self.tell(f"wrote {self.json}")

    def _figures(self, studies: Sequence[Study], slugs: Sequence[str], unfitted: Sequence[Group]) -> list[Picture]:
        """Draw and write all figures, and say what each group allows no figure of."""
        from analysis.figures.gallery import draw_all, write_all

        assert self.figures is not None
        if sys.stderr.isatty():
            print(f"drawing the figures of {len(studies)} group{'s' * (len(studies) > 1)} ...", file=sys.stderr)
        pictures = draw_all(studies, unfitted=unfitted, venue=self.venue, column=self.column)
        files = write_all(pictures, [self.figures / slug for slug in slugs], self.figures)
        names = sorted({path.stem for path in files})
        if not files and not studies:
            return pictures
        self.tell(f"wrote {len(files)} files in {self.figures}: {', '.join(names)} (.pdf .png .svg .csv)")
        for i, study in enumerate([*studies, None]):
            missing = [p for p in pictures if p.drawn is None and p.study == (i if study is not None else None)]
            if missing:
                of = f" of {study.fit.label}" if study is not None and study.fit.label else ""
                names_of: dict[str, list[str]] = {}
                for picture in missing:
                    names_of.setdefault(picture.reason, []).append(picture.name)
                told = (f"{reason}: {', '.join(named)}" for reason, named in names_of.items())
                self.tell(f"not drawn{of}: " + "; ".join(told))
        return pictures


def _with_metrics(studies: Sequence[Study], folders: Sequence[Path]) -> tuple[list[Study], list[Path]]:
    """Return each study and those of its metrics, and where each goes."""
    found: list[tuple[Study, Path]] = []
    for study, folder in zip(studies, folders, strict=True):
        found.append((study, folder))
        names = _slugs(list(study.metrics))
        found += [(own, folder / name) for own, name in zip(study.metrics.values(), names, strict=True)]
    return [study for study, _ in found], [folder for _, folder in found]


def _slugs(labels: Sequence[str]) -> list[str]:
    """Return labels as names of folders, each another one, also where capitals are not told apart.

    Example:
        >>> _slugs(["a/b", "a b", "a-b-2", "A/b"])
        ['a-b', 'a-b-2', 'a-b-2-2', 'A-b-3']
    """
    found: list[str] = []
    for label in labels:
        clean = "".join(c if c.isalnum() or c in "-_.+" else "-" for c in label).strip(".")[:LONGEST] or "group"
        name, number = clean, 2
        while name.lower() in {other.lower() for other in found}:
            name, number = f"{clean}-{number}", number + 1
        found.append(name)
    return found
