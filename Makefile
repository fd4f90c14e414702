# Two commands do all the set-up: make demo, make test.
PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
endif
ifneq ($(wildcard ../shared/data),)
export KSHOT_DATA ?= $(abspath ../shared/data)
endif

.PHONY: demo test check slow results clean bench bench-setup

.venv/.demo: pyproject.toml
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo]'
	touch $@

.venv/.test: pyproject.toml
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@ .venv/.demo

demo: .venv/.demo
	$(BIN)/kshot demo $(if $(KSHOT_DATA),--data "$(KSHOT_DATA)")

test: .venv/.test
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

slow: .venv/.test
	$(BIN)/python -m pytest -m slow --timeout=3600

check: .venv/.test
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/mypy

results: .venv/.test
	$(BIN)/python -m benchmarks.tables

bench: bench-setup
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.ratios
	$(BIN)/python -m benchmarks.tables

bench-setup: .venv/.test
	$(BIN)/python -m benchmarks.setup_peers

clean:
	rm -rf .venv .venv-bench build dist demo runs
