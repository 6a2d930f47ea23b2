# From a bare machine with Python 3.10-3.12 to a trained, scored and registered model: make repro.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TOOLS := build/tools
# torch first and by pip itself: DeepSpeed is built against it.
TORCH := torch==2.13.0
CODE := sap2 components pipelines experiments tests benchmarks
STORE := $(BIN)/python -c 'from sap2.params import load_params; from sap2.tracking import tracking_uri; print(tracking_uri(load_params().tracking))'

# dvc.yaml says `sap2 …`: found in our environment, whether it is activated or not.
WITH_ENV := PATH="$(CURDIR)/$(BIN):$$PATH"
# No caller's virtual environment may leak into ours.
unexport VIRTUAL_ENV PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help repro test image faults fuzz soak lint format base ablation ablation-more lock audit sbom env clean

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
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

image: $(READY) ## Run the Dockerfile's steps that need no root, packages and all, and stages in the result (15 minutes)
	$(BIN)/python -m pytest tests/deploy/test_image.py -m long -s

faults: $(READY) ## Kill every stage, over a hundred times in all, take its room and its MLflow away (two hours): docs/faults.md
	$(BIN)/python -m pytest tests/faults tests/tracking/test_lost_answers.py -m long -s

fuzz: $(READY) ## Give readers, parsers and the server over 100,000 inputs nobody meant (half an hour)
	SAP2_FUZZ_CASES=7000 $(BIN)/python -m pytest tests/test_fuzz.py

soak: $(READY) ## 2,000 utterances through the recogniser, 10,000 requests through the server: memory stays flat
	$(BIN)/python -m pytest tests/test_soak.py -m long -s

lint: $(READY) ## Check style and format
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

format: $(READY) ## Put the code in format
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

base: $(READY) ## Make the embedded base from the data that experiments/base/params.yaml declares (minutes on a GPU, a day on a CPU)
	$(WITH_ENV) dvc repro experiments/base/dvc.yaml
	rm -rf sap2/assets/base && cp -r experiments/base/work/base sap2/assets/base

ablation: $(READY) ## Train and test the methods, three seeds each (an hour or two), and write docs/results.md
	$(WITH_ENV) dvc repro experiments/dvc.yaml:test
	$(BIN)/python -m experiments.report

ablation-more: $(READY) ## The same for poolings, windows and lists (more hours)
	$(WITH_ENV) dvc repro experiments/dvc.yaml:test-more experiments/dvc.yaml:test-again
	$(BIN)/python -m experiments.report

lock: $(TOOLS)/.ready ## Write requirements.lock anew: every package of the environment with its hashes
	$(TOOLS)/bin/uv pip compile pyproject.toml --extra kubeflow --extra serve --extra server --extra dev --universal --python-version 3.10 \
		--generate-hashes --no-annotate --custom-compile-command "make lock" --quiet --output-file requirements.lock

audit: $(TOOLS)/.ready ## Look the locked packages up among known vulnerabilities (asks PyPI)
	@# --strict: without it, packages that PyPI said nothing of are passed over, and the audit passes.
	@if $(TOOLS)/bin/pip-audit --requirement requirements.lock --disable-pip --require-hashes --strict \
		--progress-spinner off >$(TOOLS)/audit.txt 2>$(TOOLS)/audit.log; then cat $(TOOLS)/audit.txt $(TOOLS)/audit.log; \
	elif [ -s $(TOOLS)/audit.txt ]; then cat $(TOOLS)/audit.txt; \
		echo "audit: the packages above are vulnerable; ask for versions that are mended (pyproject.toml, then make lock)" >&2; exit 1; \
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
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last: an interrupted installation starts again, a finished one costs nothing.
$(READY): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON): not found; install Python 3.10, 3.11 or 3.12, or give make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 13))' \
		|| { echo "$(PYTHON) is $$($(PYTHON) -V 2>&1), expected Python 3.10, 3.11 or 3.12; give make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "$(PYTHON) has no venv module; install it (Debian: the package python3-venv)" >&2; exit 1; }
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing into $(VENV): about 2.5 GB, some minutes"
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet setuptools wheel ninja py-cpuinfo "$(TORCH)"
	$(BIN)/python -m pip install --quiet --no-build-isolation "deepspeed>=0.19.8,<0.21"
	$(BIN)/python -m pip install --quiet --editable ".[kubeflow,serve,dev]"
	@touch $(READY)
