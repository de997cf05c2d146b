"""What of the pages is not executed by this room: who executes it, or what stands for it here."""

from tests.docs.pages import PAGES, steps

SLURM = "tests/slurm/test_submitter.py::test_dry_run_prints_the_script_and_sends_nothing"
NODE = "tests/slurm/test_doctor.py::test_a_compute_node_is_looked_at_by_a_job_that_leaves_nothing"
WHEEL = "tests/test_wheel.py::test_the_wheel_works_from_any_folder"
PROBED = "tests/sweeps/test_probing.py::test_a_sweep_is_probed_later_and_its_rows_have_the_metrics"
METRICS = "tests/analysis/test_metrics.py::test_the_command_fits_metrics_beside_the_loss_and_keeps_them_in_files"

ELSEWHERE = {
    ("README.md", "make demo"): "tests/docs/test_quickstart.py::test_the_demo_is_what_the_page_says",
    ("README.md", "make test"): "make test",
    ("README.md", "pip install ."): WHEEL,
    ("docs/quickstart.md", "make demo"): "tests/docs/test_quickstart.py::test_the_demo_is_what_the_page_says",
    ("docs/quickstart.md", "pip install '.[synth]'"): WHEEL,
    ("docs/tutorial.md", "pip install ."): WHEEL,
    ("docs/tutorial.md", "scaling-sweep doctor mine.yaml --job"): NODE,  # without --job it runs here
    ("docs/probes.md", "scaling-sweep probe quickstart --baselines"): PROBED,  # with less audio
    ("docs/probes.md", "scaling-sweep probe quickstart/ID --task characters --task keywords --hours 1"): PROBED,
    (
        "docs/studies.md",
        "scaling-fit results/ucurve --metric phone_error_rate --metric frame_phone_accuracy --metric speaker_accuracy "
        "--metric speaker_eer",
    ): METRICS,  # of other runs
    ("docs/cluster.md", "scaling-sweep doctor grid.yaml --job"): NODE,
    ("docs/cluster.md", "scaling-sweep submit grid.yaml --dry-run"): SLURM,
}
"""(page, command) -> the test that executes it, or the target that .ci/run calls."""


def steps_here(page):
    """Return the steps of a page that this room executes."""
    return [step for step in steps(page) if (page, step.text) not in ELSEWHERE]


def stale():
    """Return the entries whose command is on no page any more."""
    return sorted(set(ELSEWHERE) - {(page, step.text) for page in PAGES for step in steps(page)})
