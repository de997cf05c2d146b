"""What doctor finds out about file systems and clocks."""

import os
import time
from pathlib import Path

import pytest

from scaling import once
from sweeps.doctor import files as filecheck
from sweeps.doctor.files import check_folder, clock_check, mount_of
from tests.sweeps.helpers import by_name


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
