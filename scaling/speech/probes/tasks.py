"""Each probe: its labelled clips, its head, its score with a standard error. See `catalogue` for what they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scaling.errors import InputError
from scaling.speech.probes.catalogue import ProbeSettings
from scaling.speech.probes.heads import CTC_RATES, RATE, Embedding, Head, Recurrent, ctc, greedy, learn
from scaling.speech.probes.labels import Clip, Labels, Split, vocabulary
from scaling.speech.probes.scores import (
    Statistic,
    cluster_purity,
    effective_rank,
    equal_error_rate,
    error_counts,
    jackknife,
    over_seeds,
    phone_purity,
    pnmi,
    ratio,
    spread_without,
    sums_by,
)
from scaling.speech.probes.states import FrameStates, pooled
from scaling.speech.probes.voices import known_voices, other_voices
from scaling.speech.probes.words import find_words
from scaling.speech.reading import Source

Scores = dict[str, tuple[float, float]]
"""Metric -> (score, standard error)."""
CLIPS_A_STEP = {"linear": 2, "lstm": 8}
FRAMES_A_STEP = 1024
CLUSTERS = 100
"""Clusters of `clusters`, as of HuBERT's first iteration."""
CLUSTERED_FRAMES = 20_000
"""Frames that the clusters are fitted on, at most."""
POOLED_EPOCHS = 10
"""Times the epochs for clips that are one vector each: such a pass is short."""
CTC_EPOCHS = 2
"""Times the epochs for CTC, which says nothing but blanks for long."""


class Stopped(Exception):  # noqa: N818 - not an error
    """A probe was told to stop before its end."""


@dataclass
class Bench:
    """What probes of one encoder share."""

    source: Source
    labels: Labels
    settings: ProbeSettings
    stop: Callable[[], bool] = lambda: False
    _speech: tuple[Split, FrameStates] | None = field(default=None, init=False)

    def speech(self) -> tuple[Split, FrameStates]:
        """Return whole utterances and their states, computed once."""
        if self._speech is None:
            split = self.labels.speech(self.settings.hours, self.settings.test_hours)
            states = FrameStates(
                self.source,
                [*split.train, *split.test],
                train=len(split.train),
                cache_gb=self.settings.cache_gb,
            )
            self._speech = split, states
        return self._speech

    def seeds(self, one: Callable[[int], tuple[float, float]]) -> tuple[float, float]:
        """Return the score over all seeds, from that of each and its standard error."""
        return over_seeds([one(seed) for seed in range(self.settings.seeds)])

    def teach(self, head: Head, loss: Callable[[Sequence[int]], Tensor], *, items: int, batch: int, rate: float,
              seed: int, epochs: int | None = None) -> None:  # fmt: skip
        """Teach a head.

        Raises:
            Stopped: When the run was told to stop.
        """
        passes = epochs or self.settings.epochs
        if not learn(head, loss, items=items, batch=batch, epochs=passes, rate=rate, seed=seed, stop=self.stop):
            raise Stopped

    def speakers(self, clips: Sequence[Clip]) -> np.ndarray:
        """Return the speaker of each clip."""
        return np.array([self.labels.speaker(clip) for clip in clips])


def frames(bench: Bench) -> Scores:
    """Return the share of held-out frames whose phone a linear head says rightly."""
    split, states = bench.speech()
    named = [bench.labels.frame_phones(clip) for clip in [*split.train, *split.test]]
    classes = vocabulary(named[: len(split.train)])
    number = {phone: i for i, phone in enumerate(classes)}
    train, test = len(split.train), range(len(split.train), len(named))
    labels = [torch.tensor([number.get(phone, -1) for phone in phones]).to(states.device) for phones in named]
    truth = torch.cat(labels[:train])  # of test frames -1 where training never heard the phone
    speakers = bench.speakers(split.test)

    def one(seed: int) -> tuple[float, float]:
        torch.manual_seed(seed)
        head = Head(states.layers, nn.Linear(states.width, len(classes))).to(states.device)

        def loss(numbers: Sequence[int]) -> Tensor:
            return F.cross_entropy(head(states.frames(numbers, train)), truth[numbers])

        bench.teach(head, loss, items=len(truth), batch=FRAMES_A_STEP, rate=RATE, seed=seed)
        with torch.inference_mode():
            hits = [[float((head(states.clip(i)).argmax(-1) == labels[i]).sum()), len(labels[i])] for i in test]
        return jackknife(ratio, sums_by(speakers, np.array(hits)))

    return {"frame_phone_accuracy": bench.seeds(one)}


def phones(bench: Bench) -> Scores:
    """Return the phone error rate of a linear head with CTC."""
    split, _ = bench.speech()
    spoken = [bench.labels.spoken(clip.utterance) for clip in [*split.train, *split.test]]
    (rate,) = _recognise(bench, spoken, lambda width, classes: nn.Linear(width, classes), "linear", [list])
    return {"phone_error_rate": rate}


def characters(bench: Bench) -> Scores:
    """Return word and character error rate of an LSTM with CTC over characters."""
    split, _ = bench.speech()
    said = [list(bench.labels.text(clip.utterance)) for clip in [*split.train, *split.test]]
    words, letters = _recognise(bench, said, Recurrent, "lstm", [lambda s: "".join(s).split(), list])
    return {"word_error_rate": words, "character_error_rate": letters}


def _recognise(
    bench: Bench,
    symbols: list[list[str]],
    body: Callable[[int, int], nn.Module],
    kind: str,
    units: Sequence[Callable[[list[str]], Sequence[str]]],
) -> list[tuple[float, float]]:
    """Return the error rates of a head with CTC in some units (words, characters)."""
    split, states = bench.speech()
    train = len(split.train)
    for i, one in enumerate(symbols):
        if not one:
            raise InputError(
                "an empty transcript",
                where=f"{bench.labels.corpus.path}: utterance {[*split.train, *split.test][i].utterance}",
                remedy="import the corpus without it, or leave the probe away",
            )
    classes = vocabulary(symbols[:train])
    number = {symbol: i + 1 for i, symbol in enumerate(classes)}
    labels = [[number[symbol] for symbol in one] for one in symbols[:train]]
    references = [[unit(one) for one in symbols[train:]] for unit in units]
    speakers = bench.speakers(split.test)

    def hypotheses(seed: int) -> list[list[str]]:
        torch.manual_seed(seed)
        head = Head(states.layers, body(states.width, len(classes) + 1)).to(states.device)

        def loss(numbers: Sequence[int]) -> Tensor:
            values, lengths = states.batch(numbers)
            return ctc(head(values), lengths, [labels[i] for i in numbers])

        passes = CTC_EPOCHS * bench.settings.epochs
        bench.teach(head, loss, items=train, epochs=passes, batch=CLIPS_A_STEP[kind], rate=CTC_RATES[kind], seed=seed)
        found: list[list[str]] = []
        with torch.inference_mode():
            for i in range(train, len(symbols)):
                values, lengths = states.batch([i])
                found += [[classes[k - 1] for k in one] for one in greedy(head(values), lengths)]
        return found

    said = [hypotheses(seed) for seed in range(bench.settings.seeds)]
    return [
        over_seeds(
            [
                jackknife(ratio, sums_by(speakers, error_counts(reference, [unit(one) for one in found])))
                for found in said
            ]
        )
        for unit, reference in zip(units, references, strict=True)
    ]


def keywords(bench: Bench) -> Scores:
    """Return how often a linear head on a clip's mean says the word rightly."""
    return {"keyword_accuracy": _classify(bench, find_words(bench.labels))}


def speakers(bench: Bench) -> Scores:
    """Return how often a linear head on a clip's mean says the speaker rightly."""
    return {"speaker_accuracy": _classify(bench, known_voices(bench.labels))}


def _classify(bench: Bench, split: Split) -> tuple[float, float]:
    """Return the accuracy of a linear head on means over clips."""
    states = pooled(bench.source, [*split.train, *split.test], train=len(split.train))
    truth = torch.tensor([clip.label for clip in [*split.train, *split.test]]).to(states.device)
    train = len(split.train)
    speakers = bench.speakers(split.test)

    def one(seed: int) -> tuple[float, float]:
        torch.manual_seed(seed)
        head = Head(states.shape[1], nn.Linear(states.shape[2], len(split.classes))).to(states.device)
        _teach_pooled(bench, head, states[:train], truth[:train], seed)
        with torch.inference_mode():
            right = (head(states[train:]).argmax(-1) == truth[train:]).double().cpu().numpy()
        return jackknife(ratio, sums_by(speakers, np.column_stack([right, np.ones(len(right))])))

    return bench.seeds(one)


def verification(bench: Bench) -> Scores:
    """Return the equal error rate of cosines between embeddings of speakers that were never heard."""
    split, pair, same = other_voices(bench.labels)
    states = pooled(bench.source, [*split.train, *split.test], train=len(split.train))
    train = len(split.train)
    truth = torch.tensor([clip.label for clip in split.train]).to(states.device)
    speakers = bench.speakers(split.test)

    def one(seed: int) -> tuple[float, float]:
        torch.manual_seed(seed)
        body = Embedding(states.shape[2], len(split.classes))
        head = Head(states.shape[1], body).to(states.device)
        _teach_pooled(bench, head, states[:train], truth, seed)
        with torch.inference_mode():
            summed = torch.einsum("nlw,l->nw", states[train:], head.weights.softmax(0))
            embedded = body.embed(summed).double().cpu().numpy()
        scores = (embedded[pair[:, 0]] * embedded[pair[:, 1]]).sum(axis=1)
        without = []
        for speaker in np.unique(speakers[pair]):
            kept = (speakers[pair] != speaker).all(axis=1)
            without.append(equal_error_rate(scores[kept], same[kept]))
        return equal_error_rate(scores, same), spread_without(without)

    return {"speaker_eer": bench.seeds(one)}


def _teach_pooled(bench: Bench, head: Head, states: Tensor, truth: Tensor, seed: int) -> None:
    def loss(numbers: Sequence[int]) -> Tensor:
        return F.cross_entropy(head(states[numbers]), truth[numbers])

    epochs = POOLED_EPOCHS * bench.settings.epochs
    bench.teach(head, loss, items=len(states), batch=64, rate=RATE, seed=seed, epochs=epochs)


def rank(bench: Bench) -> Scores:
    """Return the effective rank of the last layer's frames on held-out audio, as they are, not standardised."""
    split, states = bench.speech()
    moments = []
    for i in range(len(split.train), len(split.train) + len(split.test)):
        last = states.as_they_are(i)[:, -1].double().cpu().numpy()
        moments.append(last.T @ last)
    return {"effective_rank": jackknife(effective_rank, sums_by(bench.speakers(split.test), np.array(moments)))}


def clusters(bench: Bench) -> Scores:
    """Return what k-means clusters of the middle layer tell of the phones of held-out frames."""
    from scipy.cluster.vq import vq

    from scaling.speech.targets.clusters import kmeans

    split, states = bench.speech()
    layer = states.layers // 2
    train = len(split.train)
    named = [bench.labels.frame_phones(clip) for clip in split.test]
    classes = vocabulary(named)
    number = {phone: i for i, phone in enumerate(classes)}
    speakers = bench.speakers(split.test)
    sample = _layer(states, range(train), layer).float().numpy()
    statistics: dict[str, Statistic] = {"phone_purity": phone_purity, "cluster_purity": cluster_purity, "pnmi": pnmi}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in statistics}
    for seed in range(bench.settings.seeds):
        if bench.stop():
            raise Stopped
        rng = np.random.default_rng(seed)
        chosen = rng.choice(len(sample), size=min(len(sample), CLUSTERED_FRAMES), replace=False)
        centroids = kmeans(sample[chosen], CLUSTERS, seed)
        tables = np.zeros((len(split.test), len(classes), CLUSTERS))
        for i, phones_of in enumerate(named):
            labels, _ = vq(states.clip(train + i)[:, layer].cpu().numpy(), centroids)
            np.add.at(tables[i], ([number[phone] for phone in phones_of], labels), 1)
        sums = sums_by(speakers, tables)
        for name, statistic in statistics.items():
            found[name].append(jackknife(statistic, sums))
    return {name: over_seeds(scores) for name, scores in found.items()}


def _layer(states: FrameStates, clips: range, layer: int) -> Tensor:
    """Return a layer's frames of some clips in half precision, [frames, width]."""
    return torch.cat([states.clip(i)[:, layer].half().cpu() for i in clips])


TASKS: dict[str, Callable[[Bench], Scores]] = {
    "frames": frames,
    "phones": phones,
    "characters": characters,
    "keywords": keywords,
    "speakers": speakers,
    "verification": verification,
    "rank": rank,
    "clusters": clusters,
}
"""Name -> what does the probe."""
