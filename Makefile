# Development commands: the demo, the tests, the linters. They need only make and Python 3.11 to 3.13:
# each target first creates the virtual environment it needs. `make help` lists the targets.

# The Python that creates the virtual environment, and its folder.
PYTHON ?= python3
VENV ?= .venv
# Number of test processes, and further arguments of pytest: make test ARGS="-k spline"
JOBS ?= 2
ARGS ?=

BIN := $(VENV)/bin
# No build isolation: the build tools are pinned in constraints.txt and installed, like the rest.
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --no-build-isolation -c constraints.txt
BUILD_TOOLS := hatchling setuptools wheel

VENV_READY := $(VENV)/.ready-venv
RUN_READY := $(VENV)/.ready-run
DEV_READY := $(VENV)/.ready-dev
SETTINGS := pyproject.toml constraints.txt flowzoo/_version.py

# Overrides ~/.keras/keras.json.
export KERAS_BACKEND := tensorflow
# Hide TensorFlow's start-up messages; its errors still show.
export TF_CPP_MIN_LOG_LEVEL ?= 2

define check-python
@command -v $(PYTHON) > /dev/null || { \
    echo "flowzoo needs Python 3.11, 3.12 or 3.13; '$(PYTHON)' was not found." >&2; \
    echo "Install one, or give its path: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
    echo "flowzoo needs Python 3.11, 3.12 or 3.13 (TensorFlow 2.21 has no wheels for others);" >&2; \
    echo "'$(PYTHON)' is $$($(PYTHON) --version 2>&1). Choose another: make PYTHON=python3.11 ..." >&2; exit 1; }
@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { \
    echo "'$(PYTHON)' cannot create virtual environments: its venv module is not installed." >&2; \
    echo "On Debian or Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
endef

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-slow bench-smoke test-serving lint format constraints clean distclean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(RUN_READY) ## Fit, sample, score and export small flows into demo_run/
	$(BIN)/flowzoo demo --out demo_run

test: $(DEV_READY) ## Run the fast tests and the examples in the docstrings
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m "not slow" $(ARGS)

test-slow: $(DEV_READY) ## Run the slow tests (pytest's exit status 5, no tests collected, is not a failure)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m slow $(ARGS) || [ $$? -eq 5 ]

test-serving: $(DEV_READY) ## Run tests/conversation against a real TF Serving
	$(BIN)/python -m pytest -m serving $(ARGS)

bench-smoke: $(DEV_READY) ## Compare speed ratios with stored bounds, in about a minute
	$(BIN)/python benchmarks/smoke.py

lint: $(DEV_READY) ## Check style, format, types and the order of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV_READY) ## Format the code and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

constraints: ## Resolve all packages again, in a temporary environment, into constraints.txt
	$(check-python)
	@set -eu; new=$$(mktemp -d); trap 'rm -rf "$$new"' EXIT; \
	$(PYTHON) -m venv "$$new"; \
	"$$new/bin/python" -m pip install --upgrade pip $(BUILD_TOOLS); \
	"$$new/bin/python" -m pip install --no-build-isolation -e '.[dev]'; \
	"$$new/bin/python" -m pip check; \
	{ \
	    echo "# The versions flowzoo is tested with. Made by \`make constraints\`; do not edit."; \
	    "$$new/bin/python" -c 'import platform as p; print("# Resolved on", p.system(), p.machine(), "with Python", p.python_version())'; \
	    "$$new/bin/python" -m pip freeze --all --exclude pip --exclude-editable; \
	} > "$$new/constraints.txt"; \
	cp "$$new/constraints.txt" constraints.txt

clean: ## Remove the output of the tools and the demo
	rm -rf build dist demo_run .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find flowzoo tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## Remove the virtual environment too
	rm -rf $(VENV)

$(RUN_READY): $(VENV_READY) $(SETTINGS)
	$(INSTALL) -e '.[onnx,plot]'
	@touch $@

$(DEV_READY): $(VENV_READY) $(SETTINGS)
	$(INSTALL) -e '.[dev]'
	@touch $(RUN_READY) $@

$(VENV_READY):
	$(check-python)
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) $(BUILD_TOOLS)
	@touch $@
