# make quickstart: set up and run the demo. make test: lint, types and tests. make test-fast: the unit tests
# but the slow ones, in about a minute. make soak: endurance.
# make docs: docs/losses.md from conf/loss/ and the docstrings.
PYTHON ?= python3
BIN := .venv/bin
# One of the three waits for Slurm most of the time; each has one thread.
WORKERS := --numprocesses 3 --no-loadscope-reorder

# make site: README, docs/ and results as a site, in site/. make coverage: the tests, and the lines that
# they run. make versions: a subset of the tests on the oldest and the newest libraries (docs/versions.md).
.PHONY: quickstart test test-fast system-packages soak lint docs site coverage versions

quickstart: .venv/installed
	$(BIN)/rmsweep demo

test test-fast coverage: export OMP_NUM_THREADS = 1

test: lint system-packages
	$(BIN)/python -m pytest $(WORKERS)

test-fast: .venv/installed
	$(BIN)/python -m pytest --numprocesses 2 -m 'not slow' tests/unit

system-packages:
	tests/helpers/install.sh

soak: .venv/installed system-packages
	$(BIN)/python -m pytest -m soak
	FUZZ_EXAMPLES=2000 $(BIN)/python -m pytest tests/integration/test_fuzz.py

docs: .venv/installed
	$(BIN)/python tools/losses.py > docs/losses.md.new
	mv docs/losses.md.new docs/losses.md

site: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo open site/index.html

coverage: .venv/installed system-packages
	$(BIN)/python -m pytest $(WORKERS) --cov --cov-report=term:skip-covered

versions:
	PYTHON=$(PYTHON) tests/versions/versions.sh

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
