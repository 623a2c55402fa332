# Every target does its own set-up: a virtual environment in $(VENV), made once and again whenever
# the dependencies change. Needs git, make and Python 3.11 or newer; nothing else.

PYTHON ?= python3
VENV ?= .venv
# Processes that the files of tests are spread over.
WORKERS ?= 2
# More flags for pip, for instance an index with CPU builds of torch.
PIP_FLAGS ?=

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo test check check-long bench docs clean

help: ## Show these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "agentkit needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_FLAGS) --constraint constraints.txt --editable '.[engine,dev]'
	@touch $@

demo: $(INSTALLED) ## Three requests, answered by the embedded model
	@$(BIN)/python examples/demo.py

test: $(INSTALLED) ## The tests
	$(PYTEST)

check: $(INSTALLED) ## Format, lint, types, tests: all that a change must pass
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --project pyproject.toml --pythonpath $(BIN)/python
	$(BIN)/mypy
	$(PYTEST)

check-long: $(INSTALLED) ## The tests that take minutes
	$(BIN)/python -m pytest -m long

bench: $(INSTALLED) ## The measurements behind the figures in README and docs
	@set -e; for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python $$script; done

docs: $(INSTALLED) ## Draw the pictures of README and docs again, and write their tables
	$(BIN)/python docs/pictures.py
	$(BIN)/python docs/calibration.py
	$(BIN)/python docs/accuracy.py
	$(BIN)/python docs/keywords.py

clean: ## Remove the virtual environment and what the tools left behind
	rm -rf $(VENV) dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
