# On a machine with Python >= 3.11 and make: `make demo`, `make demo-real`, `make test`. Each makes .venv if it is not there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
REAL := $(VENV)/ready-real

.PHONY: demo demo-real test lint format docs clean

demo: $(READY)
	$(BIN)/biam-pipe run --dataset demo

demo-real: $(REAL)
	@echo "drawn pictures; weights trained on ImageNet (EfficientNet-Lite0), words of GloVe 6B (50 dimensions)"
	$(BIN)/biam-pipe run --config docs/demo-real.toml

test: $(READY)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(TESTS)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(READY)  # docs/settings.md, docs/adding.md with the table in README.md, and the reference from docstrings in build/reference
	$(BIN)/python -m docs.settings
	$(BIN)/python -m docs.adding
	$(BIN)/pdoc --docformat google --output-directory build/reference biam_pipe pipeline schemas dags cli

clean:
	rm -rf work build *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(REAL): $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[real]'
	touch $@
