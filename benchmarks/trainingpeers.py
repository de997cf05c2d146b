"""Training steps of Transformers and torchaudio, and the device's fastest matrix product, to stand beside ours."""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from scaling.shape import Shape
from scaling.speech.audiolib import torchaudio
from scaling.speech.export import torchaudio_config
from scaling.speech.frontend import product

REPEATS = 5
CLASSES, HEAD_DIM = 500, 256
NEGATIVES = 100
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def median_step(function: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the median seconds of a call after two that do not count, the device's queue emptied around each."""
    times = []
    for _ in range(repeats + 2):
        begun = time.perf_counter()
        function()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    return statistics.median(times[2:])


def _seconds(model: torch.nn.Module, loss: Callable[[], torch.Tensor], precision: str) -> float:
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step() -> None:
        with torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            value = loss()
        value.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return median_step(step)


def transformers_step(shape: Shape, crops: int, samples: int, precision: str) -> float:
    """Return seconds a step of Wav2Vec2ForPreTraining; mask and negatives are drawn once, outside the time."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining
    from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices, _sample_negative_indices

    config = Wav2Vec2Config(
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.ffn,
        num_conv_pos_embeddings=shape.position_kernel,
        num_conv_pos_embedding_groups=shape.position_groups,
        do_stable_layer_norm=shape.norm == "pre",
        num_negatives=NEGATIVES,
        layerdrop=0.0,
        **dict.fromkeys(
            [f"{part}_dropout" for part in ("hidden", "attention", "activation", "feat_proj", "feat_quantizer")], 0.0
        ),
    )
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - what Transformers draws from
    model = Wav2Vec2ForPreTraining(config).to(DEVICE).train()
    size = (crops, shape.frames(samples))
    masked = _compute_mask_indices(size, 0.65, 10)
    negatives = torch.from_numpy(_sample_negative_indices(size, NEGATIVES, masked)).to(DEVICE)
    mask, waves = torch.from_numpy(masked).to(DEVICE), torch.randn(crops, samples, device=DEVICE)
    call = {"mask_time_indices": mask, "sampled_negative_indices": negatives}
    return _seconds(model, lambda: model(waves, **call).loss, precision)


def torchaudio_step(shape: Shape, crops: int, samples: int, precision: str) -> float:
    """Return seconds a step of a plain loop around torchaudio's hubert_pretrain_model, its own masking included."""
    torch.manual_seed(0)
    config = torchaudio_config(shape)
    del config["aux_num_out"]  # that of fine-tuned models
    model = torchaudio.models.hubert_pretrain_model(
        **config,
        mask_prob=0.8,
        mask_selection="static",
        mask_other=0.0,
        mask_length=10,
        no_mask_overlap=False,
        mask_min_space=1,
        mask_channel_prob=0.0,
        mask_channel_selection="static",
        mask_channel_other=0.0,
        mask_channel_length=10,
        no_mask_channel_overlap=False,
        mask_channel_min_space=1,
        skip_masked=False,
        skip_nomask=True,
        num_classes=CLASSES,
        final_dim=HEAD_DIM,
        feature_grad_mult=None,
    )
    model = model.to(DEVICE).train()
    waves = torch.randn(crops, samples, device=DEVICE)
    labels = torch.randint(CLASSES, (crops, shape.frames(samples)), device=DEVICE)

    def loss() -> torch.Tensor:
        logits, _, _ = model(waves, labels)
        right = torch.zeros(len(logits), dtype=torch.long, device=DEVICE)  # torchaudio puts the right class first
        return torch.nn.functional.cross_entropy(logits.float(), right)

    return _seconds(model, loss, precision)


def matmul_ceiling(precision: str) -> float:
    """Return the FLOP/s of a large square product: on a CPU of torch's and of oneDNN's, whichever is faster."""
    side = 8192 if DEVICE.type == "cuda" else 4096
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(side, side, device=DEVICE).to(dtype) for _ in range(2))
    ways: list[Callable[[], object]] = [lambda: a @ b]
    if DEVICE.type == "cpu":
        ways.append(lambda: product(a, b))
    return 2 * side**3 / min(median_step(way) for way in ways)
