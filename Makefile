# `make demo` and `make test` set up .venv by themselves; again in seconds when it is already there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# As the command line sets it: torch's threads wait asleep, so that a busy machine does not slow them many times over.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: setup demo test test-slow check docs bench clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,serve,dicom,kaggle,keras,track,ray,dev]'
	touch $(READY)

demo: $(READY)
	rm -rf demo
	$(BIN)/pellucid demo --out demo

# In two halves side by side, each on a core of its own: together about as long as one of them.
HALF := tests/bundle tests/cli tests/contracts tests/training tests/workflow
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow"

test: $(READY) check
	$(PYTEST) -p no:cacheprovider $(HALF) & half=$$!; \
	$(PYTEST) $(addprefix --ignore=,$(HALF)); rest=$$?; \
	wait $$half && exit $$rest

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY)
	$(BIN)/python docs/reference/generate.py

bench: $(READY)
	for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

clean:
	rm -rf $(VENV) demo
