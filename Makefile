# Two commands do it all on a fresh machine: `make demo` and `make test`.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench up down clean

help:  ## what each target does
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/.ok  ## a virtual environment with everything pinned; a second call does nothing

# PIP_FIND_LINKS may name a folder of wheels (a CPU build of torch, say); without it the index serves.
.venv/.ok: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}" $(BIN)/uv pip install --quiet \
	  --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup  ## the main job, end to end, offline, on a synthetic colorectal cohort
	$(BIN)/wsi-vit demo

test: setup  ## the whole test suite, in two processes
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: setup  ## format, lint, types, house rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

format: setup  ## put every file into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup  ## every benchmark, full; results go to benchmarks/results/
	$(BIN)/python -m benchmarks

up: setup  ## Prefect server, a worker and MLflow's pages on this computer, no containers
	$(BIN)/wsi-vit up

down: setup  ## end exactly what `make up` started
	$(BIN)/wsi-vit down

clean:  ## remove what was installed; runs/ stays
	rm -rf .venv .pytest_cache .ruff_cache
