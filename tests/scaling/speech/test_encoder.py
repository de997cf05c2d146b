"""The encoder: torchaudio's weights, outputs and gradients, the published parameter counts, masking and layer drop."""

import math

import pytest
import torch

from scaling import Shape, params_by_part
from scaling.speech.audiolib import torchaudio
from scaling.speech.encoder import Encoder
from scaling.speech.export import torchaudio_config
from scaling.speech.initialise import initialise

SLIM = Shape(layers=12, width=384, ffn=768, heads=8)
SMALL = Shape(layers=2, width=64, ffn=96, heads=4)
LOGMEL = Shape(frontend="logmel", layers=2, width=24, ffn=48, heads=2, position_kernel=16, position_groups=24)
STUDY = [
    (4, 192, 320, 4),
    (5, 320, 768, 8),
    (7, 384, 768, 8),
    (12, 384, 768, 8),
    (15, 528, 1024, 12),
    (12, 768, 3072, 12),
    (24, 1024, 4096, 16),
    (3, 640, 2048, 8),
]
COMPARED = [
    SMALL,
    Shape(layers=2, width=64, ffn=96, heads=4, norm="pre"),
    Shape(layers=1, width=48, ffn=320, heads=3, position_kernel=31, position_groups=12),
    SLIM,
]


def torchaudios(shape, build="wav2vec2_model", **more):
    """Return torchaudio's model of a shape."""
    config = torchaudio_config(shape)
    if build != "wav2vec2_model":
        del config["aux_num_out"]  # that of fine-tuned models
    return getattr(torchaudio.models, build)(**{**config, **more})


def torchaudios_hubert(shape):
    mask = {
        f"mask_{part}{name}": value
        for part in ("", "channel_")
        for name, value in {"prob": 0.8, "selection": "static", "other": 0.0, "length": 10, "min_space": 1}.items()
    }
    head = {"skip_masked": False, "skip_nomask": True, "num_classes": 20, "final_dim": 16, "feature_grad_mult": None}
    overlap = {"no_mask_overlap": False, "no_mask_channel_overlap": False}
    return torchaudios(shape, "hubert_pretrain_model", **mask, **head, **overlap)


def pair(shape, seed=0):
    """Return our encoder and torchaudio's with the same weights."""
    torch.manual_seed(seed)
    ours, theirs = Encoder(shape), torchaudios(shape, aux_num_out=None)
    initialise(ours)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def inputs(shape, crops=2, samples=16_000):
    size = (crops, samples) if shape.frontend == "waveform" else (crops, shape.frames(samples), 80)
    return torch.randn(size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("frontend", ["waveform", "logmel"])
@pytest.mark.parametrize("sizes", STUDY)
def test_parameters_are_those_that_the_cost_counts(sizes, frontend):
    shape = Shape(**dict(zip(("layers", "width", "ffn", "heads"), sizes, strict=True)), frontend=frontend)
    with torch.device("meta"):
        encoder = Encoder(shape)
    assert sum(p.numel() for p in encoder.parameters()) == sum(params_by_part(shape).values())


@pytest.mark.parametrize("shape", COMPARED)
def test_outputs_are_torchaudios(shape):
    ours, theirs = pair(shape)
    waves = inputs(shape)
    with torch.inference_mode():
        torch.testing.assert_close(ours.eval()(waves).hidden, theirs.eval()(waves)[0], rtol=1e-5, atol=1e-5)


def test_torchaudios_weights_load():
    ours, theirs = Encoder(SMALL), torchaudios(SMALL, aux_num_out=None)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    ours.load_state_dict(theirs.state_dict())
    waves = inputs(SMALL)
    with torch.no_grad():
        torch.testing.assert_close(ours(waves).hidden, theirs(waves)[0], rtol=1e-5, atol=1e-5)


def step(encoder, waves):
    """Run a loss that weighs every output differently, and return the gradients by name."""
    encoded = encoder(waves)
    hidden = encoded[0] if isinstance(encoded, tuple) else encoded.hidden
    weights = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(2))
    (hidden.float() * weights).sum().backward()
    return {name: p.grad for name, p in encoder.named_parameters()}


def distances(ours, theirs):
    """Return the largest difference of each gradient, relative to its largest entry."""
    assert list(ours) == list(theirs)
    # the keys' bias moves all scores of a query alike: its gradient is zero but for rounding
    return {
        name: float((ours[name] - grad).abs().max() / grad.abs().max())
        for name, grad in theirs.items()
        if not name.endswith("k_proj.bias")
    }


@pytest.mark.parametrize("samples", [16_000, 16_113, 64_000])
@pytest.mark.parametrize("shape", COMPARED[:3])
def test_gradients_are_torchaudios(shape, samples):
    ours, theirs = pair(shape)
    waves = inputs(shape, samples=samples)
    for name, distance in distances(step(ours, waves), step(theirs, waves)).items():
        assert distance < 1e-4, name


def test_gradients_of_the_slim_shape_are_torchaudios():
    ours, theirs = pair(SLIM)
    for name, distance in distances(step(ours, inputs(SLIM)), step(theirs, inputs(SLIM))).items():
        assert distance < 1e-4, name


@pytest.mark.parametrize("kernel", [16, 32, 31])
def test_gradients_of_a_depthwise_position_convolution(kernel):
    shape = Shape(layers=1, width=24, ffn=48, heads=2, position_kernel=kernel, position_groups=24)
    ours, theirs = pair(shape)
    for name, distance in distances(step(ours, inputs(shape)), step(theirs, inputs(shape))).items():
        assert distance < 1e-4, name


def test_gradients_reach_the_waveform():
    ours, theirs = pair(SMALL)
    waves = [inputs(SMALL).requires_grad_() for _ in range(2)]
    step(ours, waves[0])
    step(theirs, waves[1])
    torch.testing.assert_close(waves[0].grad, waves[1].grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", COMPARED[:2])
def test_hidden_states_are_torchaudios(shape):
    ours, theirs = pair(shape)
    waves = inputs(shape)
    with torch.inference_mode():
        states = ours.eval().hidden_states(waves)
        expected, _ = theirs.eval().extract_features(waves)
    assert len(states) == shape.layers + 1
    for state, other in zip(states[1:], expected, strict=True):
        torch.testing.assert_close(state, other, rtol=1e-5, atol=1e-5)


def test_features_and_penalty_are_those_of_the_convolutions():
    ours, theirs = pair(SMALL)
    waves = inputs(SMALL)
    encoded = ours(waves)
    raw, _ = theirs.feature_extractor(waves, None)
    torch.testing.assert_close(encoded.penalty, raw.square().mean(), rtol=1e-4, atol=0)
    normed = theirs.encoder.feature_projection.layer_norm(raw)
    torch.testing.assert_close(encoded.features, normed, rtol=1e-4, atol=1e-4)
    assert float(Encoder(LOGMEL)(inputs(LOGMEL)).penalty) == 0.0


def test_the_gradient_into_the_front_end_is_scaled():
    torch.manual_seed(0)
    whole, tenth = Encoder(SMALL), Encoder(SMALL, feature_grad=0.1)
    tenth.load_state_dict(whole.state_dict())
    a, b = step(whole, inputs(SMALL)), step(tenth, inputs(SMALL))
    for name, grad in a.items():
        factor = 0.1 if name.startswith("feature_extractor") else 1.0
        torch.testing.assert_close(b[name], factor * grad, rtol=1e-4, atol=1e-5 * float(grad.abs().max()))


@pytest.mark.parametrize("shape", [SMALL, LOGMEL])
def test_masked_frames_do_not_see_what_they_hide(shape):
    """With the mask over all frames, two different inputs give the same bits; without it they do not."""
    torch.manual_seed(0)
    encoder, vector = Encoder(shape).eval(), torch.rand(shape.width)
    a = inputs(shape)
    mask = torch.ones(2, shape.frames(16_000), dtype=torch.bool)
    with torch.inference_mode():
        hidden = [encoder(x, mask=mask, mask_vector=vector).hidden for x in (a, a.flip(1))]
        assert torch.equal(*hidden)
        assert not torch.equal(hidden[0], encoder(a).hidden)


def test_frames_beside_a_mask_do_not_see_what_it_hides():
    torch.manual_seed(0)
    encoder, vector = Encoder(LOGMEL).eval(), torch.rand(24)
    mask = torch.zeros(1, 40, dtype=torch.bool)
    mask[0, 10:20] = True
    a = torch.randn(1, 40, 80)
    b = a.clone()
    b[mask] = torch.randn(10, 80)
    with torch.inference_mode():
        hidden = [encoder(x, mask=mask, mask_vector=vector).hidden for x in (a, b)]
    assert torch.equal(*hidden)


def test_skipped_layers_are_left_out():
    torch.manual_seed(0)
    three = Encoder(Shape(layers=3, width=64, ffn=96, heads=4)).eval()
    two = Encoder(Shape(layers=2, width=64, ffn=96, heads=4)).eval()
    parts = three.state_dict().items()
    state = {k.replace("r.layers.2.", "r.layers.1."): v for k, v in parts if "r.layers.1." not in k}
    two.load_state_dict(state)
    waves = inputs(SMALL)
    with torch.inference_mode():
        assert torch.equal(three(waves, skip=[1]).hidden, two(waves).hidden)


@pytest.mark.parametrize("shape", [SMALL, LOGMEL])
def test_dropout_acts_in_training_only(shape):
    torch.manual_seed(0)
    encoder = Encoder(shape, dropout=0.1)
    a, b = (encoder(inputs(shape)).hidden for _ in range(2))
    assert not torch.equal(a, b)
    encoder.eval()
    a, b = (encoder(inputs(shape)).hidden for _ in range(2))
    assert torch.equal(a, b)


@pytest.mark.parametrize("shape", [SMALL, LOGMEL, Shape(layers=2, width=64, ffn=96, heads=4, norm="pre")])
def test_bf16_is_close(shape):
    torch.manual_seed(0)
    encoder = Encoder(shape)
    initialise(encoder)
    exact = step(encoder, inputs(shape))
    encoder.zero_grad(set_to_none=True)
    expected = encoder(inputs(shape)).hidden.detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = encoder(inputs(shape)).hidden.detach()
        grads = step(encoder, inputs(shape))
    assert float((rounded.float() - expected).square().mean().sqrt() / expected.square().mean().sqrt()) < 0.02
    for name, grad in exact.items():
        if not name.endswith("k_proj.bias"):
            assert grads[name].dtype == torch.float32
            cosine = torch.nn.functional.cosine_similarity(grads[name].flatten(), grad.flatten(), dim=0)
            assert cosine > 0.98, name


@pytest.mark.parametrize("frontend", ["waveform", "logmel"])
def test_frames_are_those_that_the_shape_says(frontend):
    shape = Shape(frontend=frontend, layers=1, width=24, ffn=48, heads=2, position_kernel=16, position_groups=24)
    encoder = Encoder(shape).eval()
    with torch.inference_mode():
        for samples in [400, 401, 719, 720, *range(1000, 1330, 17), 16_000, 32_001]:
            assert encoder(inputs(shape, 1, samples)).hidden.shape[1] == shape.frames(samples)


@pytest.mark.parametrize("shape", [SMALL, LOGMEL])
def test_the_same_input_gives_the_same_bits(shape):
    torch.manual_seed(0)
    encoder = Encoder(shape)
    a = step(encoder, inputs(shape))
    encoder.zero_grad(set_to_none=True)
    b = step(encoder, inputs(shape))
    for name, grad in a.items():
        assert torch.equal(grad, b[name]), name


def test_a_constant_added_to_the_waveform_and_silence_do_no_harm():
    """The first norm takes the mean out: a large offset changes little, and silence gives finite numbers."""
    ours, theirs = pair(SMALL)
    with torch.inference_mode():
        for waves in (inputs(SMALL) + 30, torch.zeros(1, 16_000)):
            hidden = ours(waves).hidden
            assert hidden.isfinite().all()
            torch.testing.assert_close(hidden, theirs.double()(waves.double())[0].float(), rtol=1e-3, atol=1e-3)


def test_initial_weights_are_distributed_as_torchaudios():
    """Mean, spread and form (fourth moment) of every parameter, against torchaudio's HuBERT.

    torchaudio draws the position convolution's kernel into a temporary, so that its draw is lost and torch's default
    stays. fairseq's is applied, and ours: it is compared with its formula.
    """
    shape = Shape(layers=1, width=256, ffn=512, heads=4)
    torch.manual_seed(0)
    ours, theirs = Encoder(shape), torchaudios_hubert(shape).wav2vec2
    initialise(ours)
    for (name, a), (other, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == other
        a, b = a.detach(), b.detach()
        if a.numel() < 2_000 or float(b.std()) == 0:
            if "pos_conv" not in name and "projection.projection" not in name:
                assert torch.equal(a, b), name  # zeros and ones
        elif "pos_conv" not in name:
            assert float(a.mean() / b.std()) == pytest.approx(0, abs=0.05), name
            assert float(a.std() / b.std()) == pytest.approx(1, abs=0.05), name
            assert float(a.pow(4).mean() / b.pow(4).mean()) == pytest.approx(1, abs=0.15), name
    conv = ours.encoder.transformer.pos_conv_embed.conv
    kernel = conv.weight.detach()
    assert float(kernel.std()) == pytest.approx(math.sqrt(4 / (256 * 128)), rel=0.01)
    assert float((kernel / kernel.std()).pow(4).mean()) == pytest.approx(3, rel=0.02)
    assert not conv.bias.any()
