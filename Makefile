# make quickstart: set up and run the demo. make test: lint, types and tests. make soak: endurance.
# make docs: docs/losses.md from conf/loss/ and the docstrings.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test soak lint docs

quickstart: .venv/installed
	$(BIN)/rmsweep demo

# Two processes, a file of tests in one of them: those on Slurm mostly wait
test: lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

soak: .venv/installed
	$(BIN)/python -m pytest -m soak

docs: .venv/installed
	$(BIN)/python docs/losses.py > docs/losses.md.new
	mv docs/losses.md.new docs/losses.md

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
