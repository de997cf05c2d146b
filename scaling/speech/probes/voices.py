"""Clips for speaker probes: the first second of utterances.

Speakers to be identified occur in both parts. Speakers to be verified were never heard: the embedding learns from
training speakers, and pairs of held-out clips are judged.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from scaling.errors import InputError
from scaling.shape import FRAMES_PER_SECOND
from scaling.speech.corpus.store import TRIALS
from scaling.speech.probes.labels import Clip, Labels, Split

CLIP_FRAMES = FRAMES_PER_SECOND
"""Length of a clip: a second, since more leaves no error to compare."""
SPEAKERS, CLIPS_OF = 100, 10
"""Speakers that are told apart, and clips of each at most; a fifth of them, at least one, is the test."""
KNOWN_CLIPS = 5
"""Clips that a speaker needs to be told apart."""
LEARNED_CLIPS = 1_000
"""Clips of any speakers that the embedding of verification learns from, at most."""
MOST_TRIALS = 20_000
"""Trials at most, half of them of one speaker."""
_SEED = 20210503


def known_voices(labels: Labels) -> Split:
    """Return clips labelled by speaker, the same speakers in both parts.

    Where the held-out part of the corpus is of the training part's speakers (as VoxCeleb1's identification split),
    that is the test; where it is of others, clips of the training part are set apart.

    Raises:
        InputError: When the held-out part has speakers of both kinds, or too few speakers have enough clips.
    """
    of, tested = (_by_speaker(labels, held_out=part) for part in (False, True))
    names = labels.speaker_names()
    seen = tested.keys() & of.keys()
    if seen and (unseen := sorted(tested.keys() - of.keys())):
        raise InputError(
            "unseen speakers in the test split: none of their clips was learned from, so they cannot be told",
            where=f"{labels.corpus.path}: speakers",
            value=[names[s] for s in unseen[:5]],
            remedy="hold out clips of the training speakers, or of none of them (then clips are set apart); for "
            "unseen speakers there is the probe `verification`",
        )
    chosen = sorted((s for s in of if len(of[s]) >= KNOWN_CLIPS), key=lambda s: (-len(of[s]), s))[:SPEAKERS]
    if len(chosen) < 2:
        raise InputError(
            f"missing labels: fewer than two speakers with {KNOWN_CLIPS} utterances",
            where=labels.corpus.path,
            remedy="use a larger corpus, or leave the probe `speakers` away",
        )
    train, test = [], []
    for number, speaker in enumerate(chosen):
        clips = [_clip(labels, u, number) for u in of[speaker][:CLIPS_OF]]
        cut = len(clips) if seen else len(clips) - max(1, len(clips) // 5)
        train += clips[:cut]
        test += clips[cut:] + [_clip(labels, u, number) for u in tested.get(speaker, ()) if seen][:CLIPS_OF]
    return Split(train, test, tuple(names[s] for s in chosen))


def other_voices(labels: Labels) -> tuple[Split, np.ndarray, np.ndarray]:
    """Return clips of training speakers and of held-out ones, and trials of the latter.

    Returns:
        The clips; pairs of test clips by their numbers, [trials, 2]; and whether a pair is of one speaker. The trials
        are the corpus's own where it came with some (VoxCeleb1), else drawn, half of them of one speaker.

    Raises:
        InputError: When no two held-out clips are of one speaker, or all are.
    """
    training = labels.ranked(held_out=False)[:LEARNED_CLIPS]
    number = {s: i for i, s in enumerate(dict.fromkeys(labels.speakers[training].tolist()))}
    train = [_clip(labels, u, number[int(labels.speakers[u])]) for u in training]
    if (labels.corpus.path / TRIALS).exists():
        pairs, same = labels.corpus.trials()
        tested = np.unique(pairs)
        pairs = np.searchsorted(tested, pairs)
    else:
        tested = labels.ranked(held_out=True)
        pairs, same = _draw(labels.speakers[tested])
    if same.all() or not same.any():
        raise InputError(
            "missing labels: verification needs held-out pairs of one speaker and of two",
            where=labels.corpus.path,
            value=f"{int(same.sum())} of one, {int((~same).sum())} of two",
            remedy="use a corpus with several held-out speakers and several clips of each",
        )
    test = [_clip(labels, u, int(labels.speakers[u])) for u in tested]
    return Split(train, test, tuple(labels.speaker_names()[s] for s in number)), pairs, same


def _draw(speakers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all pairs of one speaker, or half of MOST_TRIALS of them, and as many of two."""
    first, second = np.triu_indices(len(speakers), 1)
    same = speakers[first] == speakers[second]
    rng = np.random.default_rng(_SEED)
    count = min(int(same.sum()), MOST_TRIALS // 2)
    rows = np.concatenate([np.sort(rng.permutation(np.flatnonzero(kind))[:count]) for kind in (same, ~same)])
    return np.column_stack([first[rows], second[rows]]), same[rows]


def _by_speaker(labels: Labels, *, held_out: bool) -> dict[int, list[int]]:
    """Return speaker -> utterances of a part by rank."""
    of: dict[int, list[int]] = defaultdict(list)
    for u in labels.ranked(held_out=held_out):
        of[int(labels.speakers[u])].append(int(u))
    return dict(of)


def _clip(labels: Labels, utterance: int, label: int) -> Clip:
    return Clip(int(utterance), 0, min(CLIP_FRAMES, int(labels.counts[utterance])), label)
