# make study          set everything up, run the main job, end with a report
# make study DATA=dir the same on a dataset folder
# make serve          a page to search in and be recommended to, by that study's models
# make test           set everything up, run the checks and the tests
# make quick          the part of them that answers in under a minute
# make help           the other targets

PYTHON ?= python3
VENV ?= .venv
DATA ?= simulate:catalog
OUT ?= out/study
SEEDS ?= 3
BUDGET ?= quick
BIN = $(VENV)/bin
TORCH = 2.13.0
WORKERS ?= 2
PIP = $(BIN)/pip install --quiet --disable-pip-version-check --no-compile
PYTEST = $(BIN)/pytest -n $(WORKERS) --dist loadfile
# Tests that answer in seconds: no study, no server, one training of forty steps.
QUICK = tests/data tests/tasks tests/evaluation tests/identifiers tests/model \
  tests/contracts/test_sources.py tests/comparison/test_ir_measures.py \
  tests/retrieval/test_beam_search.py tests/retrieval/test_top_k.py \
  tests/training/test_loss.py tests/training/test_mixture.py tests/studies/test_verdict.py \
  tests/serving/engines/test_batching.py tests/serving/http/test_limits.py \
  tests/test_artifact.py tests/test_extras.py tests/test_house.py tests/test_records.py

.DEFAULT_GOAL := help
.PHONY: help study serve test quick check unit docs slow fuzz faults bench clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# One environment: first what a study and its page need, then, for all other targets, the rest.
# torch comes first: a CPU build that is already there, or at hand, is kept; a plain install of a
# newer one would bring gigabytes of CUDA. Python compiles a module when it is first imported,
# which takes half the time of compiling every module now.
$(VENV)/.study: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -c "import torch" 2>/dev/null || $(PIP) "torch==$(TORCH)"
	$(PIP) -c constraints.txt -e ".[study,serve]"
	touch $@

$(VENV)/.ready: $(VENV)/.study
	$(PIP) -c constraints.txt -e ".[dev]"
	touch $@

study: $(VENV)/.study  ## does one task help the other, can one model replace two? ends with a report
	$(BIN)/twofold study "$(DATA)" --out "$(OUT)" --seeds $(SEEDS) --budget $(BUDGET) --resume

serve: $(VENV)/.study  ## the models of `make study` behind a page and an API
	$(BIN)/twofold serve --study "$(OUT)"

test: check unit  ## checks and tests, 25 minutes on 2 cores with AVX2

quick: $(VENV)/.ready  ## format, lint, layers, and the tests that answer in seconds, under a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(PYTEST) --quiet -m "not slow and not alone" $(QUICK)

check: $(VENV)/.ready  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/.ready
	$(PYTEST) -m "not slow and not alone"
	$(BIN)/pytest -m "not slow and alone"

docs: $(VENV)/.docs  ## the documents as a site, in out/docs; a warning is an error
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -d out/doctrees docs out/docs

$(VENV)/.docs: $(VENV)/.ready
	$(PIP) -c constraints.txt -e ".[docs]"
	touch $@

slow: $(VENV)/.ready  ## long tests: kills and resumes at many moments
	$(BIN)/pytest -m slow

fuzz: $(VENV)/.ready  ## 10,000 made-up requests to the server, none may be its fault
	$(BIN)/python -m tests.serving.fuzz --cases 10050

faults: $(VENV)/.ready  ## reloads, kills and changes of the catalog under load
	$(BIN)/python benchmarks/faults.py --out out/faults

bench: $(VENV)/.ready  ## how time and memory grow, and the share of the machine's peak, in 10 minutes
	$(BIN)/python benchmarks/bench.py --out out/bench

clean:  ## remove the environment and what was built
	rm -rf $(VENV) out .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
