# From a bare machine with Python 3.11-3.14 to a trained, scored and registered model: make repro.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TOOLS := build/tools
# `TORCH=cpu` takes the CPU build of torch, also where pip would take the one for CUDA.
TORCH ?= default
TORCH_INDEX := $(if $(filter cpu,$(TORCH)),--extra-index-url https://download.pytorch.org/whl/cpu)
# `UV=uv` installs the same versions with uv instead of pip.
UV ?=
INSTALL := $(if $(UV),$(UV) pip install --python $(BIN)/python --quiet --index-strategy unsafe-best-match,$(BIN)/python -m pip install --quiet)
PINS := build/pins.txt
CODE := sap2 components pipelines experiments tests benchmarks tools
STORE := $(BIN)/python -c 'from sap2.params import load_params; from sap2.tracking import tracking_uri; print(tracking_uri(load_params().tracking))'

# Rooms whose tests need no model training, server or browser.
QUICK := $(addprefix tests/,test_params.py test_habits.py test_version.py test_manifest.py test_prompts.py test_spelling.py \
	test_settings.py test_imports.py test_docs.py test_words.py test_make.py evaluation transcripts model)

# dvc.yaml says `sap2 …`: found in our environment, whether it is activated or not.
WITH_ENV := PATH="$(CURDIR)/$(BIN):$$PATH"
# No caller's virtual environment may leak into ours.
unexport VIRTUAL_ENV PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help repro test quick image faults fuzz trainings soak lint types format docs wheel base ablation ablation-more ablation-people lock audit sbom env clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

repro: $(READY) ## Run the whole flow (dvc repro) and show the results
	$(WITH_ENV) dvc repro
	@echo
	@cat reports/table.md
	@echo
	@echo "Report:  $(CURDIR)/reports/report.html"
	@echo "Runs:    $(BIN)/mlflow ui --backend-store-uri $$($(STORE))"

test: $(READY) lint ## Check the style, then run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder \
		--durations=20 --session-timeout=4800

quick: $(READY) ## Check the style, then run the tests that need no model training, server or browser (under a minute)
	$(BIN)/ruff check $(CODE)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -x -m "not slow" $(QUICK)

image: $(READY) ## Run the Dockerfile's steps that need no root, packages and all, and stages in the result (15 minutes)
	$(BIN)/python -m pytest tests/deploy/test_image.py -m long -s

faults: $(READY) ## Kill every stage, over a hundred times in all, take its room and its MLflow away (two hours): docs/faults.md
	$(BIN)/python -m pytest tests/faults tests/tracking/test_lost_answers.py -m long -s

fuzz: $(READY) ## Give readers, parsers and the server over 100,000 malformed inputs (half an hour)
	SAP2_FUZZ_CASES=7000 $(BIN)/python -m pytest tests/test_fuzz.py

trainings: $(READY) ## Train in several processes and nodes in more combinations than the tests do (a quarter of an hour)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/training tests/components -m long

soak: $(READY) ## 2,000 utterances through the recogniser, 10,000 requests through the server: memory stays flat
	$(BIN)/python -m pytest tests/test_soak.py -m long -s

lint: $(READY) types ## Check style, format, wording and types
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/python tools/words.py

types: $(READY) ## Check the types (mypy)
	$(BIN)/mypy

format: $(READY) ## Put the code in format
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

docs: $(READY) ## Build the documentation as a site in build/site; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

wheel: $(READY) ## Build the package in dist and check it as a release does
	rm -rf dist && $(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl

base: $(READY) ## Make the embedded base from the data that experiments/base/params.yaml declares (minutes on a GPU, a day on a CPU)
	$(WITH_ENV) dvc repro experiments/base/dvc.yaml
	rm -rf sap2/assets/english/base && cp -r experiments/base/work/base sap2/assets/english/base

ablation: $(READY) ## Train and test the methods, three seeds each (an hour or two), and write docs/results.md
	$(WITH_ENV) dvc repro experiments/dvc.yaml:test
	$(BIN)/python -m experiments.report

ablation-more: $(READY) ## The same for poolings, windows and lists (more hours)
	$(WITH_ENV) dvc repro experiments/dvc.yaml:test-more experiments/dvc.yaml:test-again
	$(BIN)/python -m experiments.report

ablation-people: $(READY) ## The methods on people's recordings (some eight hours); wants corpora/LibriSpeech and corpora/is21_deep_bias
	$(WITH_ENV) dvc repro experiments/people/dvc.yaml
	$(BIN)/python -m experiments.report --grid experiments/people/grid.yaml

lock: $(TOOLS)/.ready ## Write requirements.lock anew: every package of the environment with its hashes
	$(TOOLS)/bin/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
		--generate-hashes --no-annotate --custom-compile-command "make lock" --quiet --output-file requirements.lock

audit: $(TOOLS)/.ready ## Look the locked packages up among known vulnerabilities (asks PyPI)
	@# --strict: without it, packages that PyPI said nothing of are passed over, and the audit passes.
	@if $(TOOLS)/bin/pip-audit --requirement requirements.lock --disable-pip --require-hashes --strict \
		--progress-spinner off >$(TOOLS)/audit.txt 2>$(TOOLS)/audit.log; then cat $(TOOLS)/audit.txt $(TOOLS)/audit.log; \
	elif [ -s $(TOOLS)/audit.txt ]; then cat $(TOOLS)/audit.txt; \
		echo "audit: the packages above are vulnerable; require fixed versions in pyproject.toml, then run make lock" >&2; exit 1; \
	else echo "audit: not done, which says nothing of any package: $$(tail -n 1 $(TOOLS)/audit.log); PyPI's JSON API must answer" >&2; \
		exit 1; fi

sbom: $(READY) $(TOOLS)/.ready ## List what the environment holds, as build/sbom.json (CycloneDX)
	@mkdir -p build
	$(TOOLS)/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-file build/sbom.json

$(TOOLS)/.ready:
	$(PYTHON) -m venv --clear $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet "uv>=0.11,<1" "pip-audit>=2.9,<3" "cyclonedx-bom>=7,<8"
	@touch $@

env: $(READY) ## Make the environment in .venv

clean: ## Remove the environment and caches; data, models and results stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last: an interrupted installation starts again, a finished one costs nothing.
# torch comes first: DeepSpeed is built against it. Versions are those of requirements.lock. Its hashes are not asked for,
# as the CPU build of torch has others.
$(READY): pyproject.toml requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON): not found; install Python 3.11 to 3.14, or give make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' \
		|| { echo "$(PYTHON) is $$($(PYTHON) -V 2>&1), expected Python 3.11 to 3.14; give make PYTHON=/path/to/python3" >&2; exit 1; }
	@case "$(TORCH)" in cpu|default) ;; *) echo "TORCH is $(TORCH), expected cpu, or no TORCH for the build that pip takes" >&2; exit 1;; esac
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "$(PYTHON) has no venv module; install it (Debian: the package python3-venv)" >&2; exit 1; }
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@mkdir -p $(dir $(PINS)) && grep -oE '^[^ #]+==[^\]+' requirements.lock >$(PINS)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@$(BIN)/python -m pip install --dry-run --quiet --report - $(TORCH_INDEX) -c $(PINS) torch | $(BIN)/python tools/torch_build.py
	@echo "The other packages take about 2 GB more in $(VENV), and some minutes."
	$(INSTALL) $(TORCH_INDEX) -c $(PINS) setuptools wheel ninja py-cpuinfo torch
	$(INSTALL) --no-build-isolation -c $(PINS) deepspeed
	$(INSTALL) -c $(PINS) --editable ".[dev]"
	@touch $(READY)
