"""The store that every corpus ends in: 16-bit samples to map into memory, and a table of utterances.

    corpus.json        manifest: recipe, hours, checksums, hash
    utterances.npy     one row an utterance: shard, start, samples, speaker, held_out, rank
    speakers.json      names, in the order of the table's numbers
    trials.json        of a corpus for speaker verification: [utterance, utterance, whether one speaker speaks in both]
    shards/NAME.i16    samples of whole utterances, one after another (little-endian, 16 kHz, mono)
    shards/NAME.json   speaker, text and phones of each utterance, and the checksum of its samples
    derived/           features and labels made from the corpus, each under the hash of its settings

Utterances have a random rank that is fixed at creation; a subset of H hours is the first H hours by rank, so
1 h lies inside 10 h. Held-out utterances are fixed at creation too. They share no speaker and no text with the rest
where a corpus is synthetic, and no speaker where an imported one has several.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from scaling.errors import InputError
from scaling.files import read_json
from scaling.records import content_hash
from scaling.shape import FRAMES_PER_SECOND, SAMPLE_RATE

SCHEMA = 1
MANIFEST = "corpus.json"
TABLE = "utterances.npy"
SPEAKERS = "speakers.json"
TRIALS = "trials.json"
ROW = np.dtype(
    [
        ("shard", "<u4"),
        ("start", "<i8"),
        ("samples", "<i8"),
        ("speaker", "<u4"),
        ("held_out", "?"),
        ("rank", "<u4"),
    ]
)


WINDOW, HOP = 400, 160
"""Samples of an analysis window and between two of them: 25 ms and 10 ms (Kaldi's)."""


def utterance_frames(samples: np.ndarray) -> np.ndarray:
    """Return encoder frames of utterances of so many samples: pairs of whole 10 ms analysis windows."""
    return np.maximum((np.asarray(samples) - WINDOW) // HOP + 1, 0) // 2


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def manifest_hash(shards: list[dict[str, Any]], table_sha256: str, trials_sha256: str | None = None) -> str:
    """Return the corpus's identity: a hash of its samples, table and trials, whatever made them and when."""
    sealed = {
        "schema": SCHEMA,
        "rate": SAMPLE_RATE,
        "shards": [s["sha256"] for s in shards],
        "table": table_sha256,
    }
    return content_hash(sealed if trials_sha256 is None else {**sealed, "trials": trials_sha256})


class Corpus:
    """A sealed corpus, open for reading.

    Attributes:
        path: Its folder.
        manifest: What corpus.json says.
        table: One row an utterance, dtype ROW.
        hash: Its identity.
    """

    def __init__(self, path: Path | str) -> None:
        """Open a corpus and check its table's checksum and its shards' sizes.

        Raises:
            InputError: When there is no corpus, it is not sealed yet, or its files changed.
        """
        self.path = Path(path)
        if not (self.path / MANIFEST).exists():
            unfinished = (self.path / "recipe.json").exists()
            raise InputError(
                "a corpus that was never finished" if unfinished else "no corpus here",
                where=self.path,
                remedy="run the same `scaling-sweep corpus` command again; it goes on where it stopped"
                if unfinished
                else "make one with `scaling-sweep corpus synth DIR --hours H` or `corpus import`",
            )
        self.manifest: dict[str, Any] = read_json(self.path / MANIFEST)
        if self.manifest.get("schema") != SCHEMA:
            raise InputError(
                "a corpus of another schema", where=self.path / MANIFEST, value=self.manifest.get("schema")
            )
        for name, sealed in ((TABLE, "table_sha256"), (TRIALS, "trials_sha256")):
            path = self.path / name
            if sealed in self.manifest and not (path.exists() and file_sha256(path) == self.manifest[sealed]):
                raise self._changed(path)
        self.table: np.ndarray = np.load(self.path / TABLE)
        self.hash: str = self.manifest["hash"]
        self._by_start: dict[int, dict[int, dict[str, Any]]] = {}
        for shard in self.manifest["shards"]:
            path = self._shard_path(shard["name"])
            if not path.exists() or path.stat().st_size != 2 * shard["samples"]:
                raise self._changed(path)

    @property
    def hours(self) -> float:
        """Hours of training audio."""
        return float(self.table["samples"][~self.table["held_out"]].sum()) / SAMPLE_RATE / 3600

    def samples(self, utterance: int) -> np.ndarray:
        """Return the int16 samples of an utterance, mapped from disk."""
        row = self.table[utterance]
        return self._shards[row["shard"]][row["start"] : row["start"] + row["samples"]]

    def subset(self, hours: float | None = None, *, where: object = None) -> np.ndarray:
        """Return the utterances of the nested subset of so many hours, in order of rank.

        Raises:
            InputError: When the corpus holds fewer training hours.
        """
        chosen = np.flatnonzero(~self.table["held_out"])
        chosen = chosen[np.argsort(self.table["rank"][chosen])]
        if hours is None:
            return chosen
        total = np.cumsum(self.table["samples"][chosen]) / (3600 * SAMPLE_RATE)
        if hours > total[-1] * 1.001:
            raise InputError(
                f"more hours than the corpus has ({total[-1]:.4g} h for training)",
                where=where or "unique_hours",
                value=hours,
                remedy="ask for fewer, or make a larger corpus",
            )
        return chosen[: int(np.searchsorted(total, min(hours, total[-1]), side="left")) + 1]

    def held_out(self) -> np.ndarray:
        """Return the held-out utterances."""
        return np.flatnonzero(self.table["held_out"])

    def trials(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the trials of speaker verification: pairs of utterances, and whether one speaker speaks in both.

        Raises:
            InputError: When the corpus has none.
        """
        if not (self.path / TRIALS).exists():
            raise InputError(
                "a corpus without trials of speaker verification",
                where=self.path,
                remedy="make one with `corpus import DIR --from voxceleb1-verification:ROOT`",
            )
        found = np.array(read_json(self.path / TRIALS), dtype=np.int64)
        return found[:, :2], found[:, 2].astype(bool)

    def longest_crop(self, *, held_out: bool) -> float:
        """Return the seconds of the longest crop that an utterance of a split gives, in whole frames."""
        samples = self.table["samples"][self.table["held_out"] == held_out].max()
        return int(utterance_frames(samples)) / FRAMES_PER_SECOND

    def details(self, shard: int) -> list[dict[str, Any]]:
        """Return speaker, text and phones of each utterance of a shard, in the order of the file."""
        return read_json(self._shard_path(self.manifest["shards"][shard]["name"]).with_suffix(".json"))["utterances"]

    def detail(self, utterance: int) -> dict[str, Any]:
        """Return speaker, text and phones of one utterance.

        A shard's file also tells of utterances that the seal dropped, so that they are found by where they start.
        """
        row = self.table[utterance]
        shard = int(row["shard"])
        if shard not in self._by_start:
            told = self.details(shard)
            starts = np.cumsum([0] + [one["samples"] for one in told[:-1]])
            self._by_start[shard] = dict(zip(starts.tolist(), told, strict=True))
        return self._by_start[shard][int(row["start"])]

    def verify(self) -> None:
        """Read every sample and compare the checksums.

        Raises:
            InputError: When a shard is not what was sealed.
        """
        for shard in self.manifest["shards"]:
            path = self._shard_path(shard["name"])
            if file_sha256(path) != shard["sha256"]:
                raise self._changed(path)

    @cached_property
    def _shards(self) -> list[np.ndarray]:
        return [
            np.memmap(self._shard_path(shard["name"]), dtype="<i2", mode="r")
            if shard["samples"]
            else np.zeros(0, dtype="<i2")  # every file of it was unusable; an empty file cannot be mapped
            for shard in self.manifest["shards"]
        ]

    def _shard_path(self, name: str) -> Path:
        return self.path / "shards" / f"{name}.i16"

    @staticmethod
    def _changed(path: Path) -> InputError:
        return InputError(
            "not the file that the corpus was sealed with",
            where=path,
            remedy="restore it, or make the corpus again in an empty folder",
        )
