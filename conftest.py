"""Examples in docstrings run in a folder of their own that holds `runs.csv`, a simulated study of three budgets."""

import pytest


@pytest.fixture(autouse=True)
def _example_folder(request, tmp_path, monkeypatch):
    if isinstance(request.node, pytest.DoctestItem):
        from tests.analysis.conftest import isoflop_table

        isoflop_table(noise=1e-3).to_csv(tmp_path / "runs.csv", index=False)
        monkeypatch.chdir(tmp_path)
