import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from sweeps.jobs.lease import STALE_SECONDS, acquire, is_live, read_lease


def test_one_holder_at_a_time(tmp_path):
    lease = acquire(tmp_path / "lease.json")
    assert lease is not None
    assert acquire(tmp_path / "lease.json") is None
    lease.release()
    assert not (tmp_path / "lease.json").exists()
    assert acquire(tmp_path / "lease.json") is not None


def test_many_at_once_give_one_holder(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        leases = [lease for lease in pool.map(lambda _: acquire(tmp_path / "lease.json"), range(64)) if lease]
    assert len(leases) == 1


def test_the_lease_of_a_dead_process_is_taken_over_by_one_of_many(tmp_path):
    path = tmp_path / "lease.json"
    code = f"import os, pathlib, sweeps.jobs.lease; sweeps.jobs.lease.acquire(pathlib.Path({str(path)!r})); os._exit(9)"
    subprocess.run([sys.executable, "-c", code], check=False)
    assert read_lease(path) is not None
    assert not is_live(path)
    with ThreadPoolExecutor(16) as pool:
        leases = [lease for lease in pool.map(lambda _: acquire(path), range(64)) if lease]
    assert len(leases) == 1
    assert read_lease(path)["pid"] == os.getpid()
    assert [p.name for p in tmp_path.iterdir()] == ["lease.json"]


def test_the_lease_of_another_machine_lives_while_it_is_touched(tmp_path):
    path = tmp_path / "lease.json"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": "t", "since": 0}))
    assert is_live(path)
    long_ago = time.time() - STALE_SECONDS - 1
    os.utime(path, (long_ago, long_ago))
    assert not is_live(path)


def test_a_silent_holder_of_this_machine_keeps_its_lease_and_its_process_number_alone_is_not_it(tmp_path):
    path = tmp_path / "lease.json"
    lease = acquire(path)
    long_ago = time.time() - 10 * STALE_SECONDS
    os.utime(path, (long_ago, long_ago))
    assert acquire(path) is None, "stopped, or holding the interpreter's lock: still alive"
    lease.release()
    path.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "started": "1", "token": "t"}))
    assert not is_live(path), "another process has the number now"


def test_a_takeover_whose_maker_died_does_not_last(tmp_path):
    path, guard = tmp_path / "lease.json", tmp_path / "lease.json.takeover"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": "t", "since": 0}))
    guard.touch()
    for file in (path, guard):
        os.utime(file, (0, 0))
    assert acquire(path) is None
    assert not guard.exists()
    assert acquire(path) is not None


def test_a_holder_notices_that_it_lost_its_lease(tmp_path, monkeypatch):
    monkeypatch.setattr("sweeps.jobs.lease.BEAT_SECONDS", 0.05)
    lease = acquire(tmp_path / "lease.json")
    (tmp_path / "lease.json").write_text(json.dumps({"host": "h", "pid": 1, "token": "other", "since": 0}))
    until = time.monotonic() + 5
    while not lease.lost and time.monotonic() < until:
        time.sleep(0.02)
    assert lease.lost
    lease.release()
    assert (tmp_path / "lease.json").exists(), "the new holder's lease stays"
