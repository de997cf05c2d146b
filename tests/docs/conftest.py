"""What executes the steps of a page in this process, and the folders that pages speak of."""

import re
import shlex

import numpy as np
import pytest

from tests.analysis.conftest import chinchilla, isoflop_table
from tests.docs.pages import blocks, changed

DRAWS = 50
"""Draws of an interval where the page leaves them at 1000."""
RATE = 16_000


@pytest.fixture
def run(capsys):
    """Return a function that runs a command line in this process, its words replaced, and returns what it printed."""
    from analysis.cli import main as fit
    from sweeps.cli import main as sweep

    def run(command, **words):
        program, *arguments = shlex.split(command)
        assert program in ("scaling-sweep", "scaling-fit"), f"{command!r}: name what runs it in tests/docs/elsewhere.py"
        for word, meant in words.items():
            arguments = [re.sub(rf"\b{word}\b", meant, argument) for argument in arguments]
        if program == "scaling-fit" and "--bootstrap" not in arguments:
            arguments += ["--bootstrap", str(DRAWS)]
        code = {"scaling-sweep": sweep, "scaling-fit": fit}[program](arguments)
        told = capsys.readouterr()
        assert code == 0, f"{command}\n{told.out}\n{told.err}"
        assert "Traceback" not in told.err
        return told.out

    return run


@pytest.fixture
def execute(run):
    """Return a function that executes a step, Python as it stands there but for stated changes."""

    def execute(step, changes=None, words=None, **names):
        if step.language == "console":
            return "".join(run(variant, **(words or {})) for variant in step.variants())
        exec(compile("\n" * (step.line - 1) + changed(step.text, changes or {}), step.page, "exec"), names)
        return names

    return execute


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """Return a folder with the tables and the law that the pages on fits name."""
    monkeypatch.chdir(tmp_path)
    runs = isoflop_table(noise=2e-3, seeds=2)
    runs.to_csv("runs.csv", index=False)
    odd = runs.rename(columns={"params": "width_params", "tokens": "seen", "loss": "dev_nll"})
    odd[["width_params", "seen", "dev_nll"]].to_csv("odd.csv", index=False)
    for name, gain, seed in (("a", 1.0, 1), ("b", 1.25, 2)):
        recipe = isoflop_table()
        noise = np.exp(2e-3 * np.random.default_rng(seed).normal(size=len(recipe)))
        recipe.assign(loss=chinchilla(recipe.params, gain * recipe.tokens) * noise).to_csv(f"{name}.csv", index=False)
    tasks = runs.assign(asr_wer=8 * np.exp(runs.loss - 2), accuracy=1 / (1 + np.exp(runs.loss - 3)))
    tasks.to_csv("tasks.csv", index=False)
    named = [text for _, _, text in blocks("docs/extending.md", "python") if text.startswith("# mylaw.py\n")]
    (tmp_path / "mylaw.py").write_text(*named)
    return tmp_path


@pytest.fixture(scope="session")
def recordings(tmp_path_factory):
    """Return a folder of four minutes of wavs."""
    return record(tmp_path_factory.mktemp("recordings") / "AUDIO", speakers=4)


def record(folder, speakers):
    """Write a minute of syllables in noise for each speaker, a subfolder each, and return the folder."""
    import soundfile

    rng = np.random.default_rng(0)
    for speaker in range(speakers):
        (folder / f"speaker{speaker}").mkdir(parents=True)
        for number in range(3):
            syllables = [_syllable(rng, pitch=100 + 10 * speaker) for _ in range(100)]
            soundfile.write(folder / f"speaker{speaker}" / f"{number}.wav", np.concatenate(syllables), RATE)
    return folder


def _syllable(rng, pitch):
    time = np.arange(int(RATE * rng.uniform(0.1, 0.3))) / RATE
    tone = np.sin(2 * np.pi * pitch * rng.choice([2, 4, 8, 16]) * time) * np.hanning(len(time))
    return 0.3 * tone + rng.choice([0.0, 0.02]) * rng.normal(size=len(time))
