"""The one place that imports torchaudio.

torchaudio's wheels are CUDA builds. Beside a CPU build of torch its compiled extension cannot load and the
import fails as a whole, although the Python parts that this project uses (Kaldi features, deltas, the wav2vec 2.0
encoder, lists of data sets) need no extension. In that case it is imported again with a stand-in for the extension.
"""

from __future__ import annotations

import sys
import types


def _import_torchaudio() -> types.ModuleType:
    try:
        import torchaudio
    except (OSError, ImportError, RuntimeError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
            del sys.modules[name]
        stand_in = types.ModuleType("torchaudio._extension")
        vars(stand_in).update(
            _IS_TORCHAUDIO_EXT_AVAILABLE=False,
            _IS_ALIGN_AVAILABLE=False,
            _check_cuda_version=lambda: None,
            fail_if_no_align=lambda function: function,
        )
        sys.modules["torchaudio._extension"] = stand_in
        import torchaudio
    return torchaudio


torchaudio = _import_torchaudio()

import torchaudio.compliance.kaldi as kaldi  # noqa: E402
import torchaudio.functional as audio_functional  # noqa: E402
import torchaudio.models.wav2vec2.components as components  # noqa: E402

__all__ = ["audio_datasets", "audio_functional", "components", "kaldi", "torchaudio"]


def audio_datasets() -> types.ModuleType:
    """Return torchaudio's data sets, which only an import of one of them needs."""
    import torchaudio.datasets

    return torchaudio.datasets
