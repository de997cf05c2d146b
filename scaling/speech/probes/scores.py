"""Scores of probes and their standard errors: error rates, equal error rate, effective rank, purity, information.

Test utterances of one speaker are alike, so a standard error comes of leaving out one speaker after another (the
jackknife, Efron and Stein 1981):

    se^2 = (S - 1) / S  sum_s (score_without_s - mean)^2

Nearly every score here is a function of sums over speakers, so that leaving one out is a subtraction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from scaling.errors import InputError

Statistic = Callable[[np.ndarray], float]


def edit_distance(reference: Sequence[Any], hypothesis: Sequence[Any]) -> int:
    """Return the fewest insertions, deletions and substitutions that turn one sequence into the other.

    Rows of Levenshtein's table; insertions run along a row, which is a running minimum of d[j] - j.

    Example:
        >>> edit_distance("kitten", "sitting"), edit_distance("", "abc"), edit_distance(["a", "b"], ["b"])
        (3, 3, 1)
    """
    symbols = {symbol: i for i, symbol in enumerate(dict.fromkeys([*reference, *hypothesis]))}
    theirs = np.array([symbols[symbol] for symbol in hypothesis], dtype=np.int64)
    steps = np.arange(len(theirs) + 1)
    row = steps.copy()
    for i, symbol in enumerate(reference, 1):
        best = np.minimum(row[1:] + 1, row[:-1] + (theirs != symbols[symbol]))
        row = np.minimum.accumulate(np.concatenate([[i], best]) - steps) + steps
    return int(row[-1])


def error_counts(references: Sequence[Sequence[Any]], hypotheses: Sequence[Sequence[Any]]) -> np.ndarray:
    """Return [utterances, 2]: edits, and symbols of the reference. Their sums' ratio is PER, CER or WER.

    Raises:
        InputError: When a reference is empty: a rate over it is not defined.
    """
    for i, reference in enumerate(references):
        if not len(reference):
            raise InputError("an empty transcript", where=f"test utterance {i}", remedy="leave the utterance out")
    rows = [(edit_distance(r, h), len(r)) for r, h in zip(references, hypotheses, strict=True)]
    return np.array(rows, dtype=float).reshape(-1, 2)


def ratio(sums: np.ndarray) -> float:
    """Return the first sum over the second: an error rate of edits over symbols, an accuracy of hits over trials."""
    return float(sums[0] / sums[1])


def equal_error_rate(scores: np.ndarray, same: np.ndarray) -> float:
    """Return the error rate at which as many impostors are accepted as targets are refused.

    Where the line of false acceptances over thresholds, straight between trials of different score, meets that of
    false refusals.

    Args:
        scores: The higher, the more alike: [trials].
        same: Whether a trial is of one speaker: [trials] bool.

    Raises:
        InputError: When there are no trials of either kind.

    Example:
        >>> equal_error_rate(np.array([0.9, 0.8, 0.3, 0.1]), np.array([True, False, True, False]))
        0.5
    """
    targets, impostors = int(same.sum()), int((~same).sum())
    if not targets or not impostors:
        raise InputError(
            "trials of one kind alone: an equal error rate needs pairs of one speaker and pairs of two",
            where="verification",
            value=f"{targets} of one, {impostors} of two",
            remedy="use a corpus whose held-out part has two utterances of several speakers",
        )
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, [True])  # trials of equal score count together
    accepted = np.concatenate([[0], np.cumsum(~same[order])[last]]) / impostors
    refused = 1 - np.concatenate([[0], np.cumsum(same[order])[last]]) / targets
    after = int(np.argmax(accepted >= refused))
    gap, before = accepted[after] - refused[after], refused[after - 1] - accepted[after - 1]
    share = before / (gap + before)
    return float(accepted[after - 1] + share * (accepted[after] - accepted[after - 1]))


def effective_rank(moments: np.ndarray) -> float:
    """Return RankMe of [n, d] embeddings from their second moments Z'Z, [d, d]: d where all directions are alike.

        exp(-sum_k p_k log p_k),  p_k = s_k / sum_j s_j,  s the singular values of Z

    Source: Garrido et al. 2023 (arXiv 2210.02885).

    Example:
        >>> round(effective_rank(np.eye(5)), 6), round(effective_rank(np.diag([1.0, 0.0])), 6)
        (5.0, 1.0)
    """
    singular = np.sqrt(np.clip(np.linalg.eigvalsh(moments), 0, None))
    shares = singular / singular.sum()
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def phone_purity(table: np.ndarray) -> float:
    """Return the share of frames that are of their cluster's commonest phone; `table` counts [phones, clusters].

    Source: HuBERT (Hsu et al. 2021, arXiv 2106.07447), section IV-E, as the two below.
    """
    return float(table.max(axis=0).sum() / table.sum())


def cluster_purity(table: np.ndarray) -> float:
    """Return the share of frames that are in their phone's commonest cluster; `table` counts [phones, clusters]."""
    return float(table.max(axis=1).sum() / table.sum())


def pnmi(table: np.ndarray) -> float:
    """Return phone-normalised mutual information I(phone; cluster) / H(phone); `table` counts [phones, clusters].

    How much of the uncertainty about a frame's phone its cluster takes away.

    Example:
        >>> pnmi(np.diag([3, 5])), round(pnmi(np.ones((2, 2))), 12)
        (1.0, 0.0)
    """
    joint = table / table.sum()
    phones, clusters = joint.sum(axis=1), joint.sum(axis=0)
    known = joint > 0
    expected = np.outer(phones, clusters)[known]
    information = (joint[known] * np.log(joint[known] / expected)).sum()
    present = phones[phones > 0]
    return float(information / -(present * np.log(present)).sum())


def sums_by(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the sums of values [n, ...] over each group, [groups, ...], in order of the groups' numbers."""
    _, place = np.unique(groups, return_inverse=True)
    out = np.zeros((int(place.max()) + 1, *values.shape[1:]))
    np.add.at(out, place, values)
    return out


def jackknife(statistic: Statistic, sums: np.ndarray) -> tuple[float, float]:
    """Return a statistic of sums over groups, [groups, ...], and its standard error (NaN of a single group)."""
    total = sums.sum(axis=0)
    return statistic(total), spread_without([statistic(total - one) for one in sums] if len(sums) > 1 else [])


def spread_without(scores: Sequence[float]) -> float:
    """Return the jackknife's standard error from the scores that leave one group out each."""
    found = np.asarray(scores, dtype=float)
    if len(found) < 2:
        return float("nan")
    return float(np.sqrt((len(found) - 1) / len(found) * ((found - found.mean()) ** 2).sum()))


def over_seeds(scores: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the mean score of several heads and its standard error, from (score, standard error) of each.

        se^2 = (mean of the test set's se)^2 + variance over seeds / seeds

    The heads share their test set, so that part does not shrink with their number.
    """
    values, errors = np.array(scores, dtype=float).T
    between = values.var(ddof=1) / len(values) if len(values) > 1 else 0.0
    return float(values.mean()), float(np.sqrt(errors.mean() ** 2 + between))
