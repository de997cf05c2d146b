"""What becomes of a run that failed: one rule, read from its files."""

import signal

import pytest

from scaling.files import read_json, write_json
from sweeps.folder import SweepFolder
from sweeps.jobs.attempts import attempts_of, begin, finish, last_attempt
from sweeps.jobs.verdict import class_of, class_of_death, fingerprint, give_chance, judge, note_error


@pytest.fixture
def folder(tmp_path):
    sweep = SweepFolder(tmp_path / "sweep")
    write_json(sweep.sweep_file, {"tries": 3})
    return sweep


def attempt(folder, *, kind=None, checkpoint=0, outcome="failed", log=None):
    path = begin(folder.run("r"), checkpoint=checkpoint, **({"log": str(log)} if log else {}))
    if kind:
        finish(path, outcome, **{"class": kind}, error=f"{kind}!")
    elif outcome != "failed":
        finish(path, outcome)


def test_a_run_without_attempts_and_one_that_saved_go_on(folder):
    assert judge(folder, "r").action == "again"
    attempt(folder, outcome="stopped")
    assert judge(folder, "r").action == "again"


def test_a_record_ends_it_and_a_stop_leaves_or_holds_it(folder):
    folder.ask_to_stop("paused")
    assert judge(folder, "r").action == "held"
    folder.ask_to_stop("cancelled")
    assert judge(folder, "r").action == "leave"
    folder.let_go_on()
    folder.ask_to_stop("cancelled", "r")
    assert judge(folder, "r").action == "leave"
    assert judge(folder, "other").action == "again"
    write_json(folder.record_file("r"), {})
    assert judge(folder, "r").action == "done"


def test_deaths_without_progress_are_counted_and_a_new_checkpoint_starts_anew(folder):
    for n in range(2):
        attempt(folder, kind="infrastructure", outcome="died")
        assert (judge(folder, "r").action, judge(folder, "r").alike) == ("again", n + 1)
    attempt(folder, kind="infrastructure", outcome="died", checkpoint=1)
    assert (judge(folder, "r").action, judge(folder, "r").alike) == ("again", 1)
    for _ in range(2):
        attempt(folder, kind="infrastructure", outcome="died", checkpoint=1)
    assert judge(folder, "r").action == "leave", "three times from the same checkpoint"
    give_chance(folder, "r")
    assert judge(folder, "r").action == "again"


def test_a_timeout_is_tried_again_where_it_made_progress(folder):
    attempt(folder, kind="timeout", outcome="died")
    assert judge(folder, "r").action == "again"
    attempt(folder, kind="timeout", outcome="died", checkpoint=4)
    assert judge(folder, "r").action == "again"
    attempt(folder, kind="timeout", outcome="died", checkpoint=4)
    assert judge(folder, "r").action == "leave"


def test_memory_shrinks_the_passes_each_time_until_it_is_enough(folder):
    for n in range(2):
        attempt(folder, kind="memory")
        assert (judge(folder, "r").action, judge(folder, "r").shrink) == ("again", n + 1)
    attempt(folder, kind="infrastructure", outcome="died")
    assert judge(folder, "r").shrink == 2, "another failure in between does not grow them again"
    for _ in range(3):
        attempt(folder, kind="memory")
    assert judge(folder, "r").action == "leave"


def test_an_error_of_the_trainer_is_not_tried_again(folder):
    attempt(folder, kind="error")
    verdict = judge(folder, "r")
    assert (verdict.action, verdict.kind, verdict.reason) == ("leave", "error", "error!")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("slurmstepd: error: *** JOB 7 ON n0 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***", "timeout"),
        ("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.0", "memory"),
        ("slurmstepd: error: Step 7.0 exceeded memory limit (900 > 500), being killed", "memory"),
        ("*** JOB 7 ON n0 CANCELLED AT 2026-01-01T00:00:00 DUE TO NODE FAILURE ***", "infrastructure"),
        ("step 3 loss 2.0", "infrastructure"),
    ],
)
def test_the_log_tells_what_killed_a_run_that_said_nothing(folder, tmp_path, text, kind):
    log = tmp_path / "log"
    log.write_text("DUE TO TIME LIMIT: an attempt before this one, which wrote into the same log")
    attempt(folder, log=log)
    log.write_text(log.read_text() + "x" * 50_000 + "\n" + text + "\n")
    assert judge(folder, "r").kind == kind
    assert class_of_death(last_attempt(folder.run("r")), 128 + signal.SIGKILL)[0] == kind


def test_a_kill_with_the_kernels_counter_raised_is_memory(folder):
    attempt(folder)
    start = folder.run("r") / "attempts" / "1" / "start.json"
    assert class_of_death(last_attempt(folder.run("r")), 137)[0] == "infrastructure"
    write_json(start, {**read_json(start), "kills": -1})
    assert class_of_death(last_attempt(folder.run("r")), 137)[0] == "memory"
    assert class_of_death(last_attempt(folder.run("r")), 143)[0] == "infrastructure"


class OutOfMemoryError(RuntimeError):
    pass


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), "memory"),
        (OutOfMemoryError("x"), "memory"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), "memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "memory"),
        (OSError(116, "Stale file handle"), "infrastructure"),
        (OSError(28, "No space left on device"), "infrastructure"),
        (RuntimeError("NCCL error: unhandled system error"), "infrastructure"),
        (FileNotFoundError(2, "No such file"), "error"),
        (ValueError("shapes do not match"), "error"),
    ],
)
def test_classes_of_exceptions(error, kind):
    assert class_of(error) == kind


def raised(kind, *, deeper=False):
    def inner():
        raise kind(str(id(object())))

    try:
        if deeper:
            (lambda: inner())()
        else:
            inner()
    except kind as error:
        return error


def test_the_same_mistake_has_the_same_fingerprint_whatever_it_says():
    same = [fingerprint(raised(ValueError)) for _ in range(2)]
    assert same[0] == same[1]
    assert fingerprint(raised(KeyError)) != same[0]
    assert fingerprint(raised(ValueError, deeper=True)) != same[0]


def test_the_same_error_in_several_runs_halts_the_sweep_and_others_do_not(folder):
    for run_id in ("a", "b"):
        note_error(folder, run_id, raised(ValueError), same_error=3)
    note_error(folder, "a", raised(ValueError), same_error=3)
    note_error(folder, "c", raised(KeyError), same_error=3)
    assert folder.halted() is None
    note_error(folder, "d", raised(ValueError), same_error=3)
    assert folder.halted()["runs"] == ["a", "b", "d"]
    assert judge(folder, "e").action == "leave"
    folder.forget_errors()
    assert judge(folder, "e").action == "again"


def test_what_ended_first_is_what_is_noted(folder):
    path = begin(folder.run("r"))
    finish(path, "died", error="killed")
    finish(path, "completed")
    (only,) = attempts_of(folder.run("r"))
    assert only.end["outcome"] == "died"
