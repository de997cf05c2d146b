"""Files are whole or absent, and what is written once stays."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling import InputError
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
