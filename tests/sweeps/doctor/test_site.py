"""What doctor makes of what SLURM says: preemption, limits, what a grid asks for, a node that does not come."""

from dataclasses import replace

import pytest

from sweeps.doctor import slurm as sitecheck
from sweeps.doctor.finding import ok
from sweeps.doctor.node import check_node
from sweeps.doctor.request import check_request
from sweeps.doctor.slurm import Facts, check_site
from sweeps.jobs import site
from tests.sweeps.helpers import by_name

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


def test_a_controller_that_is_silent_ends_the_examination_of_slurm(monkeypatch):
    monkeypatch.setattr(site, "run", lambda *_, **__: pytest.fail("nothing else is asked"))
    (check,) = check_site(Facts())
    assert check.status == "failed"
