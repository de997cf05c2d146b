"""wav2vec 2.0: the loss of Transformers on the same tensors and negatives, and what is particular to ours."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from scaling.speech.data import EVAL_SEED
from scaling.speech.model import Model
from scaling.speech.noise import GUMBEL, crop_uniform, key
from scaling.speech.objectives import make_objective
from scaling.speech.objectives.wav2vec2 import contrast, diversity
from scaling.speech.training import open_crops
from tests.scaling.speech.runs import WAVEFORM, batch_of, encoded_of, part, spec_for

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def transformers_wav2vec2(objective, shape, **more):
    """Return Transformers' whole model with the weights of our quantiser and projections, no dropout anywhere."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining

    settings = objective.settings
    off = ("hidden", "attention", "activation", "feat_proj", "final")
    config = Wav2Vec2Config(
        num_hidden_layers=shape.layers,
        hidden_size=shape.width,
        intermediate_size=shape.ffn,
        num_attention_heads=shape.heads,
        num_conv_pos_embeddings=shape.position_kernel,
        num_conv_pos_embedding_groups=shape.position_groups,
        num_codevector_groups=settings["groups"],
        num_codevectors_per_group=settings["codes"],
        codevector_dim=settings["head"],
        proj_codevector_dim=settings["head"],
        contrastive_logits_temperature=settings["temperature"],
        diversity_loss_weight=settings["diversity"],
        feat_extract_norm="group",
        do_stable_layer_norm=False,
        conv_bias=False,
        mask_time_prob=0.5,  # without it there is no mask vector; the mask itself is given
        mask_feature_prob=0.0,
        layerdrop=0.0,
        feat_quantizer_dropout=0.0,
        **{f"{name}_dropout": 0.0 for name in off},
        **more,
    )
    theirs = Wav2Vec2ForPreTraining(config)
    with torch.no_grad():
        theirs.quantizer.weight_proj.load_state_dict(objective.scores.state_dict())
        theirs.quantizer.codevectors.copy_(objective.book.flatten(0, 1)[None])
        theirs.project_q.load_state_dict(objective.project_quantised.state_dict())
        theirs.project_hid.load_state_dict(objective.projection.state_dict())
        theirs.wav2vec2.masked_spec_embed.copy_(objective.mask_vector)
    return theirs


def as_theirs(name):
    """Return Transformers' name of one of our parameters."""
    heads = {
        "objective.mask_vector": "wav2vec2.masked_spec_embed",
        "objective.book": "quantizer.codevectors",
        "objective.scores": "quantizer.weight_proj",
        "objective.project_quantised": "project_q",
        "objective.projection": "project_hid",
    }
    for ours, theirs in heads.items():
        if name.startswith(ours):
            return name.replace(ours, theirs)
    name = name.removeprefix("encoder.").replace("encoder.feature_projection", "feature_projection")
    return "wav2vec2." + name.replace("encoder.transformer", "encoder")


def flat_negatives(mask, negatives):
    """Return ours, places among a crop's masked frames, as theirs: places in [batch * frames], 0 if not masked."""
    crops, frames = mask.shape
    flat = torch.zeros(crops, frames, negatives.shape[2], dtype=torch.long)
    for crop in range(crops):
        places = mask[crop].nonzero().flatten()
        flat[crop, places] = crop * frames + places[negatives[crop]]
    return flat


def whole_pair(corpus, **args):
    """Return our model and theirs with the same weights, and a batch of real crops for both."""
    spec = spec_for(corpus, WAVEFORM, "wav2vec2", crops=2, args=args, penalty=0.0)
    ours = Model(spec)
    theirs = transformers_wav2vec2(ours.objective, WAVEFORM)
    with torch.no_grad():
        own = dict(theirs.named_parameters())
        for name, parameter in ours.named_parameters():
            own[as_theirs(name)].copy_(parameter.reshape(own[as_theirs(name)].shape))
    batch = batch_of(spec, corpus)
    return ours, theirs, batch, ours.objective.given(batch, None, 0)


def same_noise(monkeypatch, mask, keys, groups, codes):
    """Make torch's own gumbel_softmax draw our noise: theirs is of all frames, ours of the masked ones."""
    crops, frames = mask.shape
    noise = torch.full((crops, frames, groups, codes), 0.5)
    noise[mask] = crop_uniform(keys.tolist(), (int(mask[0].sum()), groups, codes), torch.device("cpu")).flatten(0, 1)
    monkeypatch.setattr(torch.Tensor, "exponential_", lambda self: self.copy_(-torch.log(noise).reshape(self.shape)))


def test_the_whole_model_has_the_loss_of_transformers_with_hard_codes(corpus):
    """Few codes: many negatives equal the positive and are struck out in both."""
    codes = 4
    ours, theirs, batch, given = whole_pair(corpus, codes=codes)
    mask = batch.mask
    with torch.inference_mode():
        _, losses = ours.eval()(batch.inputs, mask, given)
        expected = theirs.eval()(
            batch.inputs,
            mask_time_indices=mask,
            sampled_negative_indices=flat_negatives(mask, given["negatives"]),
        )
        encoded = ours.encoder(batch.inputs, mask=mask, mask_vector=ours.objective.mask_vector)
        chosen = F.one_hot(losses.parts["codes"], codes).float().mean(dim=0)
    torch.testing.assert_close(encoded.hidden, theirs.wav2vec2(batch.inputs, mask_time_indices=mask)[0], **CLOSE)
    torch.testing.assert_close(losses.main.sum(), expected.contrastive_loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(diversity(chosen) * mask.sum(), expected.diversity_loss, rtol=1e-5, atol=1e-3)
    assert (losses.parts["candidates"] < 21).any()


def test_the_whole_model_trains_as_transformers_does(corpus, monkeypatch):
    """Loss and every gradient with the same Gumbel noise; theirs sums over masked frames, ours is a mean."""
    ours, theirs, batch, given = whole_pair(corpus, codes=320)
    mask, share = batch.mask, 0.3
    # their straight-through sum leaves rounding, so that frames of equal codes are not equal: choose others
    noise = crop_uniform(given["keys"].tolist(), (int(mask[0].sum()), 2, 320), torch.device("cpu")).flatten(0, 1)
    with torch.inference_mode():
        scores = ours.objective.scores(ours.encoder(batch.inputs).features[mask]).reshape(-1, 2, 320)
    codes = (scores - torch.log(-torch.log(noise))).argmax(dim=2).reshape(2, -1, 2)
    same = (codes[:, :, None] == codes[:, None]).all(dim=3)
    given["negatives"] = torch.multinomial((~same).float().flatten(0, 1), 20, True).reshape(2, -1, 20)
    loss, losses = ours.train()(batch.inputs, mask, given, share=share)
    loss.backward()
    same_noise(monkeypatch, mask, given["keys"], 2, 320)
    theirs.train().set_gumbel_temperature(2.0 * 0.25 ** (share / 0.69))
    out = theirs(
        batch.inputs, mask_time_indices=mask, sampled_negative_indices=flat_negatives(mask, given["negatives"])
    )
    (out.loss / mask.sum()).backward()
    torch.testing.assert_close(losses.main.sum(), out.contrastive_loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(losses.extra, 0.1 * out.diversity_loss / mask.sum(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(loss, out.loss / mask.sum(), rtol=1e-5, atol=1e-5)
    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        if name.endswith("k_proj.bias"):
            continue  # moves all scores of a query alike: zero but for rounding
        expected = gradients[as_theirs(name)].reshape(parameter.shape)
        assert (parameter.grad - expected).abs().max() <= 1e-4 * expected.abs().max() + 1e-9, name


@pytest.mark.parametrize("codes", [3, 40])
def test_the_pieces_are_those_of_transformers_with_hard_codes(codes):
    from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2ForPreTraining

    objective, encoded, mask, given = wav2vec2_case(codes=codes)
    theirs = transformers_wav2vec2(objective, WAVEFORM).eval()
    with torch.inference_mode():
        losses = objective.eval()(encoded, mask, given)
        quantised, perplexity = theirs.quantizer(encoded.features, mask_time_indices=mask)
        quantised = theirs.project_q(quantised)
        flat = flat_negatives(mask, given["negatives"])
        others = quantised.flatten(0, 1)[flat].permute(2, 0, 1, 3)
        context = theirs.project_hid(encoded.hidden)
        logits = Wav2Vec2ForPreTraining.compute_contrastive_logits(quantised[None], others, context, 0.1)
        same = (quantised == others).all(-1)
        logits[1:][same] = -torch.inf
        expected = F.cross_entropy(logits[:, mask].T, torch.zeros(int(mask.sum()), dtype=torch.long), reduction="none")
    torch.testing.assert_close(losses.main, expected, **CLOSE)
    assert torch.equal(losses.parts["candidates"], 1 + (~same[:, mask]).sum(dim=0))
    chosen = F.one_hot(losses.parts["codes"], codes).float().mean(dim=0)
    torch.testing.assert_close(diversity(chosen), (2 * codes - perplexity) / (2 * codes), **CLOSE)


def wav2vec2_case(codes=40, crops=4, seed=0, group=None, negatives=20):
    """Return an objective over the waveform front end, random output of the encoder, a mask, and what is looked up."""
    settings = {"codes": codes, "negatives": negatives, "head": 32, "groups": 2, "temperature": 0.1}
    settings |= {"gumbel": [2.0, 0.5, 0.69], "diversity": 0.1, "group": group or crops}
    from scaling.speech.data import Batch
    from scaling.speech.masking import span_mask
    from scaling.speech.objectives.wav2vec2 import Wav2Vec2

    torch.manual_seed(seed)
    objective = Wav2Vec2(WAVEFORM, settings, {})
    mask = torch.from_numpy(span_mask(np.random.default_rng(seed), crops, 49, 25, 10))
    encoded = encoded_of(WAVEFORM, crops, 49, seed)
    numbers = np.arange(crops) + 100
    batch = Batch(torch.zeros(crops, 1), mask, np.zeros((crops, 49), dtype=np.int64), np.zeros(crops), numbers)
    return objective, encoded, mask, objective.given(batch, None, seed)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.69, 1.0])
def test_the_gradient_goes_straight_through_torchs_gumbel_softmax(monkeypatch, share):
    """The same noise, and the temperature at this share of the run: 2 at its start, 0.5 from 0.69 of it on."""
    objective, encoded, mask, given = wav2vec2_case(codes=8)
    temperature = {0.0: 2.0, 0.3: 2.0 * 0.25 ** (0.3 / 0.69), 0.69: 0.5, 1.0: 0.5}[share]
    losses = objective.train()(encoded, mask, given, share)
    losses.main.sum().backward()
    ours = {name: p.grad.clone() for name, p in objective.named_parameters() if p.grad is not None}
    objective.zero_grad()
    noise = crop_uniform(given["keys"].tolist(), (25, 2, 8), torch.device("cpu"))
    monkeypatch.setattr(torch.Tensor, "exponential_", lambda self: self.copy_(-torch.log(noise).reshape(self.shape)))
    scores = objective.scores(encoded.features[mask]).reshape(-1, 2, 8)
    chosen = F.gumbel_softmax(scores, tau=temperature, hard=True, dim=2)
    vectors = objective.project_quantised(torch.einsum("ngv,gvc->ngc", chosen, objective.book).flatten(1))
    context = objective.projection(encoded.hidden[mask])
    logits, _ = contrast(context, vectors, chosen.argmax(dim=2), given["negatives"], 0.1)
    expected = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long), reduction="none")
    torch.testing.assert_close(losses.main, expected, **CLOSE)
    expected.sum().backward()
    for name, parameter in objective.named_parameters():
        if parameter.grad is not None:
            scale = float(parameter.grad.abs().max())
            torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-4, atol=1e-5 * scale + 1e-9)
    assert "scores.weight" in ours


def test_training_noise_is_that_of_the_crop_in_whatever_batch(corpus):
    """Few codes, so that the noise decides many of them: crops 1 and 2 of a batch alone give the same losses."""
    objective, encoded, mask, given = wav2vec2_case(codes=4)
    objective.train()
    whole = objective(encoded, mask, given, 0.1).main.reshape(4, -1)
    some = torch.tensor([2, 1])
    again = objective(part(encoded, some), mask[some], {k: v[some] for k, v in given.items()}, 0.1).main.reshape(2, -1)
    torch.testing.assert_close(again, whole[some], **CLOSE)
    other = objective(encoded, mask, {**given, "keys": given["keys"] + 1}, 0.1).main.reshape(4, -1)
    assert (other - whole).abs().max() > 0.1
    # the key is made of the run's seed and of the crop's number in the run, and of nothing else
    spec = spec_for(corpus, objective="wav2vec2")
    built = make_objective(spec)
    alone = built.given(batch_of(spec, corpus, 3, 1, 2), None, 7)
    assert alone["keys"].tolist() == [key(7, GUMBEL, 13), key(7, GUMBEL, 14)]
    everything = built.given(batch_of(spec, corpus, 3), None, 7)
    assert torch.equal(alone["negatives"], everything["negatives"][1:3])
    assert not torch.equal(built.given(batch_of(spec, corpus, 3), None, 8)["keys"], everything["keys"])


def test_diversity_is_counted_over_groups_of_crops():
    """Two micro-batches of whole groups have the mean of the whole batch, and one group over all crops another one."""
    objective, encoded, mask, given = wav2vec2_case(codes=40, crops=8, group=2)
    objective.train()
    whole = objective(encoded, mask, given).extra
    halves = [
        objective(part(encoded, some), mask[some], {k: v[some] for k, v in given.items()}).extra
        for some in (slice(0, 4), slice(4, 8))
    ]
    torch.testing.assert_close(whole, torch.stack(halves).mean(), **CLOSE)
    scores = objective.scores(encoded.features[mask]).reshape(4, 50, 2, 40).softmax(dim=3).mean(dim=1)
    perplexity = torch.exp(-(scores * scores.log()).sum(dim=2)).sum(dim=1)
    torch.testing.assert_close(whole, (0.1 * (80 - perplexity) / 80).mean(), **CLOSE)
    objective.settings["group"] = 8
    assert abs((objective(encoded, mask, given).extra - whole).item()) > 1e-4


def test_negatives_are_other_masked_frames_of_the_crop(corpus):
    spec = spec_for(corpus, objective="wav2vec2", args={"negatives": 200})
    batch = batch_of(spec, corpus)
    negatives = make_objective(spec).given(batch, None, 0)["negatives"].numpy()
    masked = int(batch.mask[0].sum())
    assert negatives.shape == (4, masked, 200)
    assert negatives.min() == 0
    assert negatives.max() == masked - 1
    assert not (negatives == np.arange(masked)[:, None]).any()
    counts = np.stack([np.bincount(negatives[:, row].ravel(), minlength=masked) for row in range(masked)])
    expected = 4 * 200 / (masked - 1)
    # every other frame is as likely: 5 standard deviations of a binomial count
    assert np.abs(counts[~np.eye(masked, dtype=bool)] - expected).max() < 5 * np.sqrt(expected)


def test_negatives_are_fixed_in_evaluation(corpus):
    """The same for every batch size of evaluation and every seed of a run."""
    spec = spec_for(corpus, objective="wav2vec2")
    seen = []
    for seed, crops in ((0, 3), (1, 8)):
        given = spec_for(corpus, objective="wav2vec2", seed=seed)
        batches = open_crops(given, corpus).evaluation(0.01, crops)
        objective = make_objective(given)
        seen.append(torch.cat([objective.given(b, None, EVAL_SEED)["negatives"] for b in batches]))
    assert torch.equal(seen[0], seen[1])
    assert len(seen[0]) == round(0.01 * 3600 * 16_000 / spec.train["crop_samples"])


def test_a_negative_of_equal_codes_is_struck_out():
    context, quantised = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
    codes = torch.tensor([[0, 1], [0, 1], [0, 2], [3, 1]])
    negatives = torch.tensor([[[1, 2, 3], [0, 2, 2], [0, 1, 3], [0, 1, 2]]])
    logits, struck = contrast(context, quantised, codes, negatives, 0.1)
    assert struck.tolist() == [[True, False, False], [True, False, False], [False] * 3, [False] * 3]
    assert torch.equal(torch.isinf(logits[:, 1:]), struck)
    cosines = F.cosine_similarity(context[:, None], quantised[None], dim=2) / 0.1
    torch.testing.assert_close(logits[:, 0], cosines.diagonal(), **CLOSE)
    torch.testing.assert_close(logits[2, 1:], cosines[2, negatives[0, 2]], **CLOSE)


@pytest.mark.parametrize("training", [False, True])
def test_a_collapsed_codebook_shows_in_the_metrics(training):
    """All frames of one code: nothing is left to tell apart, so both losses are 0; the perplexity says why."""
    objective, encoded, mask, given = wav2vec2_case(codes=40)
    with torch.no_grad():
        objective.scores.weight.zero_()
        objective.scores.bias.reshape(2, 40)[:, 7] = 1e4
    losses = objective.train(training)(encoded, mask, given)
    assert losses.main.abs().max().item() == 0.0
    if training:
        (losses.main.mean() + losses.extra).backward()
        assert all(bool(p.grad.isfinite().all()) for p in objective.parameters() if p.grad is not None)
        return
    metrics = objective.summary({name: value.numpy() for name, value in losses.parts.items()}, None)
    assert metrics["constant_loss"] == 0.0
    assert metrics["code_perplexity"] == pytest.approx(objective.groups)


def test_the_perplexity_of_evenly_used_codes_is_their_number():
    objective = wav2vec2_case(codes=40)[0]
    codes = np.stack([np.arange(400) % 40, np.arange(400) % 20], axis=1)
    parts = {"codes": codes, "hits": np.array([True, False]), "candidates": np.array([21, 21])}
    metrics = objective.summary(parts, None)
    assert metrics["code_perplexity"] == pytest.approx(60)
    assert metrics["accuracy"] == 0.5
    assert metrics["constant_loss"] == pytest.approx(np.log(21))
