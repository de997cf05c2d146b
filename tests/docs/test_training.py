"""The page on the speech trainer: its encoders are used and exported, from finished runs of two updates."""

import pytest

from tests.docs.elsewhere import steps_here
from tests.docs.pages import each
from tests.scaling.speech.runs import LOGMEL, WAVEFORM, spec_for

PAGE = "docs/training.md"
PAGES_HERE = [PAGE]


@pytest.fixture(scope="module")
def finished(recordings, tmp_path_factory):
    """Return a folder with a finished run of each sweep that the page names, and sweep -> id."""
    from scaling import RunFolder
    from scaling.speech import train
    from scaling.speech.corpus.importing import import_audio

    root = tmp_path_factory.mktemp("finished")
    corpus = import_audio(root / "corpus", source=str(recordings), workers=1)
    ids = {}
    for sweep, shape in (("study", WAVEFORM), ("study-small", LOGMEL)):
        spec = spec_for(corpus, shape, crops=2, updates=2, eval_hours=0.001)
        train(spec, RunFolder(root / "results" / sweep / "runs" / spec.id))
        ids[sweep] = spec.id
    return root, ids


@pytest.mark.parametrize("step", each(steps_here(PAGE)))
def test_a_step(step, finished, monkeypatch, execute):
    import torch

    root, ids = finished
    monkeypatch.chdir(root)
    if "safetensors" in step.text:
        pytest.importorskip("safetensors")
    (sweep,) = [name for name in sorted(ids, reverse=True) if f"{name}/" in step.text][:1]
    waves = torch.randn(2, 16_000, generator=torch.Generator().manual_seed(0))
    if step.language == "python":
        states = execute(step, {"/ID": f"/{ids[sweep]}"}, waves=waves)["states"]
        assert [state.shape[0] for state in states] == [2] * (LOGMEL.layers + 1)
    else:
        assert "wrote" in execute(step, words={"ID": ids[sweep]})
