# Everything from nothing but make and Python 3.11 or newer: `make help`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := -m pip --disable-pip-version-check --quiet
ENVIRONMENTS := tests/programs/environments
installed = $(patsubst %.txt,.venvs/%/.installed,$(notdir $(wildcard $(1)/*.txt)))
PROGRAMS := $(call installed,$(ENVIRONMENTS))
OCCASIONAL := $(call installed,$(ENVIRONMENTS)/occasional)
vpath %.txt $(ENVIRONMENTS) $(ENVIRONMENTS)/occasional
MODELS := .cache/models/.fetched
TESTS ?=

.PHONY: help setup demo test soak test-programs test-programs-all programs filesystems lint bench size clean
.DELETE_ON_ERROR:
.NOTPARALLEL:

help:
	@echo 'make demo            real models in a sandbox HOME: what every provider sees, by which link, at what cost'
	@echo 'make test            the tests, without the real programs (TESTS=... for some of them)'
	@echo 'make soak            the tests with large samples (SOAK=5: five times as large; SOAK=all: every system call)'
	@echo 'make test-programs   install the real programs under .venvs/ and let them read what was projected'
	@echo 'make test-programs-all   these and the large ones: vLLM, a whole Ollama (6 GB, some minutes more)'
	@echo 'make filesystems     the main job on each kind of file system: the matrix of docs/filesystems.md'
	@echo 'make lint            ruff and mypy'
	@echo 'make bench           the benchmarks: speed and memory, as ratios'
	@echo 'make size            the wheel in a fresh environment: bytes beyond huggingface_hub, and that it runs'
	@echo 'make setup           only the environment, in $(VENV)'
	@echo 'make clean           remove environments, fetched models and all that was built'
	@echo 'PYTHON=python3.12    takes another Python; 3.11 or newer'

setup: $(BIN)/.installed

$(BIN)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11: use PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) install --editable '.[dev]'
	@touch $@

$(MODELS): demo/fetch.py | $(BIN)/.installed
	$(BIN)/python demo/fetch.py
	@touch $@

demo: $(BIN)/.installed $(MODELS)
	$(BIN)/python demo/demo.py

test: $(BIN)/.installed
	$(BIN)/python -m pytest -m 'not programs' -n auto --dist loadfile --no-loadscope-reorder $(TESTS)

soak: SOAK ?= 1
soak: $(BIN)/.installed
	@mkdir -p .cache && rm -f .cache/figures
	@status=0; SOAK=$(SOAK) FAULTS_FIGURES=$(CURDIR)/.cache/figures $(BIN)/python -m pytest -m 'not programs' -n auto \
	    -vv --timeout 20000 --dist worksteal $(or $(TESTS),$(shell grep -rlE 'SOAK|support[.]soak' tests --include='test_*.py')) || status=$$?; \
	$(BIN)/python tests/faults/figures.py .cache/figures; exit $$status

test-programs: $(BIN)/.installed $(MODELS) $(PROGRAMS)
	$(BIN)/python -m pytest -m 'programs and not occasional' tests/programs --durations 8 $(TESTS)

test-programs-all: $(BIN)/.installed $(MODELS) $(PROGRAMS) $(OCCASIONAL)
	$(BIN)/python -m pytest -m programs tests/programs --durations 8 $(TESTS)

programs: $(PROGRAMS)

.venvs/%/.installed: %.txt
	$(PYTHON) -m venv --clear .venvs/$*
	$(if $(FIRST),-.venvs/$*/bin/python $(PIP) install $(FIRST))
	.venvs/$*/bin/python $(PIP) install $(PIP_OPTIONS) --requirement $<
	$(if $(UNWANTED),.venvs/$*/bin/python $(PIP) uninstall --yes $(UNWANTED))
	@touch $@

.venvs/ollama/.installed .venvs/ollama-whole/.installed: PIP_OPTIONS := --no-deps
# where there is none for this Python, any torch does
.venvs/hub/.installed .venvs/fastchat/.installed .venvs/vllm/.installed: FIRST := torch==2.13.0
# built for another torch: transformers fails where they lie
.venvs/vllm/.installed: UNWANTED := torchvision torchaudio torchcodec

filesystems: $(BIN)/.installed
	SOAK=1 $(BIN)/python -m pytest -s tests/network/test_filesystems.py

lint: $(BIN)/.installed
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(BIN)/.installed
	$(BIN)/python benchmarks/run.py

size: $(BIN)/.installed
	$(BIN)/python benchmarks/installed.py

clean:
	rm -rf .venv .venvs .cache .hypothesis .mypy_cache .ruff_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
