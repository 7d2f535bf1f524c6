# make demo: the whole method on MRPC (or the built-in sample task), from an empty clone to a table.
# make test: the tests. Each sets up what it needs in .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
CHECKPOINT := data/models/minilm-l6/model.safetensors

.PHONY: demo test lint clean

demo: .venv/installed $(CHECKPOINT)
	PEAKD_MODELS= $(BIN)/python scripts/demo.py

# Two processes, for tests compute on one core; a file's tests stay together, as they share what its fixtures have trained
test: .venv/installed-test $(CHECKPOINT) lint
	PEAKD_MODELS= $(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/installed-test
	$(BIN)/ruff check .

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	touch $@

.venv/installed-test: requirements-test.txt requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements-test.txt
	touch .venv/installed $@

$(CHECKPOINT): | .venv/installed
	$(BIN)/python data/models/fetch_checkpoint.py minilm-l6 --models_dir data/models

clean:
	rm -rf .venv .pytest_cache .ruff_cache
