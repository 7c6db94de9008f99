# What a fresh machine needs is here: python (3.11 or later), git, make. `make check` and `make test` build
# .venv once and are quick when run again: an editable install needs to be made anew only when
# the packaging or the version changes.

VENV ?= .venv
BIN := $(VENV)/bin
PACKAGING := pyproject.toml spec/loopspec/__init__.py
SAMPLE_SEED := 1

# The first interpreter that is really there (a shim may exist and fail) and new enough.
PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11 python,\
	$(shell $(name) -c 'import sys; sys.version_info >= (3, 11) and print("$(name)")' 2>/dev/null)))

.PHONY: check test lint types suite bench evidence kills mutants sample compiled compiler compiled-suite clean

# Exit status 1 is a verdict, that some loop breaks a MUST, and asyncio does: the command has done its work.
check: $(VENV)/installed
	$(BIN)/loopspec check refloop asyncio || test $$? -eq 1

# The suite comes last, so that the last line of a passing gate is pytest's.
test: lint types suite

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev
	$(BIN)/mypy

suite: $(VENV)/installed-dev
	$(BIN)/python -m pytest -q --full --numprocesses auto --dist loadfile --no-loadscope-reorder

# Measurements and no tests: they say what refloop costs beside its peers, and write docs/performance.md.
bench: $(VENV)/installed-bench
	$(BIN)/python -m bench --write

# Which tests and which mutants stand behind each clause, as `loopspec explain` tells it.
evidence: $(VENV)/installed-dev
	$(BIN)/python -m pytest -q --collect-only --write-evidence

# What kills each named mutant, how soon and with how few steps, as `loopspec mutants` tells it.
kills: $(VENV)/installed-dev
	$(BIN)/python -m tests.mutants.kills

# Every small change of the code, and whether the quick suite notices: hours for all; FILES are the modules.
FILES ?=
mutants: $(VENV)/installed-dev
	$(BIN)/python -m tests.mutants.generated $(FILES)

# The sample of the README: paste what this prints.
sample: $(VENV)/installed
	@COLUMNS=100 NO_COLOR=1 $(BIN)/loopspec check refloop asyncio --clause TIMER --clause LOOP.CLOSE \
	  --seed $(SAMPLE_SEED) | sed 's/ *$$//'

# The matrix of docs/conformance.md: LOOPS under each of PYTHONS, every one in an environment of its own.
PYTHONS ?= $(PYTHON)
LOOPS ?= refloop asyncio
EXTRAS ?=
EXAMPLES ?= 3000
conformance: $(VENV)/installed
	rm -rf build/conformance && mkdir -p build/conformance docs
	set -e; for python in $(PYTHONS); do \
	  version=$$("$$python" -c 'import platform; print(platform.python_version())'); \
	  "$$python" -m venv build/conformance/$$version; \
	  build/conformance/$$version/bin/python -m pip install --quiet --disable-pip-version-check \
	    --editable '.$(EXTRAS)'; \
	  build/conformance/$$version/bin/loopspec check $(LOOPS) --seed $(SAMPLE_SEED) --examples $(EXAMPLES) \
	    --json build/conformance/$$version.json > /dev/null || test $$? -eq 1; \
	done
	$(BIN)/loopspec report build/conformance/*.json --html build/conformance/report.html \
	  --format markdown > build/conformance/conformance.md || test $$? -eq 1
	mv build/conformance/conformance.md docs/conformance.md

# The specification as a site, in build/docs/html.
docs: $(VENV)/installed-dev
	$(BIN)/python -m loopspec.conformance.site build/docs

# refloop built by mypyc: a wheel for the Python of .venv, and an environment that has it, for `make bench`.
# compiled/hook.py says how.
COMPILED := build/compiled/venv/bin/python
compiled: compiler $(BIN)/python
	rm -rf build/compiled
	CC='$(CC)' HATCH_BUILD_HOOKS_ENABLE=1 $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps \
	  --wheel-dir build/compiled .
	$(BIN)/python -m venv build/compiled/venv
	$(COMPILED) -m pip install --quiet --disable-pip-version-check build/compiled/loopspec-*.whl
	@echo build/compiled/loopspec-*.whl

compiler:
	@command -v $(CC) > /dev/null || { \
	  echo 'make compiled needs a C compiler, and there is no $(CC): install gcc, or name one with `make compiled CC=/path/to/cc`' >&2; exit 2; }

# The suite once more, where refloop is that wheel; it says which tests are left out, and why.
compiled-suite: compiled
	$(COMPILED) -m pip install --quiet --disable-pip-version-check "$$(echo build/compiled/loopspec-*.whl)[dev]"
	$(COMPILED) -m pytest -q --full --numprocesses auto --dist loadfile --no-loadscope-reorder

clean:
	rm -rf $(VENV) build

$(BIN)/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo 'loopspec needs Python 3.11 or later$(if $(PYTHON), and $(PYTHON) is none): install one, or name one with `make PYTHON=/path/to/python3.11`' >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

$(VENV)/installed: $(PACKAGING) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/installed-bench: $(PACKAGING) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@ $(VENV)/installed

$(VENV)/installed-dev: $(PACKAGING) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/installed
