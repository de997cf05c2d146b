"""HuBERT, TERA and BEST-RQ: the losses of torchaudio and NumPy on the same tensors, and what is particular to ours."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from scaling.speech.audiolib import audio_functional, components, kaldi
from scaling.speech.derived import Frames, first_hours
from scaling.speech.features import make_features
from scaling.speech.model import Model
from scaling.speech.objectives import make_objective
from scaling.speech.targets import make_targets
from tests.scaling.speech.runs import LOGMEL, WAVEFORM, batch_of, encoded_of, spec_for
from tests.scaling.speech.test_encoder import torchaudios_hubert

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


# HuBERT


def test_the_loss_is_that_of_torchaudios_hubert():
    """Same weights, hidden states, mask and labels: torchaudio's logits give the same cross entropy to 1e-5."""
    objective = hubert_of(LOGMEL, head=12)
    encoded, mask = encoded_of(LOGMEL), torch.rand(4, 50, generator=torch.Generator().manual_seed(1)) < 0.5
    labels = torch.randint(0, 20, (4, 50), generator=torch.Generator().manual_seed(2))
    theirs = components.LogitGenerator(LOGMEL.width, 20, 12, skip_masked=False, skip_nomask=True)
    theirs.label_embeddings.data.copy_(objective.classes.data)
    theirs.final_proj.load_state_dict(objective.projection.state_dict())
    logits, _ = theirs(encoded.hidden, labels, mask, ~mask)
    # torchaudio puts the right class first and strikes it out where it comes again
    expected = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long), reduction="none")
    losses = objective.eval()(encoded, mask, {"labels": labels[mask]})
    torch.testing.assert_close(losses.main, expected, **CLOSE)
    best = (logits[:, :1] >= logits[:, 1:].nan_to_num(neginf=-torch.inf)).all(dim=1)
    assert torch.equal(losses.parts["hits"], best)


def hubert_of(shape, head=16):
    from scaling.speech.objectives.hubert import Hubert

    torch.manual_seed(0)
    return Hubert(shape, {"head": head}, {"clusters": 20})


def test_the_whole_model_has_logits_and_penalty_of_torchaudios_hubert(corpus, monkeypatch):
    """hubert_pretrain_model with our weights: masked logits, feature penalty, and the loss."""
    spec = spec_for(corpus, WAVEFORM, crops=2, args={"head": 16})
    torch.manual_seed(0)
    ours, theirs = Model(spec).train(), torchaudios_hubert(WAVEFORM).train()
    theirs.wav2vec2.load_state_dict(ours.encoder.state_dict(), strict=False)
    theirs.logit_generator.label_embeddings.data.copy_(ours.objective.classes.data)
    theirs.logit_generator.final_proj.load_state_dict(ours.objective.projection.state_dict())
    theirs.mask_generator.mask_embedding.data.copy_(ours.objective.mask_vector.data)
    batch, targets = batch_of(spec, corpus), make_targets(corpus, spec.targets)
    monkeypatch.setattr(components, "_compute_mask_indices", lambda *_, **__: batch.mask)
    theirs.mask_generator.mask_channel_prob = 0.0
    given = ours.objective.given(batch, targets, 0)
    labels = torch.from_numpy(targets.values[batch.frames].astype(np.int64))
    assert torch.equal(given["labels"].flatten(), labels[batch.mask])
    logits, _, penalty = theirs(batch.inputs, labels)
    encoded = ours.encoder(batch.inputs, mask=batch.mask, mask_vector=ours.objective.mask_vector)
    scores = ours.objective.logits(encoded.hidden[batch.mask])
    positive = scores.gather(1, given["labels"].reshape(-1, 1))
    torch.testing.assert_close(logits[:, :1], positive, **CLOSE)
    torch.testing.assert_close(logits[:, 1:][~logits[:, 1:].isinf()], scores[logits[:, 1:] > -torch.inf], **CLOSE)
    torch.testing.assert_close(encoded.penalty, penalty, **CLOSE)
    loss, losses = ours(batch.inputs, batch.mask, given)
    entropy = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))
    torch.testing.assert_close(losses.main.mean(), entropy, **CLOSE)
    torch.testing.assert_close(loss, entropy + 10.0 * penalty, **CLOSE)


def test_the_best_constant_of_labels_is_their_unigram_in_training(corpus):
    """constant_loss is the cross entropy of the training unigram at the masked frames of the fixed clips."""
    spec = spec_for(corpus)
    targets, objective = make_targets(corpus, spec.targets), make_objective(spec)
    labels = np.random.default_rng(0).integers(0, 20, 1000)
    metrics = objective.summary({"hits": labels > 4, "labels": labels}, targets)
    shares = (targets.constant + 1) / (targets.constant.sum() + 20)
    assert metrics["constant_loss"] == pytest.approx(-np.log(shares[labels]).mean())
    assert metrics["label_entropy"] == targets.entropy
    assert metrics["accuracy"] == pytest.approx((labels > 4).mean())


# TERA


@pytest.mark.parametrize("training", [False, True])
def test_the_loss_of_tera_is_numpys_l1(corpus, training):
    spec = spec_for(corpus, objective="tera")
    objective, targets, batch = make_objective(spec), make_targets(corpus, spec.targets), batch_of(spec, corpus)
    encoded = encoded_of(LOGMEL)
    given = objective.given(batch, targets, 0)
    losses = objective.train(training)(encoded, batch.mask, given)
    mask = batch.mask.numpy()
    weight, bias = objective.projection.weight.detach().numpy(), objective.projection.bias.detach().numpy()
    predicted = encoded.hidden.numpy()[mask].astype(np.float64) @ weight.T + bias
    wanted = targets.values[batch.frames][mask].astype(np.float64)
    np.testing.assert_allclose(losses.main.detach(), np.abs(predicted - wanted).mean(axis=1), rtol=1e-5, atol=1e-5)


def kaldis_mfcc(samples):
    """Return [10 ms frames, 39] of int16 samples, by torchaudio alone."""
    wave = torch.from_numpy(samples.astype(np.float32))[None]
    ceps = kaldi.mfcc(wave, num_ceps=13, num_mel_bins=23, use_energy=False, dither=0.0, sample_frequency=16_000.0)
    delta = audio_functional.compute_deltas(ceps.T[None])[0].T
    delta2 = audio_functional.compute_deltas(delta.T[None])[0].T
    return torch.cat([ceps, delta, delta2], dim=1).numpy()


@pytest.mark.parametrize("normalise", [False, True])
def test_what_tera_predicts_is_the_two_mfcc_frames_of_a_frames_20_ms(corpus, normalise):
    targets = make_targets(corpus, {"kind": "mfcc", "normalise": normalise, "fit_hours": 0.05})
    frames = Frames(corpus)

    def pairs(u):
        values, count = kaldis_mfcc(corpus.samples(u)), frames.counts[u]
        return np.stack([np.concatenate([values[2 * t], values[2 * t + 1]]) for t in range(count)])

    mean, deviation = 0.0, 1.0
    if normalise:
        fixed = np.concatenate([pairs(u) for u in first_hours(corpus, 0.05)]).astype(np.float64)
        mean, deviation = fixed.mean(axis=0), fixed.std(axis=0)
    for u in (0, len(corpus.table) - 1):
        ours = targets.values[frames.offsets[u] : frames.offsets[u + 1]].astype(np.float64)
        # stored in half precision: 11 bits
        np.testing.assert_allclose(ours, (pairs(u) - mean) / deviation, rtol=1e-3, atol=2e-3)
    assert targets.unit == ("deviations of MFCC" if normalise else "MFCC")
    assert (targets.classes, targets.entropy, targets.fit_flops) == (0, None, 0.0)


@pytest.mark.parametrize("normalise", [False, True])
def test_no_constant_beats_the_one_that_tera_is_compared_with(corpus, normalise):
    settings = {"kind": "mfcc", "normalise": normalise, "fit_hours": 0.05}
    spec = spec_for(corpus, objective="tera", targets=settings)
    targets, frames = make_targets(corpus, settings), Frames(corpus)
    fixed = [targets.values[frames.offsets[u] : frames.offsets[u + 1]] for u in first_hours(corpus, 0.05)]
    values = np.concatenate(fixed).astype(np.float32)

    def loss(constant):
        return np.abs(values - constant).mean(axis=0)

    best = loss(targets.constant)
    deviation = values.std(axis=0)
    others = [values.mean(axis=0), np.zeros(78), *(targets.constant + share * deviation for share in (-0.1, 0.1))]
    for other in others:
        assert (best <= loss(other) + 1e-3 * deviation).all()
    objective = make_objective(spec)
    assert objective.summary({"values": values}, targets)["constant_loss"] == pytest.approx(best.mean(), rel=1e-4)


# BEST-RQ


def test_the_labels_of_best_rq_are_the_nearest_codes_of_the_projection(corpus):
    """Brute force in double precision: project, norm both, take the least distance. Near ties may differ."""
    settings = {"kind": "random-projection", "codes": 64, "dim": 16, "seed": 3}
    targets, frames = make_targets(corpus, settings), Frames(corpus)
    rng = np.random.default_rng(3)
    bound = np.sqrt(6 / (80 + 16))
    projection = rng.uniform(-bound, bound, (16, 80))
    book = rng.standard_normal((64, 16))
    book /= np.linalg.norm(book, axis=1, keepdims=True)
    features = make_features(corpus)
    for u in (0, len(corpus.table) - 1):
        own = slice(frames.offsets[u], frames.offsets[u + 1])
        projected = features[own].astype(np.float64) @ projection.T
        projected /= np.linalg.norm(projected, axis=1, keepdims=True)
        distances = ((projected[:, None] - book[None]) ** 2).sum(axis=2)
        chosen = distances[np.arange(len(distances)), targets.values[own]]
        np.testing.assert_allclose(chosen, distances.min(axis=1), rtol=0, atol=1e-5)
        assert (targets.values[own] == distances.argmin(axis=1)).mean() > 0.999
    assert (targets.classes, targets.fit_flops, targets.unit) == (64, 0.0, "nats")
    assert targets.flops_per_frame == 2 * 16 * (80 + 64)


def test_the_head_of_best_rq_is_a_linear_classifier(corpus):
    spec = spec_for(corpus, objective="best_rq")
    objective, targets, batch = make_objective(spec), make_targets(corpus, spec.targets), batch_of(spec, corpus)
    encoded, mask = encoded_of(LOGMEL), batch.mask.numpy()
    losses = objective.eval()(encoded, batch.mask, objective.given(batch, targets, 0))
    weight, bias = objective.projection.weight.detach().numpy(), objective.projection.bias.detach().numpy()
    logits = encoded.hidden.numpy()[mask].astype(np.float64) @ weight.T + bias
    labels = targets.values[batch.frames][mask].astype(int)
    entropy = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    np.testing.assert_allclose(losses.main.detach(), entropy, rtol=1e-5, atol=1e-5)
    assert (losses.parts["hits"].numpy() == (logits.argmax(axis=1) == labels)).all()
    assert {name for name, _ in objective.named_parameters()} == {"mask_vector", "projection.weight", "projection.bias"}
