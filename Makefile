# make run: talk. make test: everything, on every Python from 3.11 on (make pythons). make nightly: what takes longer.
# make bench, make bench-gpu: the README's figures.
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
CHROMIUM := $(firstword $(foreach name,chromium chromium-browser google-chrome,$(shell command -v $(name) 2>/dev/null)))

# What is missing of them: a browser, and people who speak, recorded.
DEBIAN := $(if $(CHROMIUM),,chromium) $(if $(wildcard /usr/share/pocketsphinx/test/data/librivox),,pocketsphinx-testdata)

.PHONY: run test nightly pythons bench bench-gpu lint check debian clean

run: .venv/run.done
	@$(BIN)/duologue pull && exec $(BIN)/duologue serve $(ARGS)

test: .venv/dev.done debian lint check pythons

lint: .venv/dev.done
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports --no-cache

check: .venv/dev.done .venv/npm.done
	@$(BIN)/duologue pull && $(BIN)/python -m pytest -p no:cacheprovider

nightly: .venv/dev.done
	@SESSIONS=20000 $(BIN)/python -m pytest -p no:cacheprovider tests/conversation/test_random_sessions.py

pythons: .venv/dev.done
	@$(BIN)/duologue pull && $(BIN)/python tests/pythons.py

bench: .venv/dev.done debian
	@$(BIN)/duologue pull && $(BIN)/python -m bench

bench-gpu: .venv/dev.done
	@$(BIN)/python -m bench.gpu

debian:
	@if [ -n "$(strip $(DEBIAN))" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing what the tests need of Debian: $(strip $(DEBIAN))"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(DEBIAN) >/dev/null; \
	  else \
	    echo "some tests are skipped; to run them, too: apt install $(strip $(DEBIAN))"; \
	  fi; \
	fi

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Duologue needs Python 3.11 or newer; name one: make run PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv .venv >/dev/null 2>&1 \
	  || { rm -rf .venv; echo "Python cannot make a virtual environment; install python3-venv (apt install python3-venv)" >&2; exit 1; }

.venv/run.done .venv/dev.done: .venv/%.done: .venv/bin/python pyproject.toml
	@echo "installing Duologue and what it needs into .venv (once, about a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(if $(filter dev,$*),dev,all)]' \
	  2>.venv/install.log \
	  || { tail -n 3 .venv/install.log >&2; echo "pip could not install it: check that the package registry can be reached, and that this Python has wheels (3.11 and 3.13 have all: make run PYTHON=python3.13), then run make again" >&2; exit 1; }
	@touch $@

# Clients of npm that the tests drive.
NODE := tests/transports/realtime/node/package.json
.venv/npm.done: $(NODE) | .venv/bin/python
	@if command -v npm >/dev/null; then \
	  mkdir -p .venv/npm && cp $(NODE) .venv/npm/ \
	  && npm install --prefix .venv/npm --loglevel=error --no-audit --no-fund >.venv/npm.log 2>&1 \
	  || { echo "some tests are skipped: npm could not install their clients; see .venv/npm.log"; exit 0; }; \
	  touch $@; \
	else echo "some tests are skipped; to run them, too, install Node and npm"; fi

clean:
	rm -rf .venv
