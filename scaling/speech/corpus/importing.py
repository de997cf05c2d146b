"""A corpus from audio files: any folder of wav and flac, LibriSpeech, or Libri-Light.

Files are read as streams and cut into pieces: an hour-long chapter needs little memory, and subsets stay fine-grained.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scaling.errors import InputError
from scaling.shape import FRAME_STRIDE, SAMPLE_RATE
from scaling.speech.corpus.audio import resample, to_int16
from scaling.speech.corpus.build import SPLITS, Recipe, Shard, Utterance, build
from scaling.speech.corpus.store import Corpus

SUFFIXES = (".wav", ".flac")
OTHER_SUFFIXES = re.compile(
    r"\.(aac|aiff?|amr|ape|au|caf|m4a|mka|mp[234]|oga|ogg|opus|ra|snd|sph|w64|webm|wma)", flags=re.IGNORECASE
)
"""Audio that a plain folder may hold and that is not read."""
NAMED = 100
"""Files left out are named up to so many; the rest is counted."""
FILES_PER_SHARD, SHARD_BYTES = 64, 128 << 20
"""A shard takes files until either is reached: its samples are held in memory at once."""
HELD_OUT_ONE_IN = 20
"""Of a plain folder, one speaker in twenty (at least one) is held out."""
HELD_OUT_PART = "dev-clean"
LIBRISPEECH_TRAIN = "train-"
LIBRILIGHT_TRAIN = ("small", "medium", "large", "10h", "9h", "1h", "10min")
"""Parts of unlab-60k, and of the limited-supervision set (librispeech_finetuning)."""
PIECE_SECONDS, SEARCH_SECONDS = 35, 5
"""A longer file is cut, at the quietest 20 ms of the last five seconds that a piece may have."""
BLOCK_SECONDS = 30
OPTION = "corpus import --from"


class Source(NamedTuple):
    """A file of a corpus to be."""

    path: Path
    speaker: str
    reason: str = ""
    """Why it is left out, where it is."""


def import_audio(folder: Path, *, source: str, seed: int = 0, workers: int | None = None) -> Corpus:
    """Make a corpus of audio files, at any rate and number of channels.

    Args:
        folder: Where to; a build that was interrupted goes on.
        source: A folder (each file's parent folder is taken as its speaker); `librispeech:ROOT` (training on its
            train-* parts, held out dev-clean); or `librilight:ROOT` (training on small, medium and large, or on the
            limited sets, held out LibriSpeech's dev-clean if it lies in ROOT, else one speaker in twenty).
        seed: Of the ranks that nested subsets follow.
        workers: Processes; one a core when not given.

    Raises:
        InputError: When the source is missing or holds no usable audio.
    """
    kind, _, root = source.partition(":")
    layouts = {"librispeech": _librispeech, "librilight": _librilight}
    files = layouts[kind](Path(root), source) if kind in layouts and root else _plain_folder(Path(source), source)
    digest, inputs = hashlib.sha256(), dict[str, list[list[Source]]]()
    for split in SPLITS:
        sized = [(file, 0 if file.reason else file.path.stat().st_size) for file in files[split]]
        digest.update("".join(f"{file.path}\t{size}\n" for file, size in sized).encode())
        inputs[split] = list(_shards(sized))
    recipe = Recipe(
        settings={
            "kind": "imported",
            "source": source,
            "files": digest.hexdigest(),  # with their sizes, since they decide which shard takes a file
            "piece_seconds": PIECE_SECONDS,
            "seed": seed,
        },
        make=make_shard,
        inputs=inputs,
        distinct_text=False,
    )
    return build(folder, recipe, workers=workers)


def make_shard(settings: dict[str, Any], split: str, number: int, files: list[Source]) -> Shard:
    """Return one shard of files; those that cannot be used are named in `excluded`."""
    shard = Shard(utterances=[])
    transcripts: dict[Path, dict[str, str]] = {}
    for path, speaker, reason in files:
        try:
            found = [] if reason else list(pieces(read_blocks(path)))
        except ValueError as error:
            reason = str(error)
        if reason:
            shard.excluded.append({"file": str(path), "reason": reason})
            continue
        if path.parent not in transcripts:
            transcripts[path.parent] = _transcripts(path.parent)
        # A text belongs to a whole file: nobody knows which words are in which piece of one.
        text = transcripts[path.parent].get(path.stem, "") if len(found) == 1 else ""
        first = 0
        for samples in found:
            name = str(path) if len(found) == 1 else f"{path}#t={first / SAMPLE_RATE:.2f}"
            shard.utterances.append(Utterance(samples=samples, speaker=speaker, text=text, source=name))
            first += len(samples)
    return shard


def read_blocks(path: Path, seconds: int = BLOCK_SECONDS) -> Iterator[np.ndarray]:
    """Yield a file's int16 samples at 16 kHz, channels averaged, a block at a time.

    A block is resampled with as much of its neighbours as the filter reaches, so blocks leave no trace.

    Raises:
        ValueError: When the file cannot be used, with the reason.
    """
    import soundfile

    try:
        with soundfile.SoundFile(str(path)) as file:
            rate, frames, read = file.samplerate, file.frames, 0
            if declared := _declared_bytes(file.extra_info):
                reason = f"cut short: its header says {declared[0]:,} bytes of samples, and there are {declared[1]:,}"
                raise ValueError(reason)
            before = np.zeros(0, dtype=np.float32)  # the last second, which the next block's filter reaches into
            block = _mono(file, seconds * rate)
            while len(block):
                read += len(block)
                after = _mono(file, seconds * rate)
                wave = np.concatenate([before, block, after[:rate]])
                first = len(before) * SAMPLE_RATE // rate
                end = None if not len(after) else first + len(block) * SAMPLE_RATE // rate
                yield to_int16(resample(wave, rate)[first:end])
                before, block = block[-rate:], after
            if read < max(frames, 1):
                short = f"cut short: its header says {frames / rate:.1f} s, and {read / rate:.1f} s can be read"
                raise ValueError(short if read or frames else "empty")
    except (soundfile.LibsndfileError, RuntimeError, OSError) as error:
        reason = f"unreadable ({(str(error).splitlines() or ['no reason given'])[0]})"
        raise ValueError(reason) from None


def pieces(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield stretches of a stream of samples, all of them together the stream and none longer than 35 s.

    Example:
        >>> [len(piece) for piece in pieces([np.zeros(16_000 * 40, dtype=np.int16)])]
        [480160, 159840]
    """
    longest, search = PIECE_SECONDS * SAMPLE_RATE, SEARCH_SECONDS * SAMPLE_RATE
    left = np.zeros(0, dtype=np.int16)
    for block in blocks:
        left = np.concatenate([left, block])
        while len(left) > longest:
            frames = left[longest - search : longest].reshape(-1, FRAME_STRIDE).astype(np.float64)
            quietest = int(np.argmin(np.square(frames).sum(axis=1)))
            cut = longest - search + quietest * FRAME_STRIDE + FRAME_STRIDE // 2
            yield left[:cut].copy()
            left = left[cut:]
    if len(left):
        yield left


def _mono(file: Any, frames: int) -> np.ndarray:
    """Return the next samples of an open file, channels averaged."""
    samples = file.read(frames, dtype="float32", always_2d=True)
    if not np.isfinite(samples).all():
        reason = "has samples that are not finite"
        raise ValueError(reason)
    return samples.mean(axis=1)


def _declared_bytes(log: str) -> tuple[int, int] | None:
    """Return the bytes that a wav's header promises and those that are there, from libsndfile's log, if they differ.

    A program that writes to a pipe cannot know the length and promises nearly 2^31 or 2^32 bytes: no promise.
    """
    match = re.search(r"^data : (\d+) \(should be (\d+)\)", log, flags=re.MULTILINE)
    promised, there = (int(group) for group in match.groups()) if match else (0, 0)
    return (promised, there) if there < promised < (1 << 31) - (1 << 16) else None


def _shards(files: list[tuple[Source, int]]) -> Iterator[list[Source]]:
    """Yield the files of each shard, given each file with its size."""
    shard, held = list[Source](), 0
    for file, size in files:
        if shard and (len(shard) == FILES_PER_SHARD or held + size > SHARD_BYTES):
            yield shard
            shard, held = [], 0
        shard.append(file)
        held += size
    if shard:
        yield shard


def _plain_folder(root: Path, source: str) -> dict[str, list[Source]]:
    """Return split -> files, one speaker in twenty held out; with one speaker, one file in twenty."""
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
    return files


def _librispeech(root: Path, source: str) -> dict[str, list[Source]]:
    """Return split -> files of a LibriSpeech tree: PART/SPEAKER/CHAPTER/*.flac."""
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
    return {"train": _books(root, train), "held_out": _books(root, [HELD_OUT_PART])}


def _librilight(root: Path, source: str) -> dict[str, list[Source]]:
    """Return split -> files of a Libri-Light tree: PART/.../SPEAKER/BOOK/*.flac, in ROOT or in a folder of it."""
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
        return _held_out_one_in_twenty(train)
    tested = _books(held_out, [HELD_OUT_PART])
    voices = {file.speaker for file in tested}
    reason = f"its speaker is held out ({HELD_OUT_PART})"
    heard = [file._replace(reason=reason) for file in train if file.speaker in voices]
    train = [file for file in train if file.speaker not in voices]
    return {"train": train + _left_out(heard, root, reason), "held_out": tested}


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


def _transcripts(folder: Path) -> dict[str, str]:
    """Return file stem -> text from the *.trans.txt files of a folder (LibriSpeech's layout)."""
    found: dict[str, str] = {}
    for path in folder.glob("*.trans.txt"):
        for line in path.read_text(encoding="utf-8").splitlines():
            stem, _, text = line.partition(" ")
            found[stem] = text
    return found
