# Two commands for a newcomer: `make demo` and `make test`. Both set up .venv first.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test lint unit clean

help:
	@echo "make demo   distil a real teacher on real text, measure it, search with it (under 10 minutes on 2 cores)"
	@echo "make test   lint, types and tests"
	@echo "make clean  remove .venv and what the demo wrote"

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "leaf_st needs Python >= 3.11, found " + sys.version.split()[0])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,dev]'
	@touch $@

demo: .venv/.installed
	$(BIN)/leaf-st demo

test: lint unit

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: .venv/.installed
	$(BIN)/python -m pytest

clean:
	rm -rf .venv leaf-demo runs/leaf-demo
