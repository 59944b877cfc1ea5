# From a fresh clone: python 3.11+, make and a package registry are all it needs.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast check bench serve setup lock

help: ## Say what there is
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## Run the main line, brake_coast, end to end on the embedded world
	$(BIN)/python -m flows run brake_coast

test: $(READY) ## Run the tests, but for those of clusters and a team's servers: python -m pytest -m cluster
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not cluster"

check: $(READY) ## Lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python .ci/typed.py

test-fast: $(READY) ## Run the tests that take no more than seconds, some 90 s in all on two cores: for while you work
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow and not cluster"

bench: $(READY) ## Print speeds as ratios against named alternatives, side by side in one run
	$(BIN)/python -m tests.benchmarks

serve: $(READY) ## Serve the front page, the Prefect UI, the MLflow UI and the schedules, until Ctrl-C
	$(BIN)/python -m flows serve

setup: $(READY) ## Only install: .venv with the locked packages and the project

lock: ## Resolve requirements/*.in anew into requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --quiet --no-header requirements/*.in -o requirements.lock

# The marker is written last, so that a broken installation is repaired by the next call and a good one is not touched.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	test -x $(BIN)/uv || { $(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet --disable-pip-version-check uv; }
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip sync --quiet --compile-bytecode requirements.lock
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
