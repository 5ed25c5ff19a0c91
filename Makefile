# make setup   .venv with everything locked in uv.lock        make demo [DIR=path] [DETACH=1]
# make test    every check and the whole suite                make demo-stop DIR=path
# make campaign [MINUTES=30] [SEED=7] [SCENARIO=name]          many processes, broken in every way
#
# Needs Python 3.11 or newer with venv, and make. PYTHON names another Python.

PYTHON ?= python3
DIR ?=
DETACH ?=
# Arguments for pytest alone, e.g. make pytest ARGS=tests/vectors
ARGS ?=
# Of make campaign: how long, which run to do again, and only this scenario of tests/cluster/scenarios.py
MINUTES ?= 30
SEED ?=
SCENARIO ?=

# Demo and tests start commands by the hundred: each would compile every module again, longer than most of them work.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
READY := .venv/.ready
INTEROP := .venv/.interop

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-stop test lint types imports pytest campaign packages clean

help:
	@sed -n 's/^# \{0,1\}//;1,4p' Makefile

setup: $(READY)

$(READY): pyproject.toml uv.lock .ci/uv.txt .ci/setup
	@PYTHON="$(PYTHON)" sh .ci/setup
	@touch $@

# What tests/interop and tests/keyservice need on top; the demo does without.
$(INTEROP): $(READY) .ci/foreign.txt tests/keyservice/provider/package-lock.json
	@PYTHON="$(PYTHON)" sh .ci/setup --interop
	@touch $@

demo: $(READY)
	@$(BIN)/glassbook demo $(if $(DIR),"$(DIR)") $(if $(DETACH),--detach)

demo-stop: $(READY)
	@$(BIN)/glassbook demo $(if $(DIR),"$(DIR)",$(error say which: make demo-stop DIR=path)) --stop

test: packages lint types imports pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INTEROP)
	$(BIN)/mypy
	MYPYPATH=tests $(BIN)/mypy tests/*.py
	@for folder in tests/*/; do \
	    ls $$folder*.py >/dev/null 2>&1 || continue; \
	    echo "$(BIN)/mypy $$folder"; MYPYPATH=tests:tests/vectors:tests/department:tests/publisher:$$folder $(BIN)/mypy $$folder || exit 1; done

imports: $(READY)
	$(BIN)/lint-imports

pytest: packages $(INTEROP)
	$(BIN)/python -m pytest -n 2 --dist loadscope $(ARGS)

campaign: $(INTEROP)
	@PYTHONPATH=tests:tests/cluster:tests/publisher $(BIN)/python tests/cluster/campaign.py --minutes $(MINUTES) \
	    $(if $(SEED),--seed $(SEED)) $(if $(SCENARIO),--scenario "$(SCENARIO)")

# What the tests need and PyPI does not have.
packages:
	@sh .ci/install-packages .ci/packages

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
