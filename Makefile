# Every target sets up .venv by itself; nothing is installed outside of this directory.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-hosts check fmt bench sim mutants clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    a three-node cluster on this machine, until Ctrl-C"
	@echo "make test    all tests (make test-hosts: those that boot whole hosts)"
	@echo "make check   lint, types, architecture"
	@echo "make fmt     format the code"
	@echo "make bench   measure puts and gets against a demo cluster"
	@echo "make sim     simulate clusters: SEEDS=1000 runs"
	@echo "make mutants put bugs back in, and see that the simulator finds them"
	@echo "make clean   remove what these targets made"
.PHONY: help

$(STAMP): pyproject.toml packaging/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "raftd needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
		|| { echo "Python's venv module is missing; on Debian: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c packaging/constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/raftd demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m "not e2e and not hosts"
	$(BIN)/python -m pytest -m e2e
	$(BIN)/python -m pytest -m hosts

test-hosts: $(STAMP)
	$(BIN)/python -m pytest -m hosts

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	$(BIN)/python -m tests.bench

SEEDS ?= 1000
sim: $(STAMP)
	$(BIN)/python -m tests.sim --seeds $(SEEDS)

mutants: $(STAMP)
	$(BIN)/python -m tests.sim.mutants

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage raftd-demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
