# make run: set up .venv and walk the whole road. make test: set up and run the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests share the cores as processes: threads within each would only spin for the others.
JOBS ?= auto
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder
SETUP := $(VENV)/.setup

.PHONY: setup run bench gpu test test-fast lint types architecture check readme docs clean

setup: $(SETUP)

$(SETUP): pyproject.toml constraints.txt tools/fetch_bindings.py
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "hrvit-deploy needs Python 3.11 or newer: make PYTHON=python3.11"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python tools/fetch_bindings.py
	touch $@

# A trained network and labelled scenes: the whole road with real figures at its end.
DATA := data/digit_scenes
CHECKPOINT := examples/digit_scenes/hrvit_b1.safetensors

run: setup
	$(BIN)/python examples/digit_scenes/scenes.py $(DATA) --count 20
	mkdir -p calib/images
	ls calib/images | grep -q . || cp $(DATA)/images/training/*.png calib/images/
	$(BIN)/hrvit-deploy run --variant b1 --checkpoint $(CHECKPOINT) --size 256x256
	$(BIN)/hrvit-deploy build-trt --int8
	$(BIN)/hrvit-deploy compare --data $(DATA)

# The deploy form against its peers on this machine: leave it alone for an hour.
bench: setup
	$(BIN)/python -m benchmarks.cpu
	$(BIN)/python tools/readme.py --tables

# The same on an NVIDIA GPU; without one, each contender is listed with the reason.
gpu: setup
	$(BIN)/python -m benchmarks.gpu
	$(BIN)/python tools/readme.py --tables

test: setup
	$(PYTEST)

test-fast: setup
	$(PYTEST) -m 'not slow'

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

architecture: setup
	$(BIN)/lint-imports

check: lint types architecture test

# README.md and docs/: run the commands they show, and fill in what was measured.
readme: setup
	$(BIN)/python tools/readme.py

# The site, in site/; look at it with python3 -m http.server --directory site.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) export/*.onnx export/*.data export/*.json engines/*.plan engines/*.json engines/*.cache calib/*.json calib/*.png calib/*.ranking calib/images/scene_*.png bench $(DATA) predictions embedded site
