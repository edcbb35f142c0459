# make train    set up, train on synthetic radiographs, show the result   (ARGS="task=classification")
# make test     set up, run the tests                                     (ARGS="-k cache")
# make check    linters and type checker
# make dashboard    TensorBoard on outputs/

PYTHON ?= python3
BIN := .venv/bin

.PHONY: train test check dashboard

train: .venv/installed
	$(BIN)/python train.py $(ARGS)

test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers 2

dashboard: .venv/installed
	$(BIN)/boneage dashboard outputs

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -e '.[dev]'
	touch $@
