"""Probes of encoders on real audio: labels, states, what heads learn, what is kept, and what is refused."""

import dataclasses
import errno
import itertools
import json

import numpy as np
import pytest
import torch

from scaling import InputError
from scaling.run import RunFolder
from scaling.speech import train
from scaling.speech.corpus.importing import import_audio
from scaling.speech.corpus.store import Corpus
from scaling.speech.encoder import Encoder
from scaling.speech.probes import run as probing
from scaling.speech.probes import tasks, voices, words
from scaling.speech.probes.catalogue import PROBES, ProbeSettings
from scaling.speech.probes.heads import ctc, greedy
from scaling.speech.probes.labels import SILENCE, Clip, Labels
from scaling.speech.probes.needs import check_labels
from scaling.speech.probes.states import FrameStates, pooled
from scaling.speech.reading import RawReader, Reader
from scaling.speech.weights import Weights

from ..runs import LOGMEL, WAVEFORM, spec_for
from ..test_datasets import sound

QUICK = ProbeSettings(probes=("frames", "rank"), hours=0.02, test_hours=0.01, epochs=2, seeds=1)


@pytest.fixture
def crowd(corpus):
    """Return the corpus as if six people had read its training part, and three others the rest."""
    found = Corpus(corpus.path)
    held_out = found.table["held_out"]
    found.table["speaker"] = np.where(held_out, 6 + found.table["speaker"] % 3, found.table["speaker"] % 6)
    return found


def weights_of(corpus, shape=LOGMEL, seed=0):
    """Return weights of an untrained encoder, as a run of the corpus would leave them."""
    from scaling.speech.features import normalisation

    torch.manual_seed(seed)
    mean, deviation = (
        (torch.as_tensor(x) for x in normalisation(corpus)) if shape.frontend == "logmel" else (None, None)
    )
    return Weights(
        shape=shape,
        spec=spec_for(corpus, shape).science,
        encoder_state=Encoder(shape).state_dict(),
        objective_state={},
        input_mean=mean,
        input_deviation=deviation,
        flops_total=0.0,
    )


# labels


def test_frames_have_the_phone_in_their_middle(corpus):
    labels = Labels(corpus)
    u = int(corpus.subset()[0])
    marks = corpus.detail(u)["phones"]
    found = labels.frame_phones(labels.whole(u))
    assert len(found) == labels.counts[u]
    for t in range(0, len(found), 7):
        before = [name for sample, name in marks if sample <= 320 * t + 160]
        name = before[-1] if before else "_"
        assert found[t] == (SILENCE if name.startswith("_") else name.strip("',%="))
    part = labels.frame_phones(Clip(u, 10, 5))
    assert part == found[10:15]


def test_heads_learn_from_the_first_audio_and_are_judged_on_other_speakers(corpus):
    labels = Labels(corpus)
    split = labels.speech(0.02, 0.01)
    assert {c.utterance for c in split.train} <= set(corpus.subset(0.03).tolist())
    assert not {labels.speaker(c) for c in split.train} & {labels.speaker(c) for c in split.test}
    assert labels.text(split.train[0].utterance).replace(" ", "").replace("'", "").isalnum()


def test_clauses_between_pauses_are_clips_of_what_is_said_there(corpus):
    labels = Labels(corpus)
    for u in corpus.subset()[:20]:
        clips = words._alone(labels, int(u))
        said = " ".join(clip.label for clip in clips)
        assert said.split() == labels.text(int(u)).split()
        assert all(b.first >= a.first + a.count for a, b in itertools.pairwise(clips))
        for clip in clips:
            heard = labels.frame_phones(clip)
            assert SILENCE not in heard[1:3], "from its first phone on"


def test_trials_are_drawn_half_of_one_speaker(crowd):
    split, pairs, same = voices.other_voices(Labels(crowd))
    assert same.mean() == 0.5
    label = np.array([clip.label for clip in split.test])
    assert ((label[pairs[:, 0]] == label[pairs[:, 1]]) == same).all()


# states


def test_states_of_a_teacher_of_another_corpus_are_of_its_own_normalisation(corpus):
    weights = weights_of(corpus)
    u = int(corpus.held_out()[0])
    same = Reader(corpus, weights).states(u)
    other = dataclasses.replace(weights, input_mean=weights.input_mean + 1, input_deviation=weights.input_deviation * 2)
    read = Reader(corpus, other)
    inputs, ours = read.inputs(u), Reader(corpus, weights).inputs(u)
    expected = (ours * weights.input_deviation - 1) / (weights.input_deviation * 2)
    assert torch.allclose(inputs, expected, atol=1e-5)
    assert same.shape == (3, int(Labels(corpus).counts[u]), 24)


def test_a_part_of_an_utterance_has_its_frames_for_both_front_ends(corpus):
    u = int(corpus.subset()[0])
    for shape in (LOGMEL, WAVEFORM):
        assert Reader(corpus, weights_of(corpus, shape)).states(u, 7, 20).shape == (3, 20, shape.width)
    raw = RawReader(corpus)
    assert torch.equal(raw.states(u, 7, 20), raw.states(u)[:, 7:27])


def test_states_are_the_same_from_the_cache_and_computed_again(corpus):
    labels = Labels(corpus)
    clips = [labels.whole(u) for u in corpus.subset()[:3]]
    source = Reader(corpus, weights_of(corpus))
    kept = FrameStates(source, clips, train=2, cache_gb=1)
    again = FrameStates(source, clips, train=2, cache_gb=1e-9)
    assert (kept.cached, again.cached) == (True, False)
    assert all(torch.equal(kept.clip(i), again.clip(i)) for i in range(3))
    frames = torch.cat([kept.clip(0), kept.clip(1)])
    assert torch.allclose(frames.mean(0), torch.zeros_like(frames[0]), atol=1e-3)
    assert torch.allclose(frames.std(0), torch.ones_like(frames[0]), atol=1e-2)


def test_a_disk_without_room_is_no_failure(corpus, monkeypatch):
    labels = Labels(corpus)
    clips = [labels.whole(u) for u in corpus.subset()[:2]]

    def full(*_):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr("os.posix_fallocate", full)
    assert not FrameStates(RawReader(corpus), clips, train=1, cache_gb=1).cached


def test_the_cache_leaves_no_file(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    clips = [Labels(corpus).whole(u) for u in corpus.subset()[:2]]
    assert FrameStates(RawReader(corpus), clips, train=1, cache_gb=1).cached
    assert list(tmp_path.iterdir()) == [], "it has no name even while it is used"


def test_the_mean_of_a_weighted_sum_is_the_weighted_sum_of_means(corpus):
    clips = [Clip(int(u), 0, 50) for u in corpus.subset()[:4]]
    source = Reader(corpus, weights_of(corpus))
    means = pooled(source, clips, train=4)
    weights = torch.tensor([0.2, 0.5, 0.3])
    raw = torch.stack([source.states(c.utterance, 0, 50) for c in clips]).mean(2)
    scaled = (raw - raw.mean(0)) / raw.std(0).clamp_min(1e-4)
    assert torch.allclose(torch.einsum("nlw,l->nw", means, weights), (scaled * weights[:, None]).sum(1), atol=1e-5)


# heads


def test_ctc_and_its_greedy_reading_agree_on_what_was_said():
    said = [[3, 1, 1, 2], [2]]
    logits = torch.full((2, 9, 4), -20.0)
    for row, path in enumerate(([3, 3, 0, 1, 0, 1, 2, 2, 0], [0, 2, 2, 0, 3, 3, 3, 3, 3])):
        logits[row, torch.arange(9), torch.tensor(path)] = 20.0
    lengths = torch.tensor([9, 4])
    assert greedy(logits, lengths) == said
    assert float(ctc(logits, lengths, said)) < 1e-6


class Oracle:
    """A source whose only layer says the phone of every frame, or who speaks."""

    def __init__(self, labels, tell, width):
        self.counts, self._tell, self._width = labels.counts, tell, width

    def states(self, utterance, first=0, count=None):
        count = int(self.counts[utterance]) - first if count is None else count
        told = torch.nn.functional.one_hot(self._tell(Clip(utterance, first, count)), self._width).float()
        return (told + 0.01 * torch.randn(told.shape, generator=torch.Generator().manual_seed(utterance)))[None]


def test_known_speakers_are_in_both_parts_with_other_clips(crowd):
    split = voices.known_voices(Labels(crowd))
    parts = [{clip.label for clip in part} for part in (split.train, split.test)]
    assert parts == [set(range(6))] * 2
    assert not {clip.utterance for clip in split.train} & {clip.utterance for clip in split.test}


def test_a_perfect_encoder_scores_perfectly_and_noise_does_not(crowd, tmp_path):
    labels = Labels(crowd)
    names = sorted({p for u in range(len(labels.counts)) for p in labels.frame_phones(labels.whole(u))})
    number = {name: i for i, name in enumerate(names)}

    def phones(clip):
        return torch.tensor([number[name] for name in labels.frame_phones(clip)])

    settings = dataclasses.replace(QUICK, epochs=6)
    bench = tasks.Bench(Oracle(labels, phones, len(names)), labels, settings)
    assert tasks.frames(bench)["frame_phone_accuracy"][0] > 0.98  # a few phones never occur in training
    found = tasks.clusters(bench)
    assert found["pnmi"][0] > 0.85
    assert tasks.phones(bench)["phone_error_rate"][0] < 0.35  # repeated phones cannot be told apart
    voice = Oracle(labels, lambda clip: torch.full((clip.count,), labels.speaker(clip)), 9)
    assert tasks.speakers(tasks.Bench(voice, labels, settings))["speaker_accuracy"] == (1.0, 0.0)
    deaf = Oracle(labels, lambda clip: torch.arange(clip.count) % 7, 7)
    blind = tasks.Bench(deaf, labels, settings)
    assert tasks.frames(blind)["frame_phone_accuracy"][0] < 0.3


def test_every_probe_of_speech_gives_its_metrics_with_errors(crowd, tmp_path):
    corpus = crowd
    settings = ProbeSettings(
        probes=("frames", "phones", "characters", "speakers", "verification", "rank", "clusters"),
        hours=0.02, test_hours=0.01, epochs=1, seeds=2,
    )  # fmt: skip
    found = probing.probe(Reader(corpus, weights_of(corpus)), corpus, settings, tmp_path / "scores.json")
    expected = {metric for name in settings.probes for metric in PROBES[name].metrics}
    assert {name.removesuffix("_se") for name in found.metrics} == expected
    assert all(np.isfinite(value) for value in found.metrics.values())
    assert {name for name in found.metrics if name.endswith("_se")} == {name + "_se" for name in expected}
    assert found.left == ()


# what is kept


def test_a_probe_is_done_once_and_the_same_again(corpus, tmp_path, monkeypatch):
    source, file = Reader(corpus, weights_of(corpus)), tmp_path / "probes" / "run.json"
    first = probing.probe(source, corpus, QUICK, file)
    fresh = probing.probe(source, corpus, QUICK, tmp_path / "other.json")
    assert fresh.metrics == first.metrics, "the same seeds, the same heads"
    monkeypatch.setitem(tasks.TASKS, "frames", None)  # would fail if it were called
    assert probing.probe(source, corpus, QUICK, file).metrics == first.metrics
    other = dataclasses.replace(QUICK, hours=0.03)
    assert probing.probe_id(corpus, other) != first.id
    assert probing.probe_id(corpus, dataclasses.replace(QUICK, cache_gb=9, seconds=1)) == first.id


def test_what_the_time_or_a_stop_leaves_undone_is_said_and_done_later(corpus, tmp_path):
    source, file = Reader(corpus, weights_of(corpus)), tmp_path / "run.json"
    none = probing.probe(source, corpus, dataclasses.replace(QUICK, seconds=0), file)
    assert (none.left, none.metrics) == (("frames", "rank"), {})
    asked = iter([False] * 5 + [True] * 1000)
    half = probing.probe(source, corpus, QUICK, file, stop=lambda: next(asked))
    assert half.left == ("frames", "rank"), "stopped between two steps of the first head"
    assert probing.probe(source, corpus, QUICK, file).left == ()


def test_a_run_is_probed_after_training_and_goes_on_where_it_was_stopped(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("scaling.run.STOP_CHECK_SECONDS", 0)
    settings = ProbeSettings(probes=("frames", "rank"), hours=0.02, test_hours=0.01, epochs=1, seeds=1)
    spec = spec_for(corpus, updates=12, probes=settings.to_dict())
    assert spec.id == spec_for(corpus, updates=12).id, "probes are no part of what a run is"
    plain = train(spec_for(corpus, updates=12), RunFolder(tmp_path / "plain"))
    record = train(spec, RunFolder(tmp_path / "probed"))
    assert record.loss == plain.loss
    assert set(record.metrics) - set(plain.metrics) == {
        "frame_phone_accuracy", "frame_phone_accuracy_se", "effective_rank", "effective_rank_se",
    }  # fmt: skip
    assert (plain.probe_id, len(record.probe_id)) == ("", 8)

    stopped = RunFolder(tmp_path / "stopped", stop=lambda: (tmp_path / "stopped" / "weights.pt").exists())
    assert train(spec, stopped) is None, "told to stop when training had ended"
    again = train(spec, RunFolder(tmp_path / "stopped"))
    steps = [json.loads(line)["step"] for line in (tmp_path / "stopped" / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps)), "nothing was trained twice"
    assert (again.loss, again.metrics) == (record.loss, record.metrics)


# bad input


def test_missing_labels_are_named_before_anything_is_trained(tmp_path, corpus):
    for i in range(6):
        sound(tmp_path / "plain" / f"speaker{i}" / "a.wav", seconds=1, seed=i)
    plain = import_audio(tmp_path / "imported", source=str(tmp_path / "plain"), workers=1)
    for name, missing in (
        ("phones", "no phones"), ("frames", "no phones"), ("characters", "no text"),
        ("keywords", "fewer than two words"), ("speakers", "fewer than two speakers"),
        ("verification", "pairs of one speaker"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=missing) as caught:
            check_labels(plain, ProbeSettings(probes=(name,)), where="grid.yaml:3: probes")
        assert f"grid.yaml:3: probes: {name}" in str(caught.value)
    check_labels(plain, ProbeSettings(probes=("rank",)), where="")
    with pytest.raises(InputError, match="did you mean phones"):
        check_labels(corpus, ProbeSettings(probes=("phone",)), where="")


def test_an_unseen_speaker_in_the_test_split_is_named(crowd):
    labels = Labels(crowd)
    labels.speakers[crowd.held_out()[0]] = 0  # one of the held-out speakers is known
    with pytest.raises(InputError, match="unseen speakers in the test split"):
        voices.known_voices(labels)


def test_an_empty_transcript_is_named_with_its_utterance(corpus, tmp_path):
    labels = Labels(corpus)
    u = labels.speech(0.02, 0.01).train[1].utterance
    labels.text = lambda utterance: "" if utterance == u else "some words"
    bench = tasks.Bench(RawReader(corpus), labels, QUICK)
    with pytest.raises(InputError, match="an empty transcript") as caught:
        tasks.characters(bench)
    assert f"utterance {u}" in str(caught.value)


def test_weights_of_another_front_end_or_shape_are_refused(corpus):
    weights = weights_of(corpus)
    with pytest.raises(InputError, match="another front end"):
        Reader(corpus, dataclasses.replace(weights, input_mean=None))
    with pytest.raises(InputError, match="weights of another shape"):
        probing.trained_source(corpus, dataclasses.replace(weights, shape=dataclasses.replace(LOGMEL, width=48)))


def test_random_weights_are_those_that_a_run_began_with(corpus, tmp_path):
    spec = spec_for(corpus, updates=1, peak_lr=1e-12)
    train(spec, RunFolder(tmp_path))
    after = Weights.load(tmp_path)
    before = probing.random_weights(after)
    assert all(torch.allclose(before.encoder_state[k], v, atol=1e-6) for k, v in after.encoder_state.items())
