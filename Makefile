# Every task sets up .venv itself if it is missing or if pyproject.toml has changed.
# `PYTHON=python3.12 make test` uses another interpreter (3.11 or newer).
# `LOCKED=1 make test`, as CI runs it, installs exactly the versions of constraints.txt and
# .ci/constraints.txt, and checks the hash of every file; docs/development.md says where that works.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test prove gpu lint constraints sbom serve clean

help:  ## list the tasks
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */  make \1\t/' | expand -t 16

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Lineup needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
ifdef LOCKED
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt -r .ci/constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
else
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,lint]'
endif
	@touch $@

demo: $(READY)  ## make fakes, ingest them, look up new images: all of Lineup in one table, without network or server
	$(BIN)/lineup demo

# The processes of pytest-xdist share the cores already: with a thread for each core in each of them,
# threads that wait for one another take more than half of the processor's time.
test: lint  ## everything that CI checks: lint, types, import contracts, then all tests on up to four cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

prove: $(READY)  ## the long tests: hundreds of killed processes; the model on held-out photographs
	$(BIN)/python -m pytest -m prove -s

gpu: $(READY)  ## the tests that need a CUDA device, then the table of precisions with a ViT-S/384 trained there
	$(BIN)/python -m pytest -m gpu -s -p no:cacheprovider
	$(BIN)/python -m tests.benchmarks.embed --images 512 --train 5

lint: $(READY)  ## ruff, bandit, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive embedder index api migrations
	$(BIN)/mypy
	$(BIN)/lint-imports

constraints: $(READY)  ## write constraints.txt and .ci/constraints.txt: every package with the hashes of its files
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[lock]'
	$(BIN)/python .ci/constraints.py

sbom: $(READY)  ## write build/sbom.json: what is installed in .venv, as CycloneDX
	@mkdir -p build
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-format JSON --output-file build/sbom.json $(BIN)/python

serve: $(READY)  ## the web page and the API on http://127.0.0.1:8787, over ./lineup-data or the demonstration's data
	@if [ -z "$$LINEUP_DATA_DIR$$LINEUP_DATABASE_URL" ] && [ ! -e lineup-data ] && [ -e lineup-demo/data ]; then \
		echo "There is no ./lineup-data: serving the demonstration's data in lineup-demo/data."; \
		exec $(BIN)/lineup serve --data-dir lineup-demo/data; \
	else \
		exec $(BIN)/lineup serve; \
	fi

clean:  ## remove .venv and caches, but no data
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
