"""Files are whole or absent, and what is written once stays."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling import InputError, once
from scaling.files import plain, read_json, read_json_lines, write_json, write_json_lines


def test_a_file_written_once_keeps_its_first_content(tmp_path):
    write_json(tmp_path / "a.json", {"first": True}, once=True)
    write_json(tmp_path / "a.json", {"first": False}, once=True)
    assert read_json(tmp_path / "a.json") == {"first": True}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_write_that_fails_leaves_the_old_content(tmp_path):
    write_json(tmp_path / "a.json", {"n": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"n": object()})
    assert read_json(tmp_path / "a.json") == {"n": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_writer_killed_at_any_moment_leaves_a_whole_file(tmp_path):
    """A loop of writes is killed with SIGKILL thirty times; the file always parses and is never torn."""
    code = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from scaling.files import write_json
        print("ready", flush=True)
        n = 0
        while True:
            n += 1
            write_json(Path(sys.argv[1]), {"n": n, "pad": ["x" * 50] * 400, "end": n})
        """
    )
    for round_number in range(30):
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a.json")], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        try:
            process.wait(0.01 + 0.002 * round_number)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        if (tmp_path / "a.json").exists():
            value = read_json(tmp_path / "a.json")
            assert value["n"] == value["end"]
    assert (tmp_path / "a.json").exists()


REFUSE = textwrap.dedent(
    """
    import errno, os
    from scaling import once

    def refuse(*_, **__):
        raise PermissionError(errno.EPERM, "no hard links here")

    os.link = refuse
    """
)
NO_RENAME = "once._rename = lambda *_: False\n"
"""Patches of a process that make its file system one without hard links, and then one that only renames."""


@pytest.fixture(params=["rename", "claim"])
def no_links(request, monkeypatch):
    """Refuse hard links in this process, with `claim` also the rename that does not replace."""

    def refuse(*_, **__):
        raise PermissionError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    if request.param == "claim":
        monkeypatch.setattr(once, "_rename", lambda *_: False)
    return request.param


def test_without_hard_links_a_file_written_once_keeps_its_first_content(tmp_path, no_links):
    (tmp_path / "t").write_text("whole")
    assert once.name_once(tmp_path / "t", tmp_path / "b") == no_links
    assert (tmp_path / "b").read_text() == "whole"
    write_json(tmp_path / "a.json", {"first": True}, once=True)
    write_json(tmp_path / "a.json", {"first": False}, once=True)
    assert read_json(tmp_path / "a.json") == {"first": True}
    assert {p.name for p in tmp_path.iterdir()} == {"a.json", "b"}


@pytest.mark.parametrize("patches", ["", REFUSE, REFUSE + NO_RENAME], ids=["link", "rename", "claim"])
def test_of_writers_in_several_processes_one_wins_and_all_read_its_whole_file(tmp_path, patches):
    code = patches + textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from scaling.files import read_json, write_json
        folder, me = Path(sys.argv[1]), int(sys.argv[2])
        print("ready", flush=True)
        sys.stdin.readline()
        for n in range(40):
            write_json(folder / f"{n}.json", {"by": me, "pad": ["x" * 50] * 400, "end": me}, once=True)
            value = read_json(folder / f"{n}.json")
            print(n, value["by"] if value["by"] == value["end"] else "torn")
        """
    )
    pipe = subprocess.PIPE
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(k)], stdin=pipe, stdout=pipe, text=True)
        for k in range(4)
    ]
    for writer in writers:
        writer.stdout.readline()
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    seen = {writer.communicate(timeout=60)[0] for writer in writers}
    assert len(seen) == 1, "all read the same winners"
    assert len(seen.copy().pop().splitlines()) == 40
    assert "torn" not in seen.pop()
    assert not list(tmp_path.glob(".tmp-*"))


def test_the_claim_of_a_writer_that_died_is_taken_over(tmp_path, monkeypatch):
    claim = tmp_path / ".tmp-claim-a.json"
    claim.write_text("dead")
    os.utime(claim, (time.time() - 100,) * 2)
    (tmp_path / "t").write_text("whole")
    once._rename_claimed(tmp_path / "t", tmp_path / "a.json")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.json", "whole")]
    # its age says nothing where the file server's clock is ahead: whoever has watched it for long enough knows
    monkeypatch.setattr(once, "CLAIM_SECONDS", 0.2)
    (tmp_path / ".tmp-claim-b.json").write_text("dead")
    os.utime(tmp_path / ".tmp-claim-b.json", (time.time() + 1000,) * 2)
    (tmp_path / "t").write_text("whole")
    once._rename_claimed(tmp_path / "t", tmp_path / "b.json")
    assert {p.name for p in tmp_path.iterdir()} == {"a.json", "b.json"}


def test_a_writer_whose_claim_was_taken_over_does_not_replace_the_file(tmp_path, monkeypatch):
    """It wakes between its look and its rename, and the other has written meanwhile."""
    make = once._make

    def held_up(claim, mine):
        made = make(claim, mine)
        claim.unlink()
        (tmp_path / "a.json").write_text("theirs")
        return made

    monkeypatch.setattr(once, "_make", held_up)
    (tmp_path / "t").write_text("ours")
    with pytest.raises(FileExistsError):
        once._rename_claimed(tmp_path / "t", tmp_path / "a.json")
    assert (tmp_path / "a.json").read_text() == "theirs"


def test_other_errors_of_a_link_are_not_taken_for_a_file_system_without(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="no space"):
        write_json(tmp_path / "a.json", {}, once=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", '{"a": ', "not json", "\x00\xff"])
def test_a_truncated_or_foreign_file_is_named(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"a\.json: not a readable JSON file"):
        read_json(tmp_path / "a.json")


def test_lines_survive_a_last_line_cut_in_the_middle(tmp_path):
    write_json_lines(tmp_path / "a.jsonl", [{"n": 1}, {"n": 2}])
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write('{"n": 3, "x')
    assert read_json_lines(tmp_path / "a.jsonl") == [{"n": 1}, {"n": 2}]


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n{"n"\n{"n": 3}\n')
    with pytest.raises(InputError, match=r"a\.jsonl:2"):
        read_json_lines(tmp_path / "a.jsonl")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(values)
def test_plain_values_are_always_json(value):
    json.dumps(plain(value), allow_nan=False)
