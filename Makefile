# Everything a person types. `make` alone prints what there is.
#
#   make book PRESET=tiny           another preset of workflow/*.yaml
#   make test PYTEST="-k losses"    pass options to pytest
#   make book PYTHON=python3.12     the interpreter that the environment is made with
#   make cifar100 OPTIONS="--minutes 9 --nice 19"   pass options to `lskd run`

PYTHON ?= python3
PRESET ?= default
PLAN ?= paper
PYTEST ?=
NOTEBOOK ?=
OPTIONS ?=
VENV := .venv
RUN := OMP_WAIT_POLICY=PASSIVE $(VENV)/bin/python
# Not compiled: of these packages few modules are ever imported, and Python compiles those then.
PIP := $(VENV)/bin/python -m pip install --disable-pip-version-check --quiet --no-compile --require-virtualenv --constraint constraints.txt
# Some shells forbid it to keep what it compiled, and every process would compile all of it again.
export PYTHONDONTWRITEBYTECODE :=
# Four processes with one thread each, for two cores: they often wait for a browser, a child or a cluster's next look.
PARALLEL := -n 4 --dist loadscope --no-loadscope-reorder --durations 25

.DEFAULT_GOAL := help
.PHONY: help book tables pdf test tests bench cifar100 lint lock lab doctor clean
.DELETE_ON_ERROR:

help: ## print this
	@echo "lskd: Logit Standardization in Knowledge Distillation, an executable book"
	@echo
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24
	@echo
	@echo "The first call makes an environment in $(VENV). Options: see the head of the Makefile."

book: $(VENV)/.book ## train, draw, build the pages; again: redo what a change touches
	@$(RUN) -m lskd.cli workflow --preset $(PRESET)

tables: $(VENV)/.book ## run the paper's tables (GPU-days; first look at what: lskd plan)
	@$(RUN) -m lskd.cli run --plan $(PLAN) --profile local $(OPTIONS); status=$$?; \
	$(RUN) -m lskd.cli notebook run paper_tables && exit $$status

pdf: book ## print the book to build/lskd.pdf (needs a Chromium)
	@$(RUN) -m lskd.cli book pdf

test: lint tests ## check style and types, run all tests (page tests need a Chromium: found, or installed)

tests: $(VENV)/.dev
	@$(RUN) -m lskd.cli doctor --install-browser
	@$(RUN) -m pytest $(PARALLEL) $(PYTEST)

bench: $(VENV)/.dev ## measure the trainer against a plain baseline (minutes, on a quiet machine)
	@$(RUN) benchmarks/cpu.py

# A machine with a GPU often has its own PyTorch, which nothing here should replace. 3: the time given was over.
cifar100: ## run CIFAR-100 on the best device there is, what fills most cells an hour first; again: goes on
	@python=$$(command -v $(PYTHON)); \
	"$$python" -c 'import torch, numpy, safetensors, tqdm, msgspec, yaml' 2>/dev/null || { $(MAKE) --no-print-directory $(VENV)/.book && python=$(VENV)/bin/python; } && \
	{ PYTHONPATH=. "$$python" -m paper run --plan cifar100 $(OPTIONS) || [ $$? -eq 3 ]; }

lint: $(VENV)/.dev ## check style, types and who imports whom
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/ruff format --quiet --check .
	@$(VENV)/bin/mypy --no-error-summary
	@told=$$($(VENV)/bin/lint-imports --no-cache 2>&1) || { echo "$$told"; exit 1; }

lock: $(VENV)/.dev ## after a change of pyproject.toml: choose all versions again, for every Python and system
	@$(VENV)/bin/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --quiet \
	  --native-tls --no-header --no-annotate --output-file constraints.txt

lab: $(VENV)/.lab ## open the notebooks in JupyterLab, or one: NOTEBOOK=zscore
	@$(VENV)/bin/jupyter lab notebooks$(NOTEBOOK:%=/%.ipynb)

doctor: $(VENV)/.book ## say what this machine offers and what is missing
	@$(RUN) -m lskd.cli doctor

clean: ## delete what was built; keep the environment and trained networks (build/runs)
	@find build dist -mindepth 1 -maxdepth 1 ! -name runs -exec rm -rf {} + 2>/dev/null || true

# An environment that a cancelled call left half-made is made anew.
$(VENV)/bin/activate:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "lskd needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "making an environment in $(VENV)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { echo "no virtual environment: $(PYTHON) lacks venv (Debian, Ubuntu: the package python3-venv)" >&2; rm -rf $(VENV); exit 1; }

$(VENV)/.book: $(VENV)/bin/activate pyproject.toml constraints.txt
	@echo "installing the book's packages (minutes, once)"
	@$(PIP) --editable '.[book]'
	@touch $@

$(VENV)/.dev: $(VENV)/bin/activate pyproject.toml constraints.txt
	@echo "installing the book's and the tests' packages (minutes, once)"
	@$(PIP) --editable '.[book,dev,integrations]'
	@touch $@ $(VENV)/.book

$(VENV)/.lab: $(VENV)/.book
	@$(PIP) --editable '.[book,lab]'
	@touch $@
