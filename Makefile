PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
BENCHMARKS := $(filter-out benchmarks/_%,$(wildcard benchmarks/*.py))

# Real data sets may lie beside the checkout; an EDGEWISE_DATA that is already set wins.
ifeq ($(origin EDGEWISE_DATA)$(wildcard ../shared/data),undefined../shared/data)
export EDGEWISE_DATA := $(abspath ../shared/data)
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench clean

help:  ## list what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY)  ## install everything, at pinned versions, into .venv

demo: setup  ## climb from a GNN to a Transformer on handwritten digits
	$(BIN)/edgewise compare digits

test: setup  ## run the tests and every example in a docstring
	$(BIN)/python -m pytest

check: setup  ## lint, formatting, types, and which floor may import which
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo

bench: setup  ## run every benchmark: slow, best on a quiet machine
	@set -e; for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python "$$script"; done

clean:  ## remove .venv, caches and build artefacts
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp makes a second run instant, and a change of what is installed runs it again.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Edgewise needs Python 3.11 or newer and '$(PYTHON)' is not:" \
			"name one that is, as in 'make $(or $(MAKECMDGOALS),setup) PYTHON=python3.12'." >&2; exit 1; }
	@echo "Installing into .venv (some minutes the first time)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	@touch $@
