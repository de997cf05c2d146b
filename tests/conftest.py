"""What tests share: a small synthetic corpus, the published reference data, and a cache of their own."""

import os
from pathlib import Path

import pytest

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference"
"""Published runs, read where they exist beside the checkout."""


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keep measured step times of the tests out of the user's cache."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def reference():
    """Return the folder of published reference data, or skip."""
    if not REFERENCE.is_dir():
        pytest.skip("the published reference data are not beside this checkout")
    return REFERENCE


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Return a synthetic corpus of three minutes, made once."""
    from scaling.speech.corpus.synth import synthesise

    return synthesise(tmp_path_factory.mktemp("corpora") / "small", hours=0.1, seed=0, workers=2)
