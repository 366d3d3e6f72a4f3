# `make demo` and `make test` set up .venv themselves, in seconds once it exists.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# As the command line sets it: idle threads sleep, so that a busy machine does not slow torch down several times.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: setup demo test test-slow check gates docs bench soak clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,weights,serve,dicom,pacs,kaggle,keras,track,ray,dev]'
	touch $(READY)

demo: $(READY)
	rm -rf demo
	$(BIN)/pellucid demo --out demo

# Two halves run in parallel, one per core.
HALF := tests/bundle tests/cli tests/contracts tests/foreign tests/pacs tests/training tests/workflow
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
	$(MAKE) gates

# Rules about this code that no general linter knows; tools/gates.py says which.
gates: $(READY)
	$(BIN)/python tools/gates.py

docs: $(READY)
	$(BIN)/python docs/reference/generate.py

bench: $(READY)
	for file in $(filter-out benchmarks/soak.py,$(wildcard benchmarks/*.py)); do echo "== $$file"; $(BIN)/python $$file || exit 1; done

# Ten minutes of mixed load on a server, a fifth of it hostile.
soak: $(READY)
	$(BIN)/python benchmarks/soak.py

clean:
	rm -rf $(VENV) demo
