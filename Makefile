# Every target sets up .venv by itself; nothing is installed outside of this directory.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Tests start some thousand programs of the tree: what one has compiled the others need not.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-hosts test-debian test-newest check check-deploy fmt bench sim mutants deb rpm wheelhouse catalog dashboards screenshots clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    a three-node cluster on this machine, until Ctrl-C"
	@echo "make test    all tests (make test-hosts: those that boot whole hosts)"
	@echo "make check   lint, types, architecture, rules of the tree (make check-deploy: playbooks and roles)"
	@echo "make fmt     format the code"
	@echo "make bench   measure puts and gets against a demo cluster (docs/benchmarks.md has more to measure)"
	@echo "make sim     simulate clusters: SEEDS=1000 runs"
	@echo "make mutants put bugs back in, and see that the simulator finds them"
	@echo "make deb     the Debian package, into dist/ (make rpm, make wheelhouse: the others)"
	@echo "make catalog write systemd/raftd.catalog anew, from raftd/events.py"
	@echo "make dashboards"
	@echo "             write deploy/monitoring/dashboards/ anew"
	@echo "make test-debian, make test-newest"
	@echo "             the tests against the distribution's Python packages, and against the newest there are"
	@echo "make screenshots"
	@echo "             draw dashboards, status page and raftctl top into docs/img/, from a live cluster (two minutes;"
	@echo "             it needs chromium and prometheus)"
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

# One more than the two cores of the smallest machine that this is for, since many tests wait for something.
WORKERS ?= 3
# And one that only waits for the simulator's seeds, which run on what time the others leave over.
E2E_WORKERS ?= 4
HOSTS := -n 2 --dist loadgroup --no-loadscope-reorder -m hosts tests/hosts
test: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not seeds and not e2e and not hosts"
	$(BIN)/python -m pytest -n $(E2E_WORKERS) --dist loadfile -m "seeds or e2e" tests/e2e tests/sim
	$(BIN)/python -m pytest $(HOSTS)

test-hosts: $(STAMP)
	$(BIN)/python -m pytest $(HOSTS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_tidy.py

# Apart from `check`, since it takes longer than all of that. Lint starts programs of Ansible by their names.
check-deploy: $(STAMP)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-lint --strict -q deploy/site.yml deploy/playbooks deploy/roles deploy/inventories

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

deb rpm wheelhouse: $(STAMP)
	PYTHONPATH=packaging $(BIN)/python -m raftd_build $@

catalog: $(STAMP)
	PYTHONPATH=packaging $(BIN)/python -m raftd_build catalog >systemd/raftd.catalog

dashboards: $(STAMP)
	PYTHONPATH=packaging $(BIN)/python -m raftd_build dashboards

# matplotlib is for this alone, so it is installed for this alone.
screenshots: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -c packaging/constraints.txt -e '.[screenshots]'
	PYTHONPATH=packaging $(BIN)/python -m tests.monitoring.screenshots

# The system's own Python sees the system's packages; of the registry it gets only what tests are made with.
DEBIAN_PYTHON ?= /usr/bin/python3
test-debian: pyproject.toml packaging/constraints.txt
	packaging/environment debian $(DEBIAN_PYTHON) .venv-debian
	.venv-debian/bin/python -m pytest -n $(WORKERS) --dist worksteal -m "not e2e and not hosts" $(TESTS)

test-newest: pyproject.toml
	packaging/environment newest $(PYTHON) .venv-newest
	.venv-newest/bin/python -m pytest -n $(WORKERS) --dist worksteal -m "not e2e and not hosts" $(TESTS)

clean:
	rm -rf $(VENV) .venv-debian .venv-newest build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage raftd-demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
