# `make` alone prints the targets. Everything happens in .venv; nothing needs root.
PYTHON ?= python3
BIN := .venv/bin
COMPILED := $(shell find pgmux -name '*.pyx' -o -name '*.pxd' -o -name '*.h')

.PHONY: help build demo test test-fast test-systemd test-container chaos deaths soak docs bench bench-quick claims lint clean

help: ## print this
	@sed -n 's/^\([a-z-]*\):.*## /\1 /p' Makefile | while read -r target does; do printf '%-13s %s\n' "$$target" "$$does"; done

build: .venv/built ## make .venv with pgmux built and installed (seconds when nothing changed)

.venv/built: pyproject.toml $(COMPILED)
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo,top]'
	@touch $@

.venv/tested: pyproject.toml $(COMPILED)
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo,top,test,lint,docs,bench]'
	@touch .venv/built $@

demo: build ## a throw-away PostgreSQL with pgmux in front, compared with direct connections (KEEP=1: stays up)
	$(BIN)/pgmux demo $(if $(KEEP),--keep)

# Two at once, as most of the time is spent waiting. What loads the machine by itself, or counts, has it alone.
test: .venv/tested ## every test, on every PostgreSQL found
	$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not slow'
	$(BIN)/python -m pytest -m slow

test-fast: .venv/tested ## the tests that need no PostgreSQL: under a minute
	$(BIN)/python -m pytest -m 'not pg and not slow'

test-systemd: .venv/tested ## the unit under a real systemd, booted in a container (root; otherwise skipped)
	$(BIN)/python -m pytest -v tests/systemd

test-container: .venv/tested ## the image built by docker or podman and run (DOCKER_HOST=; otherwise skipped)
	PGMUX_CONTAINERS=1 $(BIN)/python -m pytest -v -rs tests/container

chaos: .venv/tested ## servers die at random for minutes, and nothing acknowledged is lost (SECONDS=300 SEED=)
	PGMUX_CHAOS_SECONDS=$(or $(SECONDS),300) PGMUX_CHAOS_SEED=$(or $(SEED),0) $(BIN)/python -m pytest -v -s tests/chaos

deaths: .venv/tested ## workers are killed under load: nothing is lost, and the time it takes is told (DEATHS=200 WORKERS=4)
	PGMUX_DEATHS=$(or $(DEATHS),200) PGMUX_WORKERS=$(or $(WORKERS),4) $(BIN)/python -m pytest -q -s tests/chaos/test_deaths.py

soak: .venv/tested ## does anything grow? (CONNECTIONS=1000000 TRANSACTIONS=10000000)
	$(BIN)/python -m loadtest.soak --connections $(or $(CONNECTIONS),1000000) --transactions $(or $(TRANSACTIONS),10000000)

bench: .venv/tested ## side by side with direct connections and PgBouncer, about fifteen minutes (ARGS=--help)
	$(BIN)/python -m loadtest $(ARGS)

bench-quick: .venv/tested ## the same in under two minutes
	$(BIN)/python -m loadtest --quick

claims: .venv/tested ## the seven claims of docs/performance.md, measured here (N=3: one of them)
	$(BIN)/python -m loadtest.claims $(N) $(ARGS)

docs: .venv/tested ## the manual as HTML in site/, and man pages in site/man
	$(BIN)/mkdocs build --quiet --strict
	$(BIN)/python -m docs.man site/man

docs/top.svg: docs/top_picture.py $(wildcard pgmux/top/*.py) | .venv/tested
	$(BIN)/python -m docs.top_picture $@

docs/performance.md: loadtest/claims/document.py $(wildcard loadtest/results/*.json loadtest/results/claims/*.json) | .venv/tested
	$(BIN)/python -m loadtest.claims.document > $@.new && mv $@.new $@

docs/hidden-state.md: tests/hidden/situations.py tests/hidden/comparison.py | .venv/tested
	$(BIN)/python -m tests.hidden.comparison > $@.new && mv $@.new $@

lint: .venv/tested ## ruff, mypy --strict, cython-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict -p pgmux
	$(BIN)/mypy --strict tests loadtest docs
	PATH=$(BIN):$$PATH $(BIN)/cython-lint pgmux

clean: ## remove .venv and everything built
	rm -rf .venv build site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
	find pgmux -name '*.so' -delete -o -name '*.c' -delete
