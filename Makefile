# make quickstart: set up and run the demo. make test: lint, types and tests. make soak: endurance.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: quickstart test soak lint

quickstart: .venv/installed
	$(BIN)/rmsweep demo

test: lint
	$(BIN)/python -m pytest

soak: .venv/installed
	$(BIN)/python -m pytest -m soak

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
