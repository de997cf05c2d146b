"""Scores of probes against independent references: torchaudio, scikit-learn, and sums written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mutual_info_score, roc_curve

from scaling import InputError
from scaling.speech.audiolib import audio_functional
from scaling.speech.probes import scores

words = st.lists(st.sampled_from(["a", "b", "c", "dd"]), max_size=12)
spoken = st.lists(st.sampled_from(["a", "b", "c", "dd"]), min_size=1, max_size=12)


@given(words, words)
def test_edit_distance_is_torchaudios(reference, hypothesis):
    assert scores.edit_distance(reference, hypothesis) == audio_functional.edit_distance(reference, hypothesis)


@given(st.lists(st.tuples(spoken, words), min_size=1, max_size=8))
def test_error_rates_are_those_of_torchaudios_distances(pairs):
    references, hypotheses = zip(*pairs, strict=True)
    edits = sum(audio_functional.edit_distance(r, h) for r, h in pairs)
    counts = scores.error_counts(references, hypotheses)
    assert scores.ratio(counts.sum(axis=0)) == pytest.approx(edits / sum(map(len, references)))


def test_an_empty_reference_has_no_error_rate():
    with pytest.raises(InputError, match="an empty transcript"):
        scores.error_counts([["a"], []], [["a"], ["b"]])


@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=60))
def test_equal_error_rate_is_where_scikit_learns_roc_crosses(trials):
    score = np.array([s for s, _ in trials], dtype=float)
    same = np.array([b for _, b in trials])
    if same.all() or not same.any():
        with pytest.raises(InputError, match="trials of one kind"):
            scores.equal_error_rate(score, same)
        return
    accepted, found, _ = roc_curve(same, score, drop_intermediate=False)
    refused = 1 - found
    i = int(np.argmax(accepted - refused >= 0))
    # the crossing of two straight lines, solved as such
    slope = np.array([accepted[i] - accepted[i - 1], refused[i] - refused[i - 1]])
    t = (refused[i - 1] - accepted[i - 1]) / (slope[0] - slope[1])
    assert scores.equal_error_rate(score, same) == pytest.approx(accepted[i - 1] + t * slope[0], abs=1e-12)


def test_equal_error_rate_does_not_depend_on_the_order_of_trials():
    rng = np.random.default_rng(0)
    score, same = rng.normal(size=500).round(1), rng.random(500) < 0.3
    order = rng.permutation(500)
    assert scores.equal_error_rate(score, same) == scores.equal_error_rate(score[order], same[order])


def test_effective_rank_is_rankme_of_the_singular_values():
    embeddings = np.random.default_rng(0).normal(size=(200, 8)) * np.geomspace(1, 0.01, 8)
    singular = np.linalg.svd(embeddings, compute_uv=False)
    shares = singular / singular.sum()
    expected = np.exp(-(shares * np.log(shares)).sum())
    assert scores.effective_rank(embeddings.T @ embeddings) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_purities_and_mutual_information_are_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    phones, clusters = rng.integers(0, 5, 300), rng.integers(0, 7, 300)
    clusters = np.where(rng.random(300) < 0.6, phones, clusters)
    table = np.zeros((5, 7))
    np.add.at(table, (phones, clusters), 1)
    entropy = mutual_info_score(phones, phones)
    assert scores.pnmi(table) == pytest.approx(mutual_info_score(phones, clusters) / entropy)
    commonest = sum(np.bincount(phones[clusters == c]).max() for c in np.unique(clusters))
    assert scores.phone_purity(table) == pytest.approx(commonest / 300)
    commonest = sum(np.bincount(clusters[phones == p]).max() for p in np.unique(phones))
    assert scores.cluster_purity(table) == pytest.approx(commonest / 300)


def test_the_error_of_a_rate_is_the_jackknifes_and_covers_what_other_speakers_would_say():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        rate = rng.beta(4, 12, size=30)  # speakers differ
        trials = rng.integers(20, 60, size=30)
        hits = rng.binomial(trials, rate)
        value, error = scores.jackknife(scores.ratio, np.column_stack([hits, trials]).astype(float))
        covered += abs(value - 0.25) < 2.045 * error  # t of 29 degrees of freedom
    assert 0.92 < covered / 400 < 0.98


def test_a_single_speaker_tells_no_error():
    assert np.isnan(scores.jackknife(scores.ratio, np.array([[1.0, 2.0]]))[1])


def test_the_error_over_seeds_keeps_that_of_the_test_set():
    value, error = scores.over_seeds([(0.5, 0.03), (0.7, 0.05)])
    assert value == pytest.approx(0.6)
    assert error == pytest.approx(np.sqrt(0.04**2 + 0.02 / 2))


def test_sums_are_by_group():
    assert scores.sums_by(np.array([7, 2, 7]), np.array([[1.0], [2], [3]])).tolist() == [[2], [4]]
