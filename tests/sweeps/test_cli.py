"""The command: every verb, its exit code, and a message instead of a traceback."""

import json
import subprocess

import pytest

from sweeps.cli import main
from sweeps.templates import TEMPLATES


def run(capsys, *arguments):
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return code, captured.out, captured.err


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_a_template_is_a_grid_that_plans(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "init", name)
    assert code == 0
    grid = out.splitlines()[0].removeprefix("wrote ")
    assert (tmp_path / grid).read_text().startswith("#")
    code, out, _ = run(capsys, "plan", grid, "--no-measure")
    assert code == 0
    assert "runs" in out
    code, _, err = run(capsys, "init", name)
    assert code == 2
    assert "a file is there already" in err


def test_plan_as_json_follows_its_contract(toy, capsys):
    code, out, _ = run(capsys, "plan", toy(), "--json", "-")
    assert code == 0
    values = json.loads(out)
    assert {"points", "totals", "warnings"} <= set(values)
    point = {
        "id",
        "params",
        "budget",
        "flops",
        "updates",
        "batch_frames",
        "frames",
        "hours",
        "epochs",
        "device_hours",
        "flags",
    }
    assert point <= set(values["points"][0])
    assert values["totals"]["runs"] == 12


def test_a_plan_beyond_its_cap_says_so_and_is_refused(toy, capsys):
    grid = toy(cap="{flops: 1e6}")
    code, out, _ = run(capsys, "plan", grid)
    assert code == 0
    assert "! submit will refuse: the plan takes 6.601e+08, more than the cap" in out
    assert run(capsys, "submit", grid)[0] == 2


def test_a_dry_run_starts_nothing(toy, capsys):
    grid = toy()
    code, out, _ = run(capsys, "submit", grid, "--dry-run")
    assert code == 0
    assert "12 runs would start, 0 are done" in out
    assert not (grid.parent / "results").exists()


def test_from_submit_to_collect(toy, capsys):
    grid = toy()
    assert run(capsys, "submit", grid)[0] == 0
    code, out, _ = run(capsys, "status", "toy")
    assert code == 0
    assert "12 runs: 12 completed" in out
    code, out, _ = run(capsys, "status", "toy", "--json", "-")
    assert json.loads(out)["counts"] == {"completed": 12}
    code, out, _ = run(capsys, "collect", "toy", "-o", "runs.csv")
    assert code == 0
    assert "wrote runs.csv (12 rows)" in out
    assert run(capsys, "collect", "toy", "-o", "runs.docx")[0] == 2


def test_waiting_tells_one_line_a_run_when_not_a_terminal(toy, capsys):
    code, out, err = run(capsys, "submit", toy(seeds="[0]"), "--executor", "local", "--wait")
    assert code == 0
    assert sum(line.startswith("[") for line in err.splitlines()) == 6
    assert "next: scaling-fit results/toy" in out


def test_a_failed_run_is_exit_one_and_says_where_to_look(toy, capsys):
    grid = toy(trainer_args="{bad_seed: 1}", seeds="[0, 1]", budgets="[1e7]", model="{sizes: [100]}")
    code, out, _ = run(capsys, "submit", grid, "--executor", "local", "--wait")
    assert code == 1
    assert "RuntimeError: seed 1 is bad" in out
    assert "scaling-sweep why toy" in out
    assert "1 completed · 1 failed" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "none.yaml"], "cannot be read"),
        (["status", "nothing"], "no such sweep"),
        (["collect", "nothing"], "no such sweep"),
        (["cancel", "nothing"], "no such sweep"),
        (["corpus", "verify", "nowhere"], "no corpus here"),
        (["corpus", "import", "c", "--from", "nowhere"], "no such folder"),
        (["corpus", "synth", "c", "--hours", "lots"], "not a positive number, got 'lots'"),
        (["corpus", "synth", "c", "--hours", "0"], "--hours"),
    ],
)
def test_bad_input_is_exit_two(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert message in err


def test_a_misspelt_sweep_is_answered_with_those_there(toy, capsys):
    run(capsys, "submit", toy())
    code, _, err = run(capsys, "status", "toi")
    assert code == 2
    assert "under results/: toy" in err


def test_a_corpus_is_made_imported_and_verified(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "corpus", "synth", "c", "--hours", "0.01", "--workers", "1")
    assert code == 0
    assert "c: 0.0" in out
    assert run(capsys, "corpus", "verify", "c")[0] == 0
    shard = next((tmp_path / "c" / "shards").glob("*.i16"))
    data = bytearray(shard.read_bytes())
    data[0] ^= 1
    shard.write_bytes(data)
    code, _, err = run(capsys, "corpus", "verify", "c")
    assert code == 2
    assert shard.name in err


def test_completion_knows_commands_options_and_sweeps(toy, capsys):
    assert main(["submit", str(toy())]) == 0
    capsys.readouterr()
    assert main(["completion", "bash"]) == 0
    script = toy().parent / "complete.bash"
    script.write_text(capsys.readouterr().out)

    def complete(*words):
        typed = " ".join(f"'{word}'" for word in ("scaling-sweep", *words))
        ask = f"source {script}; COMP_WORDS=({typed}); COMP_CWORD={len(words)}; _shtab_scaling_sweep"
        done = subprocess.run(
            ["bash", "-c", f'{ask}; echo "${{COMPREPLY[@]}}"'], capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    assert complete("ret") == ["retry"]
    assert complete("retry", "x", "--class", "mem") == ["memory"]
    assert "toy" in complete("status", "t")
