"""The wheel, built and installed into an empty environment, works from any folder."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_wheel_works_from_any_folder(tmp_path):
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT)], check=True)
    wheel = next(tmp_path.glob("*.whl"))
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt"), f"{wheel}[synth]"]
    subprocess.run(install, check=True)
    work = tmp_path / "work"
    work.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")

    def run(command, *arguments):
        done = subprocess.run(
            [str(tmp_path / "env" / "bin" / command), *arguments],
            cwd=work,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("scaling-sweep", "init", "own-trainer")
    run("scaling-sweep", "submit", "own_trainer.yaml", "--wait")
    assert "N* ~ C^a" in run("scaling-fit", "results/own-trainer", "--budget", "1e10")
    assert "Slim or wide" in run("scaling-sweep", "study", "--list")
    run("scaling-sweep", "init", "shapes")
    assert "18 runs" in run("scaling-sweep", "plan", "shapes/slim.yaml", "--no-measure")
    run("scaling-sweep", "init", "quickstart")
    run("scaling-sweep", "corpus", "synth", "corpora/demo", "--hours", "0.02")
    grid = (work / "quickstart.yaml").read_text().replace("unique_hours: [10]", "unique_hours: [0.02]")
    (work / "quickstart.yaml").write_text(grid)
    assert "15 runs" in run("scaling-sweep", "plan", "quickstart.yaml", "--no-measure")
    own = subprocess.run(
        [str(python), "-c", "import scaling.speech.training, sweeps, analysis; print(analysis.__file__)"],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert str(tmp_path / "env") in own
