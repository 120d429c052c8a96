# Two commands do everything, set-up included:
#
#   make reproduce    every notebook in the mini profile, from the shipped weights, to reports/index.html; never trains
#   make test         the test suite (make test-all adds the long soak, kill and fuzz runs)
#
# Two more train, on the embedded cohort: `make retrain` what is shipped, `make study` longer and with three seeds. And
# `make efficiency` measures time and memory of all submissions on the papers' eight image sizes, one process a case.
#
# `make benchmarks` measures other packages beside this one; they get environments of their own, under runs/.
#
# Variables, each given as NAME=value behind the command:
#
#   PYTHON            the Python 3.11 that .venv is made from, when it is not found by itself
#   PIP_OPTIONS       options for pip; they choose torch's build (docs/gpu.md), for example the small one without CUDA:
#                       PIP_OPTIONS="--extra-index-url https://download.pytorch.org/whl/cpu"
#   REPRODUCE_OPTIONS options for `flare reproduce`, such as "--only 07_evaluation" or "--force"
#   EFFICIENCY_OPTIONS  options for `flare efficiency`, such as "--force" or "--backend torch"
#   ITKWIDGETS        1 lets `make lab` use itkwidgets, which needs the internet
#   PYTEST_OPTIONS    options for pytest, such as "-k nifti"

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

IS_311 := import sys; sys.exit(sys.version_info[:2] != (3, 11))
PYTHON ?= $(shell for name in python3.11 python3 python; do \
	$$name -c '$(IS_311)' >/dev/null 2>&1 && { echo $$name; break; }; done)
PIP_OPTIONS ?=
REPRODUCE_OPTIONS ?=
EFFICIENCY_OPTIONS ?=
PYTEST_OPTIONS ?= --numprocesses=auto --dist=loadfile

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

.PHONY: help setup reproduce test test-all retrain study benchmarks efficiency figures lab format lock clean

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

setup: $(READY)

# The stamp is written last, so an interrupted set-up is taken up again; a .venv without a working Python 3.11 and pip is
# made anew.
$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(IS_311)' 2>/dev/null || { \
		echo "Python 3.11 is needed and was not found$(if $(PYTHON), as '$(PYTHON)',);" \
		     "install it, or name it: make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(BIN)/python -c '$(IS_311)' 2>/dev/null && $(BIN)/python -m pip --version >/dev/null 2>&1 || { \
		echo "making $(VENV) with $$($(PYTHON) --version)"; \
		$(PYTHON) -m venv --clear $(VENV) || { \
			echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3.11-venv" >&2; \
			exit 1; }; }
	@echo "installing requirements.lock into $(VENV): some minutes, most of them for torch"
	@$(PIP) install --quiet $(PIP_OPTIONS) -r requirements.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@$(PIP) check
	@touch $@

reproduce: $(READY)
	$(BIN)/flare reproduce --profile mini $(REPRODUCE_OPTIONS)

# One thread a worker: several workers with a thread pool each only get in each other's way.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_OPTIONS)

test-all: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow or not slow" $(PYTEST_OPTIONS)

# Two trainings side by side, one core each. Interrupted, both go on from their last epoch: `timeout 8m make study` is a
# piece of it. The last step of `study` keeps seconds: let nothing else run then; stopped, it begins anew.
retrain: $(READY)
	$(BIN)/flare retrain --profile mini --jobs 2

study: $(READY)
	$(BIN)/flare retrain --profile study --ablations --seed 0 --seed 1 --seed 2 --jobs 2
	$(BIN)/flare ablate --profile study --timed

# On an idle machine, because others' work shows in the times. Interrupted, it goes on where it stopped.
efficiency: $(READY)
	$(BIN)/flare efficiency weights/* --sizes -o data/results/mini/efficiency.csv $(EFFICIENCY_OPTIONS)

# Seconds are those of this machine as it is now: let nothing else run.
benchmarks: $(READY)
	PIP_OPTIONS="$(PIP_OPTIONS)" $(BIN)/python benchmarks

# For maintainers: the README's figures, from what `make reproduce` has drawn.
figures: reproduce
	cp runs/mini/nvauto/figures/* figures/

# itkwidgets brings an extension that loads a script from the internet into every page of JupyterLab; it is switched off
# (jupyter/labconfig) unless asked for: make lab ITKWIDGETS=1.
lab: $(READY)
	$(if $(ITKWIDGETS),,JUPYTER_CONFIG_PATH="$(CURDIR)/jupyter") $(BIN)/jupyter lab notebooks/00_start_here.ipynb

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/nbstripout --keep-id notebooks/*.ipynb

# For maintainers: after changing packages in .venv, write down what is in it.
lock:
	{ echo "# Exact versions of everything; made by 'make lock'. torch stands without its build: see docs/gpu.md."; \
	  $(PIP) freeze --all --exclude-editable --exclude pip --exclude flare_core \
	  | sed -E 's/^(torch==[^+]*)\+.*/\1/; s/^(uvloop==.*)/\1 ; sys_platform != "win32"/' \
	  | sed -E 's/^((pexpect|ptyprocess)==.*)/\1 ; sys_platform != "win32"/' \
	  | awk '/^nvidia-ml-py==/ || !/^(nvidia-|cuda-|triton)/'; } > requirements.lock
	{ echo "# For conda users: the same pins as requirements.lock, made by 'make lock'."; \
	  printf '%s\n' "name: flare" "channels:" "  - conda-forge" "  - nodefaults" "dependencies:" \
	    "  - python=3.11" "  - pip" "  - pip:"; \
	  grep -v '^#' requirements.lock | sed "s/\"/'/g; s/.*/      - \"&\"/"; } > environment.yml

clean:
	rm -rf runs reports .pytest_cache .ruff_cache .hypothesis
	find flare_core tests -name __pycache__ -prune -exec rm -rf {} +
