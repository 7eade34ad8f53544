PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DOCS_READY := .venv/.docs_ready
NATIVE := build/native/.ready
NATIVE_TESTS := tests/backends/native tests/contract -k native
LIBRARY := src/edgewise/backends/native/*edgewise_native.*
CMAKE := PATH="$(abspath $(BIN)):$$PATH" cmake
# A compiler that was not found, or is the wrong one, is looked for again the next time.
CONFIGURE = $(CMAKE) -S native -B build/native -G Ninja >/dev/null || \
	{ rm -f build/native/CMakeCache.txt; false; }
COMPILE = $(CMAKE) --build build/native -- --quiet && \
	$(CMAKE) --install build/native --prefix src --strip >/dev/null
# One process for each core, one thread in each: the tensors of tests are tiny.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal
BENCHMARKS := $(filter-out benchmarks/_% benchmarks/shipped_prices.py benchmarks/tables.py,$(wildcard benchmarks/*.py))

# Real data sets may lie beside the checkout; an EDGEWISE_DATA that is already set wins.
ifeq ($(origin EDGEWISE_DATA)$(wildcard ../shared/data),undefined../shared/data)
export EDGEWISE_DATA := $(abspath ../shared/data)
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all check docs bench native sanitize clean

help:  ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) $(NATIVE)  ## install everything, at pinned versions, into .venv

demo: setup  ## climb from a GNN to a Transformer on handwritten digits
	$(BIN)/edgewise compare digits

test: setup  ## run the tests and every example in a docstring (minutes)
	$(PYTEST) -m 'not slow'

# With BUDGET, what `make test` leaves out, as much of it as fits into so many seconds of one process.
test-all: setup  ## run every combination, every seed and every compilation too (a quarter of an hour)
	$(PYTEST) $(if $(BUDGET),-m slow --budget $(BUDGET) --rotation $(or $(ROTATION),0))

check: setup  ## lint, formatting, types, and which floor may import which
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo

# Without a network, once its tools are installed. Warnings are errors, and so are links that lead nowhere.
docs: setup $(DOCS_READY)  ## build the site into build/docs, running every example of the gallery
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -n -W --keep-going -q -j auto -b html -d build/doctrees \
		docs build/docs
	$(BIN)/python docs/check_links.py build/docs
	@echo "The site is build/docs/index.html."

bench: setup  ## run every benchmark: slow, best on a quiet machine
	@set -e; for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python "$$script"; done

native: $(READY)  ## compile again what changed in the native library
	@$(CONFIGURE)
	@$(COMPILE)

# Python leaks on purpose, the C++ runtime has to be there before the sanitizer looks for it, and a
# report goes past pytest, which dies before it could show it.
# Compiling is slow there, and reaches no other kernel.
sanitize: $(READY)  ## test the native library, stopping at any misuse of memory
	@CXX='$(CXX)' $(CMAKE) -S native -B build/sanitize -G Ninja -DEDGEWISE_SANITIZE=ON >/dev/null
	@$(CMAKE) --build build/sanitize -- --quiet
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
		ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc \
		EDGEWISE_NATIVE_LIBRARY='$(abspath build/sanitize/libedgewise_native.so)' \
		OMP_NUM_THREADS=2 $(BIN)/python -m pytest --capture=sys $(NATIVE_TESTS) \
		--ignore tests/backends/native/test_compile.py

clean:  ## remove .venv, caches and build artefacts
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	rm -f $(LIBRARY)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp makes a second run instant, and a change of what is installed runs it again. The library
# is left to the next rule, which keeps its objects. An old pip reads only the first constraint when
# it builds a package, a new one only the second.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Edgewise needs Python 3.11 or newer and '$(PYTHON)' is not:" \
			"name one that is, as in 'make $(or $(MAKECMDGOALS),setup) PYTHON=python3.12'." >&2; exit 1; }
	@echo "Installing into .venv (some minutes the first time)"
	@$(PYTHON) -m venv .venv
	@PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
		$(BIN)/python -m pip install -qq --disable-pip-version-check \
		-C wheel.cmake=false -e '.[all,dev]'
	@touch $@

$(DOCS_READY): $(READY)
	@echo "Installing what builds the site (a minute the first time)"
	@PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
		$(BIN)/python -m pip install -qq --disable-pip-version-check \
		-C wheel.cmake=false -e '.[all,dev,docs]'
	@touch $@

# Without a compiler there is no library, and everything else still works; code that does not
# compile is an error.
$(NATIVE): $(READY) $(shell find native -type f)
	@echo "Compiling the native library (a minute or two the first time)"
	@if $(CONFIGURE); then $(COMPILE); else rm -f $(LIBRARY); \
		echo "Going on without the native library; 'make native' tries again." >&2; fi
	@mkdir -p $(@D) && touch $@
