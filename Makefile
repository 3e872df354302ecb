# `make demo` and `make test` are the two commands to start with. Both create .venv first.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
FOLDER ?= runs/leaf-mini/publish
WORK ?= build/consumers
RUN ?= runs/leaf-demo

.PHONY: help demo test lint unit consumers integrations clean

help:
	@echo "make demo   distil a teacher on documentation strings, evaluate, write a report and a search page (minutes)"
	@echo "make test   lint, types and tests"
	@echo "make consumers [FOLDER=runs/leaf-mini/publish] [WORK=build/consumers]"
	@echo "            test a published folder with other libraries, in environments that the command installs"
	@echo "make integrations [RUN=runs/leaf-demo] [WORK=build/integrations]"
	@echo "            ask databases and frameworks with the student of a run; distils the demo first if it is missing"
	@echo "make clean  remove .venv, the output of the demo, and what the tests install"

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
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

consumers: .venv/.installed
	$(BIN)/python recipes/benchmarks/consumers.py $(FOLDER) --work $(WORK)

integrations: WORK = build/integrations
integrations: .venv/.installed
	test $(RUN) != runs/leaf-demo || test -f runs/leaf-demo/held_out/qrels.parquet || $(BIN)/leaf-st demo
	$(BIN)/python recipes/benchmarks/integrations.py $(RUN) --work $(WORK)

clean:
	rm -rf .venv leaf-demo runs/leaf-demo build/consumers build/integrations build/peers build/site-runtime
