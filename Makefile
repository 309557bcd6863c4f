# treadle: every developer command. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
TORCH := torch==2.13.0
K ?=
QUESTION := Invent a sailor: who is she, how old is she, and what can she do?
LINT := python tests scripts benchmarks cpp

.DEFAULT_GOAL := help
.PHONY: help setup demo core wasm page wheel check check-types check-text test test-core test-web bench size fuzz clean format

help:            ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

$(VENV)/.base: pyproject.toml CMakeLists.txt scripts/system_packages.sh
	@PYTHON=$(PYTHON) scripts/system_packages.sh
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install -q --disable-pip-version-check "scikit-build-core>=0.11,<2" "nanobind>=2.9.2,<4" "cmake>=3.25,<5" "ninja>=1.11,<2"
	@echo "building treadle" >&2
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PY) -m pip install -q --disable-pip-version-check --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	@echo "installing test and developer packages" >&2
	@PYTHON=$(PYTHON) scripts/system_packages.sh gpu || echo "tests of WGSL kernels will be skipped" >&2
	@$(PY) -m pip install -q --disable-pip-version-check $(TORCH)
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PY) -m pip install -q --disable-pip-version-check --no-build-isolation -e ".[dev]"
	@$(PY) -m pip install -q --disable-pip-version-check --no-deps "flashinfer-bench==0.1.2"
	@touch $@

setup: $(VENV)/.dev  ## virtual environment, editable build, git hooks
	@git config core.hooksPath scripts/hooks 2>/dev/null || true

core:            ## rebuild the C++ core after a change, and its type stub
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PY) -m pip install -q --disable-pip-version-check --no-build-isolation --no-deps -e .
	@$(PY) -m nanobind.stubgen -q -m treadle._core -p cpp/bind/stub.pat -o build/_core.pyi
	@$(VENV)/bin/ruff format -q --isolated build/_core.pyi && mv build/_core.pyi python/treadle/_core.pyi

wasm: $(VENV)/.dev  ## the grammar engine for tab and node, build/wasm/core.wasm
	@$(PY) scripts/build_wasm.py

web/node_modules/.installed: web/package.json web/package-lock.json
	@PYTHON=$(PYTHON) scripts/system_packages.sh node
	@cd web && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

demo: $(VENV)/.base  ## a real model answers as JSON; the last line is the JSON
	@$(VENV)/bin/treadle run "$(QUESTION)" --schema examples/person.schema.json --seed 8

check: $(VENV)/.dev  ## format, lint, types, layers, in under a minute
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target check-types check-text
	@echo "check passed"

check-types:
	@$(VENV)/bin/pyright --warnings

check-text:
	@$(VENV)/bin/ruff format --check -q $(LINT)
	@$(VENV)/bin/ruff check -q $(LINT)
	@git ls-files --cached --others --exclude-standard -- 'cpp/*.cc' 'cpp/*.h' | xargs $(VENV)/bin/clang-format --dry-run --Werror
	@PYTHONPATH=python $(VENV)/bin/lint-imports --no-cache | tail -n 8
	@$(PY) scripts/size.py >/dev/null
	@$(PY) scripts/write_docs.py --check

test-core: $(VENV)/.dev  ## the C++ unit tests, against the very core that Python loads
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cmake -S . -B build/core -DTREADLE_TESTS=ON >/dev/null
	@$(VENV)/bin/cmake --build build/core
	@$(VENV)/bin/ctest --test-dir build/core --output-on-failure --no-tests=error

page: wasm web/node_modules/.installed  ## the browser page that `treadle web` serves, web/dist
	@cd web && npm run --silent dist

wheel: page      ## a wheel with the page inside, in dist/
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PY) -m pip wheel -q --disable-pip-version-check --no-build-isolation --no-deps -w dist .

test-web: page  ## the npm package in node and in Chromium, against the native engine's corpus
	@PYTHON=$(PYTHON) scripts/system_packages.sh browser
	@cd web && npm test --silent && npm run --silent test:browser

test: check test-core test-web  ## everything CI runs; K=grammar for one part
	@scripts/run_tests.sh $(K)

bench: $(VENV)/.dev  ## the benchmarks; JSON under benchmarks/results/
	@for script in benchmarks/bench_*.py; do $(PY) $$script || exit 1; done

fuzz:            ## libFuzzer targets, 60 seconds each (clang)
	@scripts/fuzz.sh

size:            ## files and lines by folder; fails above 500 lines a file
	@$(PYTHON) scripts/size.py

format:          ## rewrite files in the house style
	@$(VENV)/bin/ruff format -q $(LINT) && $(VENV)/bin/ruff check -q --fix $(LINT)
	@git ls-files --cached --others --exclude-standard -- 'cpp/*.cc' 'cpp/*.h' | xargs $(VENV)/bin/clang-format -i

clean:           ## remove everything that was built
	@rm -rf $(VENV) build dist web/build web/dist web/node_modules .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@rm -f python/treadle/_core*.so
