"""A corpus from audio files: any folder of wav and flac, or LibriSpeech."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from scaling.errors import InputError
from scaling.speech.corpus.audio import read_audio, to_int16
from scaling.speech.corpus.build import SPLITS, Recipe, Shard, Utterance, build
from scaling.speech.corpus.store import Corpus

SUFFIXES = (".wav", ".flac")
FILES_PER_SHARD = 64
HELD_OUT_ONE_IN = 20
"""Of a plain folder, one speaker in twenty (at least one) is held out."""
LIBRISPEECH_HELD_OUT = "dev-clean"
LIBRISPEECH_TRAIN = "train-"


def import_audio(folder: Path, *, source: str, seed: int = 0, workers: int | None = None) -> Corpus:
    """Make a corpus of audio files, at any rate and number of channels.

    Args:
        folder: Where to; a build that was interrupted goes on.
        source: A folder (each file's parent folder is taken as its speaker), or `librispeech:ROOT` (training on
            its train-* parts, held out dev-clean).
        seed: Of the ranks that nested subsets follow.
        workers: Processes; one a core when not given.

    Raises:
        InputError: When the source is missing or holds no usable audio.
    """
    files = _librispeech(source) if source.startswith("librispeech:") else _plain_folder(source)
    recipe = Recipe(
        settings={
            "kind": "imported",
            "source": source,
            "files": hashlib.sha256("\n".join(f for s in SPLITS for f, _ in files[s]).encode()).hexdigest(),
            "seed": seed,
        },
        make=make_shard,
        inputs={
            split: [files[split][i : i + FILES_PER_SHARD] for i in range(0, len(files[split]), FILES_PER_SHARD)]
            for split in SPLITS
        },
        distinct_text=False,
    )
    return build(folder, recipe, workers=workers)


def make_shard(settings: dict[str, Any], split: str, number: int, files: list[tuple[str, str]]) -> Shard:
    """Return one shard of (path, speaker) pairs; files that cannot be used are named in `excluded`."""
    shard = Shard(utterances=[])
    transcripts: dict[Path, dict[str, str]] = {}
    for name, speaker in files:
        path = Path(name)
        try:
            samples = to_int16(read_audio(path))
        except ValueError as error:
            shard.excluded.append({"file": name, "reason": str(error)})
            continue
        if path.parent not in transcripts:
            transcripts[path.parent] = _transcripts(path.parent)
        text = transcripts[path.parent].get(path.stem, "")
        shard.utterances.append(Utterance(samples=samples, speaker=speaker, text=text, source=name))
    return shard


def _plain_folder(source: str) -> dict[str, list[tuple[str, str]]]:
    """Return split -> [(path, speaker)], one speaker in twenty held out; with one speaker, one file in twenty."""
    root = Path(source)
    if not root.is_dir():
        raise InputError(
            "no such folder",
            where="corpus import --from",
            value=source,
            remedy="name a folder of wav or flac files",
        )
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if len(files) < 2:
        raise InputError(
            f"{len(files)} audio files, and a corpus needs one to train on and one held out",
            where="corpus import --from",
            value=source,
            remedy="name a folder with at least two wav or flac files",
        )
    speakers = {path: str(path.parent.relative_to(root)) for path in files}
    units = sorted(set(speakers.values()))
    unit_of = speakers
    if len(units) == 1:  # nothing tells speakers apart: the files are the units
        unit_of = {path: path.name for path in files}
        units = sorted(unit_of.values())
    by_digest = sorted(units, key=lambda unit: hashlib.sha256(unit.encode()).hexdigest())
    held_out = set(by_digest[: max(1, round(len(units) / HELD_OUT_ONE_IN))])
    return {
        split: [(str(p), speakers[p]) for p in files if (unit_of[p] in held_out) == (split == "held_out")]
        for split in SPLITS
    }


def _librispeech(source: str) -> dict[str, list[tuple[str, str]]]:
    """Return split -> [(path, speaker)] of a LibriSpeech tree: PART/SPEAKER/CHAPTER/*.flac."""
    root = Path(source.split(":", 1)[1])
    if (root / "LibriSpeech").is_dir():
        root = root / "LibriSpeech"
    parts = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    train = [part for part in parts if part.startswith(LIBRISPEECH_TRAIN)]
    if not train or LIBRISPEECH_HELD_OUT not in parts:
        raise InputError(
            f"no LibriSpeech with a train-* part and {LIBRISPEECH_HELD_OUT}",
            where="corpus import --from",
            value=source,
            remedy=f"name the folder that holds them; found: {', '.join(parts) or 'nothing'}. "
            "For other layouts give the folder without librispeech:",
        )
    return {
        split: [(str(p), p.parts[-3]) for part in chosen for p in sorted((root / part).rglob("*.flac"))]
        for split, chosen in (("train", train), ("held_out", [LIBRISPEECH_HELD_OUT]))
    }


def _transcripts(folder: Path) -> dict[str, str]:
    """Return file stem -> text from the *.trans.txt files of a folder (LibriSpeech's layout)."""
    found: dict[str, str] = {}
    for path in folder.glob("*.trans.txt"):
        for line in path.read_text(encoding="utf-8").splitlines():
            stem, _, text = line.partition(" ")
            found[stem] = text
    return found
