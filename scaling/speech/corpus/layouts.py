"""Which files a corpus is made of, who speaks in them and what is held out: folders, LibriSpeech, Libri-Light."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from scaling.errors import InputError
from scaling.speech.corpus.build import SPLITS

SUFFIXES = (".wav", ".flac")
OTHER_SUFFIXES = re.compile(
    r"\.(aac|aiff?|amr|ape|au|caf|m4a|mka|mp[234]|oga|ogg|opus|ra|snd|sph|w64|webm|wma)", flags=re.IGNORECASE
)
"""Audio that a plain folder may hold and that is not read."""
NAMED = 100
"""Files left out are named up to so many; the rest is counted."""
HELD_OUT_ONE_IN = 20
"""Of a plain folder, one speaker in twenty (at least one) is held out."""
HELD_OUT_PART = "dev-clean"
LIBRISPEECH_TRAIN = "train-"
LIBRILIGHT_TRAIN = ("small", "medium", "large", "10h", "9h", "1h", "10min")
"""Parts of unlab-60k, and of the limited-supervision set (librispeech_finetuning)."""
OPTION = "corpus import --from"


class Source(NamedTuple):
    """A file of a corpus to be."""

    path: Path
    speaker: str
    reason: str = ""
    """Why it is left out, where it is."""
    text: str = ""
    """What is said in it, where the corpus says so of each file."""


class Layout(NamedTuple):
    """The files of a corpus to be, and which of them are trials of speaker verification."""

    files: dict[str, list[Source]]
    """Split -> files."""
    whole: bool = False
    """Whether held-out files are kept whole, however long: they are what a published number is measured on."""
    trials: list[tuple[str, str, bool]] | None = None
    """(held-out file, held-out file, whether one speaker speaks in both)."""


def plain_folder(root: Path, source: str) -> Layout:
    """Return the files of a folder, one speaker in twenty held out; with one speaker, one file in twenty."""
    if not root.is_dir():
        raise InputError("no such folder", where=OPTION, value=source, remedy="name a folder of wav or flac files")
    every = sorted(path for path in root.rglob("*") if path.is_file())
    paths = [path for path in every if path.suffix.lower() in SUFFIXES]
    others = [path for path in every if OTHER_SUFFIXES.fullmatch(path.suffix)]
    if len(paths) < 2:
        raise InputError(
            f"{len(paths)} audio files, and a corpus needs one to train on and one held out",
            where=OPTION,
            value=source,
            remedy="name a folder with at least two wav or flac files"
            + (f"; {len(others)} in other formats ({_kinds(others)}) have to be converted first" if others else ""),
        )
    files = _held_out_one_in_twenty([Source(path, str(path.parent.relative_to(root))) for path in paths])
    reason = "neither wav nor flac; convert it, for example with ffmpeg"
    files["train"] += _left_out([Source(path, "", reason) for path in others], root, reason)
    return Layout(files)


def librispeech(root: Path, source: str) -> Layout:
    """Return the files of a LibriSpeech tree: PART/SPEAKER/CHAPTER/*.flac."""
    if (root / "LibriSpeech").is_dir():
        root = root / "LibriSpeech"
    parts = _folders(root)
    train = [part for part in parts if part.startswith(LIBRISPEECH_TRAIN)]
    if not train or HELD_OUT_PART not in parts:
        raise InputError(
            f"no LibriSpeech with a train-* part and {HELD_OUT_PART}",
            where=OPTION,
            value=source,
            remedy=f"name the folder that holds them; found: {', '.join(parts) or 'nothing'}. "
            "For other layouts give the folder without librispeech:",
        )
    return Layout({"train": _books(root, train), "held_out": _books(root, [HELD_OUT_PART])})


def librilight(root: Path, source: str) -> Layout:
    """Return the files of a Libri-Light tree: PART/.../SPEAKER/BOOK/*.flac, in ROOT or in a folder of it."""
    inside = [folder for folder in (root, *(root / name for name in _folders(root))) if folder.is_dir()]
    parts = [folder / part for folder in inside for part in LIBRILIGHT_TRAIN if (folder / part).is_dir()]
    if not parts:
        raise InputError(
            f"no Libri-Light with a part {', '.join(LIBRILIGHT_TRAIN[:3])} or {', '.join(LIBRILIGHT_TRAIN[3:])}",
            where=OPTION,
            value=source,
            remedy=f"name the folder that holds them; found: {', '.join(_folders(root)) or 'nothing'}. "
            "For other layouts give the folder without librilight:",
        )
    train = [file for part in parts for file in _books(part, ["."])]
    held_out = next((folder for folder in inside if (folder / HELD_OUT_PART).is_dir()), None)
    if held_out is None:
        return Layout(_held_out_one_in_twenty(train))
    tested = _books(held_out, [HELD_OUT_PART])
    voices = {file.speaker for file in tested}
    reason = f"its speaker is held out ({HELD_OUT_PART})"
    heard = [file._replace(reason=reason) for file in train if file.speaker in voices]
    train = [file for file in train if file.speaker not in voices]
    return Layout({"train": train + _left_out(heard, root, reason), "held_out": tested})


def _books(root: Path, parts: Iterable[str]) -> list[Source]:
    """Return the flac files of some folders, whose speaker is the name of the folder two above."""
    return [Source(path, path.parts[-3]) for part in parts for path in sorted((root / part).rglob("*.flac"))]


def _folders(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def _held_out_one_in_twenty(files: list[Source]) -> dict[str, list[Source]]:
    """Return split -> files with one speaker in twenty held out; with one speaker, one file in twenty."""
    apart = len({file.speaker for file in files}) > 1  # else nothing tells speakers apart: the files are the units
    unit = {file: file.speaker if apart else file.path.name for file in files}
    by_digest = sorted(set(unit.values()), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    held_out = set(by_digest[: max(1, round(len(by_digest) / HELD_OUT_ONE_IN))])
    return {split: [f for f in files if (unit[f] in held_out) == (split == "held_out")] for split in SPLITS}


def _left_out(files: list[Source], root: Path, reason: str) -> list[Source]:
    """Return what names files in `excluded`: the first of them one by one, the rest as a number."""
    more = files[NAMED:]
    counted = f"{len(more):,} more files ({_kinds(file.path for file in more)}): {reason}"
    return files[:NAMED] + [Source(root, "", counted)] * bool(more)


def _kinds(paths: Iterable[Path]) -> str:
    """Return how many files there are of each suffix."""
    return ", ".join(f"{count:,} {suffix}" for suffix, count in Counter(p.suffix.lower() for p in paths).most_common())
