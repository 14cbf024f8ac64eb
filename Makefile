# Every target makes its own virtual environment first, from requirements.txt and constraints.txt.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help demo test test-fast lint clean

help:
	@echo "make demo       set up, train on the example scene, render, measure"
	@echo "make test       set up, check style and types, run all tests"
	@echo "make test-fast  the tests without the slow ones"
	@echo "make clean      remove the demo's output"

$(VENV)/installed: requirements.txt constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; name one with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -r requirements.txt
	touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.txt
	$(INSTALL) -r requirements.txt -r requirements-dev.txt
	touch $@

demo: $(VENV)/installed
	@echo "This demo trains without guidance: the small prior that will ship with the project does not exist yet."
	$(BIN)/python train.py -s examples/still_life -m output/demo --eval --lambda_sds 0 --iterations 3000 \
		--test_iterations 1000 2000 3000 --overwrite
	$(BIN)/python render.py -m output/demo --orbit
	$(BIN)/python metrics.py -m output/demo
	@echo "Pictures: output/demo/test/ours_3000/renders beside .../gt; video: output/demo/orbit/ours_3000.mp4"
	@echo "Model: output/demo/point_cloud/iteration_3000/point_cloud.ply (drag it into a web viewer)"

lint: $(VENV)/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest

test-fast: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m "not slow"

clean:
	rm -rf output/demo
