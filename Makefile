# Everything runs from an environment that this file makes: Python 3.11 or newer and make are enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_DIR ?= demo-lakehouse

.PHONY: help demo test quick clients check format proto bench clean

help:  ## list what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

$(VENV)/.base: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Lakeflight needs Python 3.11 or newer; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	# It asks for a SQLAlchemy older than the dialect's, and works with ours.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'flightsql-dbapi>=0.2.2,<0.3'
	touch $@

demo: $(VENV)/.base  ## make a sample lakehouse and serve it on grpc://127.0.0.1:31337
	$(BIN)/lakeflight demo $(DEMO_DIR)

test: $(VENV)/.dev  ## run all tests
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

quick: $(VENV)/.dev  ## run the tests that are not slow
	$(BIN)/python -m pytest -m 'not slow'

clients: $(VENV)/.dev  ## install the clients that tests/clients runs besides its own; JDBC needs Java and Maven
	$(BIN)/python -m tests.clients.environments

check: $(VENV)/.dev  ## format, lint, types, import contracts, generated code, docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m flight_server.protocol.generate --check
	$(BIN)/python -m pytest -q tests/test_house.py tests/test_docs.py

format: $(VENV)/.dev  ## rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

proto: $(VENV)/.dev  ## regenerate the protobuf module from flight_sql.proto
	$(BIN)/python -m flight_server.protocol.generate

bench: $(VENV)/.dev  ## run the benchmarks and print their tables
	$(BIN)/python -m benchmarks

clean:  ## remove the environments and the demo lakehouse
	rm -rf $(VENV) .venv-clients $(DEMO_DIR) .mypy_cache .ruff_cache .hypothesis
