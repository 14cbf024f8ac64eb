# Every target makes its own virtual environment first, from requirements.txt and constraints.txt.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# So many tests at a time; each process takes up to 3 GB.
JOBS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

# make DEMO_ITERATIONS=500 demo is a quick look; DEMO_VIEWS photographs of the example scene train.
DEMO := output/demo
DEMO_ITERATIONS ?= 2000
DEMO_VIEWS ?= 6
DEMO_PROMPT ?= a still life of a vase of flowers, a teapot, a bowl of fruit and books on a wooden table
# Without the small prior's weights there is one model to show.
DEMO_GUIDED := $(if $(wildcard sds_guidance/small/unet/*.safetensors),$(DEMO)/guided)
DEMO_MODELS := $(DEMO)/unguided $(DEMO_GUIDED)
TRAIN_DEMO := $(BIN)/python train.py -s examples/still_life --eval --n_views $(DEMO_VIEWS) \
	--iterations $(DEMO_ITERATIONS) --test_iterations $(DEMO_ITERATIONS) --preset reference --overwrite

.PHONY: help demo test test-fast test-browser regression few-views proof proof-quick tables lint clean

help:
	@echo "make demo       set up, train on six photographs of the example scene, show the result on a page"
	@echo "make test       set up, check style and types, run all tests"
	@echo "make test-fast  the tests without the slow ones"
	@echo "make test-browser the viewers and pages in chromium, headless (skipped, with the reason, where there is none)"
	@echo "make regression the published figures of the fern (40 minutes; ../shared/data)"
	@echo "make few-views  the tables of docs/few-views.md: what the base brings (hours; goes on where it was stopped)"
	@echo "make proof      the tables of docs/results.md: does a prior help? (hours; goes on where it was stopped)"
	@echo "make proof-quick the same in minutes, with figures that mean nothing: whether all of it works"
	@echo "make tables     both of them, after saying how long they will take"
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
ifeq ($(DEMO_GUIDED),)
	@echo "This demo trains without guidance: the small prior's weights are not in this checkout."
else
	$(TRAIN_DEMO) -m $(DEMO_GUIDED) --guidance_model small --prompt "$(DEMO_PROMPT)" --negative_prompt ""
endif
	$(TRAIN_DEMO) -m $(DEMO)/unguided --lambda_sds 0
	for model in $(DEMO_MODELS); do $(BIN)/python render.py -m $$model --skip_train --orbit || exit; done
	$(BIN)/python metrics.py -m $(DEMO_MODELS)
	$(BIN)/python compare.py -m $(DEMO_MODELS) --names $(notdir $(DEMO_MODELS)) --output $(DEMO)/index.html
	@echo "The page is $(DEMO)/index.html (open it in a browser); the models are $(DEMO)/*/point_cloud"

lint: $(VENV)/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

test: lint
	$(PYTEST)

test-fast: $(VENV)/installed-dev
	$(PYTEST) -m "not slow"

test-browser: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m browser

regression: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m long

# make FEW_VIEWS=--plan_only few-views says how long it will take; FEW_VIEWS="--parts base --seeds 0" does a part.
few-views: $(VENV)/installed-dev
	$(BIN)/python benchmarks/few_views.py --docs docs/few-views.md --pictures docs/few_views.jpg $(FEW_VIEWS)

# make PROOF=--plan_only proof says how long it will take; PROOF="--parts core --seeds 0" does a part.
proof: $(VENV)/installed-dev
	$(BIN)/python benchmarks/proof.py --docs docs/results.md $(PROOF)

proof-quick: $(VENV)/installed-dev
	$(BIN)/python benchmarks/proof.py --quick $(PROOF)

tables: $(VENV)/installed-dev
	$(BIN)/python benchmarks/few_views.py --plan_only $(FEW_VIEWS)
	$(BIN)/python benchmarks/proof.py --plan_only $(PROOF)
	$(MAKE) few-views proof

clean:
	rm -rf output/demo
