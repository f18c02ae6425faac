# Every task sets up .venv itself when it is missing or when pyproject.toml has changed.
# PYTHON=python3.12 make test   uses another interpreter (3.11 or newer).

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test prove lint serve clean

help:  ## list the tasks
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */  make \1\t/' | expand -t 16

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Lineup needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,lint]'
	@touch $@

demo: $(READY)  ## make fakes, ingest them, look up probes: the whole service in one table, no network, no server
	$(BIN)/lineup demo

test: lint  ## lint, type check, import contracts, then every test, on up to four cores
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

prove: $(READY)  ## the long proofs: hundreds of kills; the model on held-out photographs
	$(BIN)/python -m pytest -m prove -s

lint: $(READY)  ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

serve: $(READY)  ## the page and the API on http://127.0.0.1:8787 over ./lineup-data
	$(BIN)/lineup serve

clean:  ## remove .venv and caches; data is never touched
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
