"""Broken grids: `plan` reads them or refuses them with exit 2 and a place in the file, and never falls over."""

import contextlib
import io
import re

import pytest
from hypothesis import given, settings

from sweeps.cli import main
from tests.sweeps.brokengrids import WHOLE, broken
from tests.sweeps.conftest import GRID, TOY


def plan(grid):
    """Return the exit code and standard error of `plan`, its standard output written as a terminal would."""
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["plan", str(grid), "--no-measure"])
    out.flush()
    return code, err.getvalue()


@pytest.fixture
def grid(tmp_path, monkeypatch):
    """Return where a grid is written, the toy trainer beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.py").write_text(TOY)
    return tmp_path / "grid.yaml"


@pytest.mark.parametrize("name", WHOLE)
def test_the_grids_that_are_broken_here_are_whole(grid, name):
    grid.write_text(WHOLE[name])
    assert plan(grid) == (0, "")


def test_every_broken_grid_is_refused_with_its_place_and_nothing_falls_over(grid):
    refused = 0

    @settings(max_examples=600, deadline=None, derandomize=True, database=None)
    @given(broken)
    def check(case):
        nonlocal refused
        data, expected = case
        grid.write_bytes(data)
        code, err = plan(grid)
        assert code in (0, 2)
        assert "Traceback" not in err
        if code == 2:
            refused += 1
            assert str(grid) in err
        if expected != "open":
            assert code == 2
        if expected == "line":
            assert re.search(rf"{re.escape(str(grid))}:\d+", err)

    check()
    assert refused >= 200


def test_aliases_of_aliases_are_refused_before_they_are_unfolded(grid):
    bomb = "".join(f"  b{i}: &b{i} [{', '.join([f'*b{i - 1}' if i else '1'] * 9)}]\n" for i in range(9))
    merged = "".join(
        f"  m{i}: &m{i} {{<<: [{', '.join([f'*m{i - 1}'] * 9) if i else ''}], k{i}: 1}}\n" for i in range(9)
    )
    for text in (bomb, merged):
        grid.write_text(GRID + "trainer_args:\n" + text)
        code, err = plan(grid)
        assert code == 2
        assert f"{grid}:" in err
        assert "more than 100,000 values" in err
