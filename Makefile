# The two commands: `make book` builds the site, `make test` proves it. Needs python3 (3.11 to 3.13) and make.
SHELL := /bin/sh
PYTHON ?= python3
JOBS ?= 2
BIN := .venv/bin

# Added to pip's command line, for instance to take torch from another index (see the README).
PIP_EXTRA ?=
# What `make run` executes (a paper's id, a chapter, a part; empty: every notebook), and how.
PAPER ?=
PROFILE ?=

.PHONY: help book run test colab clean
.DEFAULT_GOAL := help

help:
	@echo "make book                  execute what has no valid result, build the site into book/_build/html"
	@echo "make run                   execute every notebook afresh; make run PAPER=resizemix: that one"
	@echo "make test                  style, unit, notebook, page and Colab tests, benchmarks"
	@echo "make colab                 try the notebooks with the package versions that Colab carries"
	@echo "make clean                 remove the environment, the results and the built site"
	@echo "Variables: PYTHON=python3.12  JOBS=2  PROFILE=smoke|book|judge  PIP_EXTRA='options for pip'"

# The environment; made again when what it is made from has changed. The stamp is written last, so that an
# interrupted installation is taken up again.
.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else \
	  "The book needs Python 3.11, 3.12 or 3.13; $(PYTHON) is %d.%d. Try: make book PYTHON=python3.12" % v)'
	@echo "Making the environment in .venv: 0.5 GB to download, more with CUDA (README.md), and a few minutes"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_EXTRA) \
	  -c constraints.txt -e ".[run,book,endpoint,adapters,retrieve,test]"
	@touch $@

# The two steps of the book, as one shell command: a failed notebook must not keep the other pages from being
# built, but the exit status tells. What passed before them is the time that the environment took.
START := $(shell date +%s)
build = installed=$$(date +%s); \
	$(BIN)/labkit run --jobs $(JOBS); ran=$$?; executed=$$(date +%s); \
	$(BIN)/python book/build.py; rendered=$$?; built=$$(date +%s); \
	echo; \
	echo "environment  $$((installed - $(START))) s"; \
	echo "notebooks    $$((executed - installed)) s"; \
	echo "pages        $$((built - executed)) s"; \
	if [ $$ran -ne 0 ]; then echo "At least one notebook failed; its page says so."; fi; \
	[ $$ran -eq 0 ] && [ $$rendered -eq 0 ]

book: .venv/.installed
	@$(build)

run: .venv/.installed
	$(BIN)/labkit run --fresh --jobs $(JOBS) $(if $(PROFILE),--profile $(PROFILE)) $(PAPER)

# Every step is taken even if an earlier one failed; pytest comes last, so that its count closes the output.
test: .venv/.installed
	@failed=; \
	$(BIN)/ruff check . || failed="$$failed ruff-check"; \
	$(BIN)/ruff format --check . || failed="$$failed ruff-format"; \
	( $(build) ) || failed="$$failed book"; \
	$(BIN)/python -m pytest --benchmark-min-rounds=3 --benchmark-max-time=0.5 tests/benchmarks || \
	  failed="$$failed benchmarks"; \
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --doctest-modules --durations=15 \
	  --ignore tests/benchmarks labkit scripts tests || failed="$$failed pytest"; \
	if [ -n "$$failed" ]; then echo "make test failed in:$$failed"; exit 1; fi

colab: .venv/.installed
	$(BIN)/python scripts/colab_check.py

clean:
	rm -rf .venv .labkit book/_build dist build .pytest_cache .ruff_cache .benchmarks
