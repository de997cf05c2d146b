"""The doctor without SLURM: what it finds, what it says to do, and that nothing of it stays."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from scaling import InputError, once
from sweeps.cli import main
from sweeps.doctor import examine as doctor
from sweeps.doctor import files as filecheck
from sweeps.doctor import slurm as sitecheck
from sweeps.doctor.examine import Check, examine, format_checks
from sweeps.doctor.files import check_folder, clock_check, mount_of
from sweeps.doctor.finding import collect, failed, ok, warning
from sweeps.doctor.node import check_node
from sweeps.doctor.request import check_request
from sweeps.doctor.slurm import Facts, check_site
from sweeps.jobs import site

MEASURE = "\n\ndef measure(spec):\n    return 0.01\n"


@pytest.fixture
def no_slurm(monkeypatch):
    """Hide SLURM where it is installed, and leave this machine out: torch takes seconds to import."""
    monkeypatch.setattr(site, "here", lambda: False)
    monkeypatch.setattr(doctor, "check_machine", lambda: iter(()))


def by_name(checks):
    return {check.name: check for check in checks}


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


@pytest.mark.parametrize(
    ("skew", "status", "word"), [(0.5, "ok", "agrees"), (-6.0, "warning", "6 s behind"), (31.0, "failed", "31 s ahead")]
)
def test_clocks_that_differ_are_told(skew, status, word):
    check = clock_check("clock", skew, whose="it", remedy="NTP")
    assert check.status == status
    assert word in check.found


def test_a_file_server_whose_clock_is_wrong_fails(tmp_path, monkeypatch):
    real = time.time
    monkeypatch.setattr(filecheck.time, "time", lambda: real() - 100)
    found = by_name(check_folder("results", tmp_path))
    assert found["results: clock"].status == "failed"
    assert "100 s ahead" in found["results: clock"].found


def test_hard_links_that_are_refused_are_told(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    assert "renaming without replacing is used" in by_name(check_folder("r", tmp_path))["r: hard links"].found
    monkeypatch.setattr(once, "_rename", lambda *_: False)
    assert "claim files are used" in by_name(check_folder("r", tmp_path))["r: hard links"].found


def test_a_file_system_that_renames_in_two_steps_fails(tmp_path, monkeypatch):
    real = Path.replace

    def two_steps(self, target):
        Path(target).unlink()
        time.sleep(0.01)
        return real(self, target)

    monkeypatch.setattr(Path, "replace", two_steps)
    assert by_name(check_folder("r", tmp_path))["r: renaming"].status == "failed"


@pytest.mark.parametrize(
    ("kind", "nodes", "status", "word"),
    [
        ("nfs4", 8, "ok", "(network)"),
        ("xfs", 8, "warning", "all 8 compute nodes have to see it"),
        ("xfs", 1, "ok", "on xfs"),
        ("fuse.gcsfuse", 1, "warning", "a store of objects"),
        ("", 8, "ok", "not known"),
    ],
)
def test_file_systems_are_known_by_their_type(tmp_path, monkeypatch, kind, nodes, status, word):
    monkeypatch.setattr(filecheck, "mount_of", lambda _: ("/somewhere", kind))
    check = next(check_folder("results", tmp_path, nodes=nodes))
    assert check.status == status
    assert word in check.found


def test_the_mount_of_a_folder_is_the_nearest(tmp_path):
    mount, kind = mount_of(tmp_path / "not" / "there" / "yet")
    assert tmp_path.is_relative_to(mount)
    assert kind
    assert mount_of(Path("/proc/self"))[1] == "proc"


def test_a_quota_that_is_used_up_fails(tmp_path, monkeypatch):
    mount, _ = mount_of(tmp_path)
    tool = tmp_path / "quota"
    text = f"Disk quotas for user me (uid 1):\n Filesystem blocks quota limit grace files\n {mount} 2000000* 0 1000000"
    tool.write_text(f"#!/bin/sh\nprintf '%s' '{text}'\nexit 1\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    check = by_name(check_folder("results", tmp_path))["results: space"]
    assert check.status == "failed"
    assert "quota: 2.05 of 1.02 GB used" in check.found


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


CONFIG = {"KillWait": "30 sec", "PreemptType": "preempt/partition_prio", "PreemptMode": "REQUEUE", "JobRequeue": "1"}
SIGNAL = {"SlurmctldParameters": "idle_on_node_suspend,preempt_send_user_signal"}
LOW = {"TotalNodes": "4", "MaxTime": "1-00:00:00", "PriorityTier": "1", "PreemptMode": "REQUEUE", "GraceTime": "60"}
HIGH = {"TotalNodes": "4", "MaxTime": "UNLIMITED", "PriorityTier": "9", "PreemptMode": "OFF", "GraceTime": "0"}
USER = {"Account": "speech", "Partition": "", "QOS": "normal,long", "MaxSubmitJobs": "100"}
NORMAL = {
    "Name": "normal",
    "MaxSubmitJobsPerUser": "50",
    "GraceTime": "00:02:00",
    "PreemptMode": "cluster",
    "Preempt": "",
}
URGENT = {**NORMAL, "Name": "urgent", "Preempt": "normal"}


@pytest.fixture
def answering(monkeypatch):
    """Let a site answer that is described by its facts alone."""
    monkeypatch.setattr(sitecheck, "_controller", lambda _: ok("SLURM", "up"))
    monkeypatch.setattr(sitecheck, "_commands", lambda: iter(()))
    monkeypatch.setattr(sitecheck, "_clock", lambda: ok("controller's clock", ""))
    monkeypatch.setattr(site, "max_array", lambda: 1000)


def facts(config=(), low=(), **more):
    return Facts(config={**CONFIG, **dict(config)}, partitions={"low": {**LOW, **dict(low)}, "high": HIGH}, **more)


@pytest.mark.parametrize(
    ("described", "partition", "status", "word"),
    [
        (facts(SIGNAL), "low", "ok", "SIGUSR2 and SIGTERM, then 60 s of grace and 30 s to die"),
        (facts(SIGNAL), "high", "ok", "not preempted"),
        (facts(), "low", "warning", "REQUEUE; SIGTERM, then"),
        (facts(SIGNAL, {"GraceTime": "0"}), "low", "warning", "REQUEUE; SIGTERM, then 0 s"),
        (facts(SIGNAL, {"PreemptMode": "CANCEL"}), "low", "warning", "CANCEL"),
        (facts(SIGNAL, {"PreemptMode": "GANG,SUSPEND"}), "low", "ok", "go on later"),
        (facts({"PreemptType": "preempt/none"}), "low", "ok", "none"),
        (facts({"PreemptType": "(null)"}), "low", "ok", "none"),
        (
            facts({"PreemptType": "preempt/qos", **SIGNAL}, associations=(USER,), all_qos=(NORMAL, URGENT)),
            "low",
            "ok",
            "120 s of grace",
        ),
        (
            facts({"PreemptType": "preempt/qos", **SIGNAL}, associations=(USER,), all_qos=(NORMAL,)),
            "low",
            "ok",
            "no QOS of yours",
        ),
    ],
)
def test_preemption_is_told_with_the_time_that_it_leaves(answering, described, partition, status, word):
    check = by_name(check_site(described, chosen=partition))[f"preemption in {partition}"]
    assert check.status == status
    assert word in check.found
    if status == "warning":
        assert "save_every" in check.remedy or "retry" in check.remedy


def test_limits_and_requeue_are_told(answering):
    described = facts({"JobRequeue": "0", "MaxJobCount": "10000"}, associations=(USER,), all_qos=(NORMAL,))
    found = by_name(check_site(described, runs=51))
    assert found["limits"].status == "warning", "51 runs, and the QOS lets 50 be sent"
    assert "50 of your own at once" in found["limits"].found
    assert "off unless a job asks for it" in found["requeue"].found
    assert "120 s later" in found["requeue"].found
    found = by_name(check_site(facts({"AuthInfo": "socket=/run/munge.sock,cred_expire=8"})))
    assert "sacctmgr does not tell" in found["limits"].found
    assert "8 s later" in found["requeue"].found


SHAPE = {"gpus": 1, "nodes": 1, "processes": 1, "cpus": 4, "memory_gb": 8.0, "timeout": 3600.0}


@pytest.mark.parametrize(
    ("slurm", "shape", "name", "status", "word"),
    [
        ({"partition": "low"}, {}, "request: low", "ok", "1 h asked for, 1-00:00:00 allowed"),
        ({"partition": "low"}, {"timeout": 2e5}, "request: low", "failed", "never start"),
        ({"partition": "low,high"}, {"timeout": 2e5}, "request: low", "warning", "never start"),
        ({"partition": "lo"}, {}, "request: lo", "failed", "no such partition: lo"),
        ({}, {}, "partition", "failed", "none named"),
        ({"partition": "high", "account": "speach"}, {}, "request: account", "warning", "speach is none of yours"),
        ({"partition": "high", "qos": "long"}, {}, "request: qos", "ok", "long"),
        ({"partition": "low", "nodes": 9}, {"nodes": 9}, "request: low", "failed", "9 nodes asked for, 2 allowed"),
        ({"partition": "low", "account": "x"}, {}, "request: low", "failed", "account x is not allowed"),
    ],
)
def test_what_a_grid_asks_for_is_compared_with_the_site(monkeypatch, slurm, shape, name, status, word):
    monkeypatch.setattr(site, "start_estimate", lambda _: "sbatch: Job 1 to start at 2030-01-01T00:00:00 using 1")
    described = facts(low={"MaxNodes": "2", "AllowAccounts": "speech,text"}, associations=(USER,))
    found = by_name(check_request(described, slurm, [{**SHAPE, **shape}]))
    assert found[name].status == status
    assert word in found[name].found
    assert (status == "ok") == (found[name].remedy == "")
    assert found[next(key for key in found if key.startswith("sbatch"))].status == "ok"


def test_what_sbatch_refuses_fails_with_its_words(monkeypatch):
    scripts = []

    def refuse(script):
        scripts.append(script.read_text())
        return "error: nope\nsbatch: allocation failure: Requested node configuration is not available"

    monkeypatch.setattr(site, "start_estimate", refuse)
    slurm = {"partition": "low", "options": {"comment": "two words", "exclusive": True}}
    check = by_name(check_request(facts(), slurm, [SHAPE]))["sbatch for 1 GPU"]
    assert check.status == "failed"
    assert "error: nope; allocation failure: Requested node configuration is not available" in check.found
    assert "#SBATCH '--comment=two words'" in scripts[0]
    assert "#SBATCH --exclusive\n" in scripts[0]
    assert "#SBATCH --gpus-per-node=1\n" in scripts[0]


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("srun: error: Unable to allocate resources: Requested nodes are busy", "warning"),
        ("no answer within 125 s", "warning"),
        ("srun: error: Invalid account", "failed"),
    ],
)
def test_a_node_that_does_not_come_is_told_and_its_job_cancelled(tmp_path, monkeypatch, message, status):
    names, cancelled = [], []

    def refuse(command, **_):
        names.extend(part.partition("=")[2] for part in command if part.startswith("--job-name="))
        raise site.UnreachableError("srun", message)

    def waiting():
        other = site.Queued(job="1", state="PD", name="x", reason="")
        return {"1": other, "2": replace(other, job="2", name=names[0])}

    monkeypatch.setattr(site, "run", refuse)
    monkeypatch.setattr(site, "queue", waiting)
    monkeypatch.setattr(site, "cancel", cancelled.extend)
    (check,) = check_node(tmp_path / "results", slurm={}, gpu=False)
    assert check.status == status
    assert "is SLURM up" not in check.found
    assert cancelled == ["2"]
    assert list(tmp_path.iterdir()) == []


def test_a_size_without_resources_is_told_once(tmp_path, toy, no_slurm):
    grid = toy(cluster="{executor: slurm, resources: [{up_to: 500}]}")
    found = [check for check in examine(tmp_path / "results", grid=grid) if check.status == "failed"]
    assert [check.name for check in found] == ["grid"]
    assert "no row of cluster.resources holds this size" in found[0].found


def test_a_controller_that_is_silent_ends_the_examination_of_slurm(monkeypatch):
    monkeypatch.setattr(site, "run", lambda *_, **__: pytest.fail("nothing else is asked"))
    (check,) = check_site(Facts())
    assert check.status == "failed"
