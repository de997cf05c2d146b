"""A finished run's encoder as a file that others read: torchaudio's wav2vec 2.0 model, or safetensors."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import torch

from scaling.errors import InputError
from scaling.files import atomic_file, plain, write_bytes
from scaling.shape import Shape
from scaling.speech.weights import Weights

FORMATS = ("torchaudio", "safetensors")
_PREFIX = "encoder."


def export(weights: Weights, to: str, path: Path) -> None:
    """Write an encoder.

    Args:
        weights: Of a finished run.
        to: `torchaudio`: {"config", "state_dict"} for `torchaudio.models.wav2vec2_model(**config)`, by torch.save;
            `safetensors`: the tensors, with shape and spec as metadata.
        path: The file.

    Raises:
        InputError: For a log-Mel encoder to torchaudio, which has none, and where safetensors is not installed.
    """
    if to == "torchaudio":
        config = torchaudio_config(weights.shape)
        with atomic_file(path) as file:
            torch.save({"config": config, "state_dict": dict(weights.encoder_state)}, file)
        return
    if importlib.util.find_spec("safetensors") is None:
        raise InputError(
            "safetensors is not installed", where="--to", value=to, remedy="pip install 'scaling-sweep[export]'"
        )
    from safetensors.torch import save

    tensors = {_PREFIX + name: value.contiguous() for name, value in weights.encoder_state.items()}
    if weights.input_mean is not None and weights.input_deviation is not None:
        tensors |= {"input_mean": weights.input_mean, "input_deviation": weights.input_deviation}
    about = {"shape": weights.shape.to_dict(), "spec": weights.spec, "flops_total": weights.flops_total}
    write_bytes(path, save(tensors, {name: json.dumps(plain(value)) for name, value in about.items()}))


def torchaudio_config(shape: Shape) -> dict[str, Any]:
    """Return the arguments of `torchaudio.models.wav2vec2_model` for a shape.

    Raises:
        InputError: For a log-Mel encoder.
    """
    if shape.frontend != "waveform":
        raise InputError(
            "torchaudio has no encoder over log-Mel features",
            where="--to",
            value="torchaudio",
            remedy="use --to safetensors, or scaling.load_encoder in Python",
        )
    return {
        "extractor_mode": "group_norm",
        "extractor_conv_layer_config": None,
        "extractor_conv_bias": False,
        "encoder_embed_dim": shape.width,
        "encoder_projection_dropout": 0.0,
        "encoder_pos_conv_kernel": shape.position_kernel,
        "encoder_pos_conv_groups": shape.position_groups,
        "encoder_num_layers": shape.layers,
        "encoder_num_heads": shape.heads,
        "encoder_attention_dropout": 0.0,
        "encoder_ff_interm_features": shape.ffn,
        "encoder_ff_interm_dropout": 0.0,
        "encoder_dropout": 0.0,
        "encoder_layer_norm_first": shape.norm == "pre",
        "encoder_layer_drop": 0.0,
        "aux_num_out": None,
    }


def read_safetensors(path: Path) -> Weights:
    """Return the weights that `export` wrote.

    Raises:
        InputError: When the file is missing or another one.
    """
    try:
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            about = {name: json.loads(value) for name, value in file.metadata().items()}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        return Weights(
            shape=Shape.from_dict(about["shape"]),
            spec=about["spec"],
            encoder_state={n.removeprefix(_PREFIX): v for n, v in tensors.items() if n.startswith(_PREFIX)},
            objective_state={},
            input_mean=tensors.get("input_mean"),
            input_deviation=tensors.get("input_deviation"),
            flops_total=about["flops_total"],
        )
    except Exception as error:
        raise InputError(
            f"not an exported encoder ({type(error).__name__}: {error})",
            where=path,
            remedy="make one with `scaling-sweep export RUN --to safetensors`",
        ) from None
