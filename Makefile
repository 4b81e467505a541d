SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup demo test check format bench soak up down clean

setup: .venv/.ok  ## a virtual environment with everything pinned; a second call does nothing

# PIP_FIND_LINKS may name a folder of wheels (a CPU build of torch, say); without it the index serves.
.venv/.ok: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}" $(BIN)/uv pip install --quiet \
	  --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
	touch $@
