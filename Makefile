# Two commands do everything on a fresh machine: `make report` and `make test`.
# Only relative paths are used here, so that a checkout may live in a folder with spaces.

VENV  := .venv
PY    := $(VENV)/bin/python
READY := $(VENV)/.ready

QUARTO ?= auto
PORT   ?= 8000
ifeq ($(origin PYTHON),undefined)
PYTHON := $(shell for p in python3.13 python3.12 python3.11 python3; do \
  command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
  && { echo $$p; break; }; done)
endif

# What a user gives is text. $(value …) takes it as it was typed, the program finds it in its
# environment, and no recipe names it: neither make nor a shell reads a $(…) in it as something to do.
override MODEL := $(value MODEL)
override TOKENIZER := $(value TOKENIZER)
override EFFORT := $(value EFFORT)
override CORPUS := $(value CORPUS)
override MODELS := $(value MODELS)
override SCHEDULER := $(value SCHEDULER)
override TABLE := $(value TABLE)
override QUARTO := $(value QUARTO)
override PORT := $(value PORT)
override PYTHON := $(value PYTHON)
override TORCH_INDEX := $(value TORCH_INDEX)
override REPORT_MODEL := $(or $(value MODEL),$(value REPORT_MODEL))
override REPORT_TOKENIZERS := $(or $(value TOKENIZER),$(value REPORT_TOKENIZERS))
override REPORT_EFFORT := $(or $(value EFFORT),$(value REPORT_EFFORT))
export REPORT_MODEL REPORT_TOKENIZERS REPORT_EFFORT CORPUS QUARTO PORT PYTHON TORCH_INDEX
export MODELS SCHEDULER TABLE

.DEFAULT_GOAL := help
.PHONY: help env report test test-all check bench compare train train-twins train-ladder train-smoke serve inspect clean clean-all lock

help: ## list the targets
	@echo "make report               the whole report about SmolLM2 (93 MB, once), into _book/"
	@echo "make report MODEL=gpt2    the same about any Hugging Face id, folder or GGUF file"
	@echo "make report EFFORT=0.2    a quick draft with a fifth of the texts"
	@echo "make report TOKENIZER=…   with further tokenizers in chapter 2 (ids or folders, commas)"
	@echo
	@grep -E '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | \
	  awk -F '\t' '{ printf "  make %-14s %s\n", $$1, $$2 }'

$(READY): requirements.lock pyproject.toml
	@test -n "$$PYTHON" || { echo "Python 3.11 or newer was not found; install it or call make PYTHON=/path/to/python3."; exit 1; }
	@echo "Setting up the environment in $(VENV) (once; a few minutes, about 2 GB)."
	@test -x $(PY) || "$$PYTHON" -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check $${TORCH_INDEX:+--extra-index-url "$$TORCH_INDEX"} -r requirements.lock
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@mkdir -p $(VENV)/etc/ipython # kernels that listen on this machine alone need not warn of it
	@echo "c.IPKernelApp.log_level = 40" > $(VENV)/etc/ipython/ipython_kernel_config.py
	@touch $(READY)

env: $(READY) ## create or update the environment in .venv

report: $(READY) ## measure, write and render: _book/index.html, report.pdf, report.ipynb
	@$(PY) -m internals report

test: $(READY) ## the test suite (under ten minutes)
	@$(PY) -m pytest -q

test-all: $(READY) ## the test suite with the slow tests
	@$(PY) -m pytest -q -m "slow or not slow"

check: $(READY) ## lint, format, types, and the prose of the chapters
	@$(PY) -m ruff check code tests
	@$(PY) -m ruff format --check code tests
	@$(PY) -m mypy
	@$(PY) -m internals lint

bench: $(READY) ## time and memory of whole reports about smollm2 and fable-gpt2
	@$(PY) -m internals bench

compare: $(READY) ## many models side by side (MODELS=a,b,c SCHEDULER=address TABLE=file.parquet)
	@$(PY) -m internals compare

train: $(READY) ## train both embedded models again (hours; CORPUS=folder of free text)
	@$(PY) -m internals train

train-twins: $(READY) ## the tiny paired runs of norms and heads again (an hour; CORPUS=folder)
	@$(PY) -m internals train --twins

train-ladder: $(READY) ## the ladder of sizes again (three hours; CORPUS=folder)
	@$(PY) -m internals train --ladder

train-smoke: $(READY) ## the whole training path on a tiny scale, in about a minute
	@$(PY) -m internals train --smoke

inspect: $(READY) ## facts about MODEL without a report
	@$(PY) -m internals inspect

serve: $(READY) ## show _book/ at http://localhost:8000 (PORT=…)
	@$(PY) -m internals serve

clean: ## remove the rendered book and intermediate files; keep measurements
	@rm -rf _book _book-llama _book-gpt2 .build .quarto _freeze
	@rm -rf index.html index.typ index.pdf index_files site_libs report/*.html report/*.typ report/*_files
	@rm -rf *.quarto_ipynb* report/*.quarto_ipynb* _quarto_internal_scss_error.scss .quarto-out-* ._book*

clean-all: clean ## remove the measurements and the environment as well
	@rm -rf .cache $(VENV)

# The CUDA packages that Linux wheels of torch ask for are left out: pip adds them where they are wanted.
lock: ## pin the newest versions that pyproject.toml allows
	@$(PY) -m uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --quiet \
	  --no-header --no-emit-index-url --no-emit-find-links --annotation-style line --output-file .lock.tmp >/dev/null
	@{ echo "# Every version the project is tested with; made by \`make lock\`."; \
	   grep -vE '^(nvidia-|cuda-|triton)' .lock.tmp; } > requirements.lock; rm -f .lock.tmp
