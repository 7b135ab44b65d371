# Two commands for a newcomer: `make demo` and `make test`. Both set up .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Extra arguments of pip install, such as an index with CUDA builds of torch.
PIP_ARGS ?=

.PHONY: demo test test-long test-slow test-oldest check audit bench format lock docs reference clean deploy/dist

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cisray needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

$(VENV): $(VENV)/.installed

demo: $(VENV)
	$(BIN)/cisray demo --out demo-run

# Processes that share the tests: one more than cores, as some of them wait for others; a thread each.
TESTERS ?= $(shell $(PYTHON) -c 'import os; print(min(8, 1 + (os.cpu_count() or 1)))')
SHARED_OUT := -n $(TESTERS) --dist loadgroup
test test-long: export OMP_NUM_THREADS := 1
# Where nothing compiled may be kept, each of the commands that tests start compiles all of it again.
test test-long test-slow: export PYTHONDONTWRITEBYTECODE :=

test: $(VENV)
	$(BIN)/python -m pytest -q $(SHARED_OUT)

# Campaigns of kills, pools of workers, the small demo, the commands of the documents: some minutes on two cores.
test-long: $(VENV)
	$(BIN)/python -m pytest -q $(SHARED_OUT) -m "long and not slow"

# Full size, real chromosomes, longer campaigns: an hour on two cores.
test-slow: $(VENV)
	$(BIN)/python -m pytest -q -m slow

# The tests again, with the oldest versions that pyproject.toml admits.
test-oldest: .venv-oldest/.installed
	.venv-oldest/bin/python -m pytest -q

.venv-oldest/.installed: requirements.oldest pyproject.toml
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --upgrade pip
	.venv-oldest/bin/python -m pip install --quiet $(PIP_ARGS) -r requirements.oldest
	.venv-oldest/bin/python -m pip install --quiet --no-deps --editable .
	touch $@

check: $(VENV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pip check
	$(BIN)/python -m pytest -q tests/architecture/test_dependencies.py

# Known flaws of the pinned versions; it needs the network, and a tool that nothing else does.
audit: .venv-audit/.installed
	.venv-audit/bin/pip-audit --strict --disable-pip --no-deps --requirement requirements.lock

.venv-audit/.installed:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet $(PIP_ARGS) "pip-audit>=2.9"
	touch $@

format: $(VENV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# enformer-pytorch needs an old transformers, so the benchmark has an environment of its own.
.venv-bench/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --upgrade pip
	.venv-bench/bin/python -m pip install --quiet $(PIP_ARGS) "torch==2.13.0"
	.venv-bench/bin/python -m pip install --quiet $(PIP_ARGS) --editable ".[bench]"
	touch $@

bench: .venv-bench/.installed
	.venv-bench/bin/python benchmarks/stored_size.py
	.venv-bench/bin/python benchmarks/full_size_tile.py
	.venv-bench/bin/python benchmarks/input_output_share.py
	.venv-bench/bin/python benchmarks/fast_engine.py
	.venv-bench/bin/python benchmarks/pool_scaling.py
	.venv-bench/bin/python benchmarks/node_reads.py
	.venv-bench/bin/python benchmarks/effect_accuracy.py --keep

# Freeze what the current environment holds, after its tests pass. --all: torch needs setuptools.
lock: $(VENV)
	$(BIN)/python -m pip freeze --all --exclude pip --exclude wheel --exclude-editable --exclude cisray | sed 's/+cpu$$//' > requirements.lock

# The documents as a site; a warning is an error. Then open docs/_build/html/index.html.
docs: $(VENV)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs docs/_build/html

# The pages of the reference that are made of the code.
reference: $(VENV)
	$(BIN)/python docs/reference_pages.py
	$(BIN)/python docs/architecture_picture.py

# What cluster files install: a wheel of this project, and what it is built on.
deploy/dist: $(VENV)
	rm -rf $@ && mkdir $@
	$(BIN)/python -m build --wheel --no-isolation --outdir $@ .
	cp requirements.lock $@/

clean:
	rm -rf $(VENV) .venv-bench .venv-oldest .venv-audit demo-run dist deploy/dist build docs/_build
