# Each target does all of its own set-up: `make demo` and `make test` work on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help venv demo test test-slow test-slurm test-browser test-notebooks check clean

help:
	@echo "make venv       a .venv with the package, editable, and everything the tests need"
	@echo "make demo       a corpus, a sweep and a fit: a compute-optimal model size in ten minutes"
	@echo "make test       the fast tests"
	@echo "make test-slow  the slow tests: coverage of the law's intervals, a pilot, compiled layers, the wheel in an empty environment"
	@echo "make test-slurm the SLURM tests, on a real cluster of this machine (installs SLURM through apt, as root)"
	@echo "make test-browser  the report in a headless Chromium (installs it through apt, as root)"
	@echo "make test-notebooks  every notebook from top to bottom, a minute or two"
	@echo "make check      lint and types"

venv: $(READY)

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[synth,tensorboard,export,dev,bench]'
	touch $@

demo: $(READY)
	$(BIN)/scaling-sweep corpus synth corpora/demo --hours 10 --seed 0
	$(BIN)/scaling-sweep submit examples/quickstart.yaml --wait
	$(BIN)/scaling-fit results/quickstart --out fits/quickstart --figures fits/quickstart/figures --report fits/quickstart/report.html

test: $(READY)
	$(BIN)/python -m pytest -n $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --dist worksteal -m "not slow and not slurm and not notebooks and not browser"

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

test-slurm: $(READY)
	tests/slurm/cluster.sh fresh
	eval "$$(tests/slurm/cluster.sh env)" && $(BIN)/python -m pytest -m slurm; \
	    code=$$?; tests/slurm/cluster.sh wipe; exit $$code

test-browser: $(READY)
	command -v chromium >/dev/null || { apt-get update && apt-get install -y --no-install-recommends chromium; }
	$(BIN)/python -m pytest -m browser

test-notebooks: $(READY)
	$(BIN)/python -m pytest -m notebooks tests/test_notebooks.py

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
