PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
JOBS ?= 4

.PHONY: run test lint bench docs clean

# Install into a virtual environment of its own and serve the demonstration.
run: $(VENV)/installed
	$(BIN)/twistd -n pmmux --config examples/demo.ini

# Install what the tests need and run all of them; most of their time is waiting, so several at once.
test: $(VENV)/installed-for-tests
	$(BIN)/trial --jobs=$(JOBS) pmmux tests bench

lint: $(VENV)/installed-for-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --line-length 110 .
	$(BIN)/mypy

# Write the API reference to build/api.
docs: $(VENV)/installed-for-docs
	$(BIN)/python docs/generate_reference.py

bench: $(VENV)/installed-for-tests
	$(BIN)/python -m bench

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools

$(VENV)/installed: $(BIN)/python setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(VENV)/installed-for-tests: $(VENV)/installed
	$(BIN)/python -m pip install --quiet -e '.[test]'
	touch $@

$(VENV)/installed-for-lint: $(VENV)/installed
	$(BIN)/python -m pip install --quiet -e '.[lint,test]'
	touch $@

$(VENV)/installed-for-docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info _trial_temp* .mypy_cache .ruff_cache
