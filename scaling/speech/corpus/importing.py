"""A corpus from audio files: any folder of wav and flac, or a data set whose layout is known.

Files are read as streams and cut into pieces: an hour-long chapter needs little memory, and subsets stay fine-grained.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from scaling.shape import FRAME_STRIDE, SAMPLE_RATE
from scaling.speech.corpus.audio import resample, to_int16
from scaling.speech.corpus.build import SPLITS, Recipe, Shard, Utterance, build
from scaling.speech.corpus.datasets import speechcommands, voxceleb1, voxceleb1_verification
from scaling.speech.corpus.layouts import Source, librilight, librispeech, plain_folder
from scaling.speech.corpus.store import Corpus

FILES_PER_SHARD, SHARD_BYTES = 64, 128 << 20
"""A shard takes files until either is reached: its samples are held in memory at once."""
PIECE_SECONDS, SEARCH_SECONDS = 35, 5
"""A longer file is cut, at the quietest 20 ms of the last five seconds that a piece may have."""
BLOCK_SECONDS = 30
LAYOUTS = {
    "librispeech": librispeech,
    "librilight": librilight,
    "speechcommands": speechcommands,
    "voxceleb1": voxceleb1,
    "voxceleb1-verification": voxceleb1_verification,
}
"""What may stand before a colon in a source."""


def import_audio(folder: Path, *, source: str, seed: int = 0, workers: int | None = None) -> Corpus:
    """Make a corpus of audio files, at any rate and number of channels.

    Args:
        folder: Where to; a build that was interrupted goes on.
        source: A folder (each file's parent folder is taken as its speaker); `librispeech:ROOT` (training on its
            train-* parts, held out dev-clean); `librilight:ROOT` (training on small, medium and large, or on the
            limited sets, held out LibriSpeech's dev-clean if it lies in ROOT, else one speaker in twenty);
            `speechcommands:ROOT`, `voxceleb1:ROOT` or `voxceleb1-verification:ROOT` (their own test sets held out).
        seed: Of the ranks that nested subsets follow.
        workers: Processes; one a core when not given.

    Raises:
        InputError: When the source is missing or holds no usable audio.
    """
    kind, _, root = source.partition(":")
    layout = LAYOUTS[kind](Path(root), source) if kind in LAYOUTS and root else plain_folder(Path(source), source)
    digest, inputs = hashlib.sha256(), dict[str, list[list[Source]]]()
    for split in SPLITS:
        sized = [(file, 0 if file.reason else file.path.stat().st_size) for file in layout.files[split]]
        digest.update("".join(f"{file.path}\t{size}\n" for file, size in sized).encode())
        inputs[split] = list(_shards(sized))
    digest.update("".join(f"{same} {first}\t{second}\n" for first, second, same in layout.trials or ()).encode())
    settings = {
        "kind": "imported",
        "source": source,
        "files": digest.hexdigest(),  # with their sizes, since they decide which shard takes a file
        "piece_seconds": PIECE_SECONDS,
        "seed": seed,
    }
    recipe = Recipe(
        settings={**settings, "whole": "held_out"} if layout.whole else settings,
        make=make_shard,
        inputs=inputs,
        distinct_text=False,
        trials=layout.trials,
    )
    return build(folder, recipe, workers=workers)


def make_shard(settings: dict[str, Any], split: str, number: int, files: list[Source]) -> Shard:
    """Return one shard of files; those that cannot be used are named in `excluded`."""
    shard = Shard(utterances=[])
    transcripts: dict[Path, dict[str, str]] = {}
    whole = settings.get("whole") == split
    for path, speaker, reason, word in files:
        try:
            blocks = () if reason else read_blocks(path)
            found = [np.concatenate(list(blocks))] if whole and blocks else list(pieces(blocks))
        except ValueError as error:
            reason = str(error)
        if reason:
            shard.excluded.append({"file": str(path), "reason": reason})
            continue
        if path.parent not in transcripts:
            transcripts[path.parent] = _transcripts(path.parent)
        # A text belongs to a whole file: nobody knows which words are in which piece of one.
        text = (word or transcripts[path.parent].get(path.stem, "")) if len(found) == 1 else ""
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


def _transcripts(folder: Path) -> dict[str, str]:
    """Return file stem -> text from the *.trans.txt files of a folder (LibriSpeech's layout)."""
    found: dict[str, str] = {}
    for path in folder.glob("*.trans.txt"):
        for line in path.read_text(encoding="utf-8").splitlines():
            stem, _, text = line.partition(" ")
            found[stem] = text
    return found
