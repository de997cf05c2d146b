"""What tests share: a small synthetic corpus, the published reference data, and a cache of their own."""

import os
from pathlib import Path

import pytest

REFERENCE = Path(__file__).resolve().parents[2] / "shared" / "reference"
"""Published runs, read where they exist beside the checkout."""
NO_REFERENCE = "the published reference data are not beside this checkout"


def pytest_addoption(parser):
    parser.addoption("--forbid-skips", action="store_true", help="fail when a test is skipped that could run here")


def pytest_terminal_summary(terminalreporter, config):
    if config.getoption("--forbid-skips"):
        for report in _forbidden(terminalreporter):
            terminalreporter.write_line(f"skipped, and skips are forbidden: {report.nodeid}", red=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:  # one of several processes: what they did is judged where they report to
        return
    if session.config.getoption("--forbid-skips") and _forbidden(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _forbidden(reporter):
    """Return the skipped tests, but for those whose data cannot be in the project."""
    return [report for report in reporter.stats.get("skipped", []) if NO_REFERENCE not in str(report.longrepr)]


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keep measured step times of the tests out of the user's cache."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def reference():
    """Return the folder of published reference data, or skip."""
    if not REFERENCE.is_dir():
        pytest.skip(NO_REFERENCE)
    return REFERENCE


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Return a synthetic corpus of six minutes, made once."""
    from scaling.speech.corpus.synth import synthesise

    return synthesise(tmp_path_factory.mktemp("corpora") / "small", hours=0.1, seed=0, workers=2)
