"""The doctor without SLURM: what it finds, what it says to do, and that nothing of it stays."""

import subprocess
import sys
import time

import pytest

from scaling import InputError
from sweeps.cli import main
from sweeps.doctor import examine as doctor
from sweeps.doctor import files as filecheck
from sweeps.doctor.examine import Check, examine, format_checks
from sweeps.doctor.finding import collect, failed, ok, warning
from sweeps.jobs import site
from tests.sweeps.helpers import by_name

MEASURE = "\n\ndef measure(spec):\n    return 0.01\n"


@pytest.fixture
def no_slurm(monkeypatch):
    """Hide SLURM where it is installed, and leave this machine out: torch takes seconds to import."""
    monkeypatch.setattr(site, "here", lambda: False)
    monkeypatch.setattr(doctor, "check_machine", lambda: iter(()))


def test_it_imports_no_torch_itself_and_leaves_nothing_behind(tmp_path):
    code = (
        "import sys; from pathlib import Path; from sweeps.jobs import site; site.here = lambda: False\n"
        "from sweeps.doctor.examine import examine, format_checks\n"
        "print(format_checks(examine(Path('new/results')))); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    assert "\nx " not in f"\n{done.stdout}"
    for name in ("Python", "packages", "CPU cores", "GPUs", "torch", "SLURM", "results: hard links", "results: space"):
        assert f"  {name} " in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_results_that_are_there_stay_as_they_are(tmp_path, no_slurm):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "mine").write_text("")
    assert {check.status for check in examine(tmp_path / "results")} == {"ok"}
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["mine"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path, no_slurm):
    (tmp_path / "file").write_text("")
    found = by_name(c for c in examine(tmp_path / "file" / "results") if c.status == "failed")
    assert "file/results cannot be written" in found["results"].found
    assert "name another folder" in found["results"].remedy


def test_a_wrong_grid_is_a_failed_check_with_its_message(tmp_path, toy, no_slurm):
    found = by_name(examine(tmp_path / "results", grid=toy(budjets="[1e7]"), bench=True))
    assert found["grid"].status == "failed"
    assert "budjets" in found["grid"].found
    assert "did you mean budgets?" in found["grid"].remedy
    assert found["bench"].remedy == "mend the grid first"
    assert by_name(examine(tmp_path, bench=True))["bench"].remedy.startswith("name one")
    assert by_name(examine(tmp_path, grid=tmp_path / "none.yaml"))["grid"].status == "failed"


def test_a_grid_says_what_it_asks_for_and_bench_what_it_takes(tmp_path, toy, no_slurm):
    grid = toy(cluster="{executor: debug, slots: 99, resources: [{up_to: 500}, {up_to: 1M, gpus: 2, memory_gb: 8}]}")
    found = examine(tmp_path / "results", grid=grid)
    asked = [check.found for check in found if check.name == "resources"]
    assert asked == [
        "8 runs of N 100 to 300: no GPU, 1 CPUs, 4 GB, at most 4 h",
        "4 runs of N 1k: 2 GPUs, 1 CPUs, 8 GB, at most 4 h",
    ]
    assert by_name(found)["slots"].status == "warning"
    assert by_name(found)["time"].found == "not known for 12 of 12 runs"
    assert "export measure" in by_name(found)["time"].remedy
    assert not {check.name for check in found if check.status == "failed"}


def test_bench_measures_what_is_not_known(tmp_path, toy, no_slurm, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    grid = toy(trainer="timed:train", model="{sizes: [100, 300]}", steps="[3600]", budgets=None)
    (tmp_path / "timed.py").write_text((tmp_path / "toy.py").read_text() + MEASURE)
    found = examine(tmp_path / "results", grid=grid, bench=True)
    names = [check.name for check in found]
    assert by_name(found)["measured"].found == "the step of 2 shapes"
    assert [check.found for check in found if check.name == "time"][-1].startswith("0.04 hours of one device in all")
    assert names.index("measured") < names.index("time") < names.index("results"), "before what needs the times"
    again = by_name(examine(tmp_path / "results", grid=grid, bench=True))
    assert again["measured"].found == "nothing: every step is known"


def test_a_grid_for_slurm_fails_where_there_is_none(tmp_path, toy, no_slurm):
    found = by_name(examine(tmp_path / "results", grid=toy(cluster="{executor: slurm}"), job=True))
    assert (found["SLURM"].status, found["SLURM"].found) == ("failed", "no sbatch on this machine")
    assert found["node"].status == "warning"


def test_scratch_is_looked_at_too_and_its_room(tmp_path, toy, no_slurm, monkeypatch):
    usage = type("Usage", (), {"total": 9e9, "used": 9e9, "free": 20.0})
    monkeypatch.setattr(filecheck.shutil, "disk_usage", lambda _: usage)
    grid = toy(cluster=f"{{executor: debug, scratch: {tmp_path / 'fast'}}}")
    found = by_name(examine(tmp_path / "results", grid=grid))
    assert "the grid writes about" in found["scratch: space"].found
    assert found["scratch: space"].status == "failed"
    assert found["results: space"].status == "warning", "checkpoints do not go there"
    assert not (tmp_path / "fast").exists()


def test_the_command_exits_with_1_where_a_check_failed(tmp_path, no_slurm, capsys):
    assert main(["doctor", "--results", str(tmp_path / "results")]) == 0
    assert "ok  results" in capsys.readouterr().out
    (tmp_path / "file").write_text("")
    assert main(["doctor", "--results", str(tmp_path / "file")]) == 1
    assert "1 failed" in capsys.readouterr().out


def test_what_raises_or_hangs_fails_alone():
    def broken():
        yield ok("first", "well")
        raise RuntimeError("it broke")

    def wrong():
        yield from ()
        raise InputError("not a grid", where="grid.yaml", value=1, remedy="write one")

    def hung():
        yield ok("first", "well")
        time.sleep(60)

    assert collect("all", broken, seconds=5) == [ok("first", "well"), failed("all", "RuntimeError: it broke")]
    assert collect("all", wrong, seconds=None) == [failed("all", "grid.yaml: not a grid, got 1", "write one")]
    began = time.monotonic()
    first, second = collect("all", hung, seconds=0.2)
    assert time.monotonic() - began < 5
    assert (first.status, second.status) == ("ok", "failed")
    assert second.found == "no answer within 0.2 s"


def test_checks_are_printed_in_columns():
    text = format_checks(
        [
            ok("short", "well"),
            warning("a longer name", "slow", "wait"),
            failed("x", "gone\nand more", "bring\nit back"),
            Check(name="y", status="ok", found="fine"),
        ]
    )
    assert text.splitlines() == [
        "ok  short          well",
        "!   a longer name  slow",
        "                   wait",
        "x   x              gone; and more",
        "                   bring",
        "                   it back",
        "ok  y              fine",
        "",
        "4 checks: 2 ok, 1 to know about, 1 failed",
    ]


def test_a_size_without_resources_is_told_once(tmp_path, toy, no_slurm):
    grid = toy(cluster="{executor: slurm, resources: [{up_to: 500}]}")
    found = [check for check in examine(tmp_path / "results", grid=grid) if check.status == "failed"]
    assert [check.name for check in found] == ["grid"]
    assert "no row of cluster.resources holds this size" in found[0].found
