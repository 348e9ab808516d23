# Two commands on a fresh machine: `make quickstart` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN ?= runs/quickstart-$(shell date +%Y%m%d-%H%M%S)

MINUTES ?= 5

.PHONY: help setup quickstart test test-slow fuzz lint format audit clean

help:
	@echo "make quickstart  install, train with TENET on the digits, sweep the corruptions (a few minutes)"
	@echo "make test        install, run the tests (a few minutes)"
	@echo "make test-slow   install, run the tests that take many seconds each"
	@echo "make fuzz        install, pass damaged files to all readers for MINUTES=5"
	@echo "make lint        install, check style and types"
	@echo "make setup       install into $(VENV)"
	@echo "make audit       check that the pinned packages install alone, and for known advisories"

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[search,models,slurm,attacks,publish,dashboards,test,lint]"
	@touch $@

quickstart: setup
	$(BIN)/python train.py experiment=quickstart trainer.epochs=4 hydra.run.dir=$(RUN)
	$(BIN)/python evaluate.py run=$(RUN)

# The tests start hundreds of processes, which need not compile the modules again where the environment says so.
test test-slow: export PYTHONDONTWRITEBYTECODE :=

test: setup
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile

test-slow: setup
	$(BIN)/python -m pytest -m "slow and not alone and not compiler" -n auto --maxprocesses 8 --dist loadfile
	$(BIN)/python -m pytest -m "alone and not compiler"

fuzz: setup
	$(BIN)/python -m tests.fuzz.readers --minutes $(MINUTES)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The pinned packages alone, in an environment of their own; then what is known against them (needs pypi.org).
audit:
	rm -rf build/audit
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r constraints.txt .
	build/audit/bin/python -m pip check
	build/audit/bin/python train.py --help > /dev/null
	build/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	build/audit/bin/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
