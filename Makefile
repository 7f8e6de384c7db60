# `make help` lists what there is. Everything is installed into .venv and nothing outside this folder is touched.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

help: ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{printf "make %-8s %s\n", $$1, $$2}'

# Installed again only when the pinned set or the package's own description changes.
.venv/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "SegShift needs Python 3.11 or newer; say make PYTHON=...")'
	@echo "Installing the pinned packages into .venv (some minutes, 7 GB)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

install: .venv/installed ## the environment alone

demo: install ## phantoms, a real foundation model, ranked tables and what they say, in minutes on two cores
	@segshift phantom demo/raw --slices 6
	@python workflow/demo.py --directory demo --config folder=../config/demo
	@segshift show --config config/demo --results demo/results

# The workflow's tests start their own processes, two at a time, so they run alone.
test: install ## all tests
	@python -m pytest -n 2 --dist loadgroup -m "not workflow and not slurm"
	@python -m pytest -m workflow

# Installs Slurm from the system's packages where it is missing and may.
cluster: install ## tests on a real Slurm on this machine
	@tests/workflow/cluster/install
	@CI=true python -m pytest -m slurm tests/workflow

check: install ## format, lint and import contracts
	ruff format --check .
	ruff check .
	snakefmt --check -l 110 Snakefile workflow
	lint-imports

bench: install ## all benchmarks of speed and memory, some hours
	@for file in benchmarks/*.py; do echo "$$file"; python $$file || exit 1; done

.PHONY: help install demo test cluster check bench
