# All that can be done here, from nothing but make and Python 3.11 or newer. `make help` lists it.

PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
# The first Python that is new enough; PYTHON=... chooses another one.
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$name"; break; }; done)
# Python compiles what is imported when it first is; most of what the libraries bring never is.
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: --no-compile
# A stamp carries the checksum of its lock: a changed lock installs anew, an unchanged one costs nothing.
CORE := $(VENV)/.core-$(shell cksum < requirements/core.txt | cut -d' ' -f1)
DEV := $(VENV)/.dev-$(shell cat requirements/core.txt requirements/dev.txt | cksum | cut -d' ' -f1)

# What was compiled is kept, or each start would compile all anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run dev test check mutants bench bench-data lock screenshots clean

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: export PORT := $(PORT)
run: $(CORE) ## Start everything on http://127.0.0.1:8000 (PORT=... for another port)
	@$(BIN)/python -m digitalme.supervisor

dev: $(DEV) ## Install what tests and checks need

test: $(DEV) ## Run the tests: on SQLite, and with PostgreSQL, Redis and Chromium where installed (ARGS=... for pytest)
	@$(BIN)/python -m tests.run $(ARGS)

check: $(DEV) ## Run what CI runs: style, types, settings, and the tests on SQLite and on PostgreSQL with Redis
	@.ci/check

mutants: $(DEV) ## Change the vault and the key ring in one place at a time: do their tests notice? (ARGS=--help)
	@$(BIN)/python -m tests.mutants $(ARGS)

bench: $(CORE) ## Measure the gateway beside a direct call and nginx (ARGS=--help for what can be chosen)
	@$(BIN)/python -m bench.gateway $(ARGS)

bench-data: $(CORE) ## Measure pages, exports and sums with ten million calls on PostgreSQL (ARGS=--records 1000000 for fewer)
	@$(BIN)/python -m bench.data $(ARGS)

lock: ## Pin requirements/*.in anew, with hashes and without naming a host (UPGRADE=1 takes newer releases)
	@$(PYTHON) -m venv var/lock && var/lock/bin/python -m pip install --quiet --disable-pip-version-check uv
	@cd requirements && for name in core dev; do \
		../var/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
			--no-header --no-strip-extras $(if $(UPGRADE),--upgrade) $$name.in -o $$name.txt || exit 1; done
	@rm -rf var/lock

screenshots: $(DEV) ## Take the pictures in docs/images anew (needs Chromium)
	@$(BIN)/python -m tests.screenshots

clean: ## Remove what can be made again; keys (.env) and data (var/) stay
	rm -rf $(VENV) staticfiles .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(CORE): requirements/core.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; name one with PYTHON=/path/to/python3" >&2; exit 1; }
	@$(BIN)/python -c '' 2>/dev/null || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment (on Debian: apt-get install python3-venv)" >&2; exit 1; }; }
	@echo "Installing what the product needs ..."
	@$(BIN)/python $(PIP_INSTALL) -r requirements/core.txt
	@rm -f $(VENV)/.core-* && touch $@

$(DEV): $(CORE) requirements/dev.txt
	@echo "Installing what tests and checks need ..."
	@$(BIN)/python $(PIP_INSTALL) -r requirements/dev.txt
	@rm -f $(VENV)/.dev-* && touch $@
