"""Studies: a folder of grids that answer one question, shipped inside the package or anybody's own.

`study.yaml` in the folder says what is asked, which grids answer it on this machine and which on a cluster, on which
corpus, and which figures of `scaling-fit` show the answer.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from scaling.errors import InputError, did_you_mean
from sweeps.yamlfile import flag, number, read_yaml, seed, several, text

STUDIES = ("objectives", "shapes", "data", "ucurve")
"""The shipped ones, folders of examples/studies."""
FILE = "study.yaml"


@dataclass(frozen=True, kw_only=True)
class SynthCorpus:
    """The synthetic corpus that a study trains on."""

    path: Path
    hours: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """A question, and what answers it."""

    name: str
    folder: Path
    question: str
    minutes: float
    """Expected, of the grids on two CPU cores."""
    corpus: SynthCorpus | None
    grids: tuple[Path, ...]
    full: tuple[Path, ...]
    """The twins for a cluster."""
    figures: tuple[str, ...]
    metrics: tuple[str, ...]
    """Of its probes, that are fitted beside the loss."""
    compare: bool
    """Whether the first two grids are recipes of which one has a price in the other's compute."""

    def answers(self, sweeps: list[Path], *, full: bool = False) -> list[str]:
        """Return the commands that answer the question, given the folders of its sweeps."""
        out = Path("fits") / (f"{self.name}-full" if full else self.name)
        paths = [str(sweep) for sweep in sweeps]
        metrics = [part for name in self.metrics for part in ("--metric", name)]
        commands = [shlex.join(["scaling-fit", *paths, *metrics, "--out", str(out), "--figures", str(out / "figures")])]
        if self.compare:
            commands.append(shlex.join(["scaling-fit", *paths, "--compare", "--out", str(out)]))
        return commands


def shipped(name: str) -> Path:
    """Return the folder of a study of this package."""
    return Path(str(resources.files("sweeps") / "examples" / "studies" / name))


def find_study(name: str) -> StudyPlan:
    """Return the study in a folder, or the shipped one of that name.

    Raises:
        InputError: When there is none, or its study.yaml is not as it should be.
    """
    if (Path(name) / FILE).is_file():  # one's own copy of a shipped study comes before the original
        return read_study(Path(name))
    if name in STUDIES:
        return read_study(shipped(name))
    remedy = did_you_mean(name, STUDIES) + f", or a folder with a {FILE}"
    raise InputError("no such study", where="NAME", value=name, remedy=remedy)


def read_study(folder: Path) -> StudyPlan:
    """Return the study in a folder.

    Raises:
        InputError: For what is missing, unknown or wrong, with its line.
    """
    top = read_yaml(folder / FILE)
    made = top.section("corpus")
    corpus = None
    if made is not None:
        corpus = SynthCorpus(
            path=Path(made.take("path", text)), hours=made.take("hours", number), seed=made.take("seed", seed, 0)
        )
        made.done()
    study = StudyPlan(
        name=folder.resolve().name,
        folder=folder,
        question=top.take("question", text),
        minutes=top.take("minutes", number),
        corpus=corpus,
        grids=tuple(folder / name for name in top.take("grids", several(text))),
        full=tuple(folder / name for name in top.take("full", several(text), ())),
        figures=top.take("figures", several(text), ()),
        metrics=top.take("metrics", several(text), ()),
        compare=top.take("compare", flag, False),
    )
    top.done()
    for path in (*study.grids, *study.full):
        if not path.is_file():
            raise InputError("a grid that is not there", where=folder / FILE, value=path.name, remedy="add the file")
    return study
