# Two commands matter: `make demo` shows it, `make test` proves it. Both do all set-up on a fresh machine.

PYTHON ?= python3
SERVE ?= 1
DAYS ?= 60
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo loop test check format audit bench bench-archive apennines kerman squares dated clean

demo: $(VENV)/.demo
	-$(BIN)/python web/build.py # without it, the plain page
	$(BIN)/colluvium demo --dir demo --days $(DAYS) $(if $(filter 0 no,$(SERVE)),--no-serve,--serve)

# Once around: a storm, scars in a SYNTHETIC scene, detection, acceptance, verification, retraining, promotion.
loop: $(VENV)/.dev
	$(BIN)/colluvium demo --loop --dir build/loop

test: $(VENV)/.dev
	tests/install_clients.sh
	$(BIN)/python web/build.py --dev
	$(BIN)/python -m pytest -n auto --dist worksteal --ignore tests/docker
	# By themselves: networks that an engine makes and removes disturb a browser's connections.
	$(BIN)/python -m pytest tests/docker

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Known vulnerabilities in what goes into the images; asks PyPI, so it needs a way there.
audit: $(BIN)/python
	$(PYTHON) -m venv build/audit
	build/audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	for list in docker/requirements/*.txt; do \
	  echo "$$list"; build/audit/bin/pip-audit --require-hashes --disable-pip --strict -r $$list || exit 1; \
	done

bench: $(VENV)/.dev
	tests/install_clients.sh
	$(BIN)/colluvium bench
	$(BIN)/python tests/benchmarks/bench_postgis.py
	$(BIN)/python tests/benchmarks/bench_tiles.py
	$(BIN)/python tests/benchmarks/bench_ingest.py --kind csv
	$(BIN)/python tests/benchmarks/bench_ingest.py --kind json

# An archive of 50 million readings, about 7 GB and ten minutes; and the six years of the Kerala dams, day by day.
bench-archive: $(VENV)/.dev
	$(BIN)/python tests/benchmarks/bench_archive.py
	$(BIN)/python tests/benchmarks/replay_kerala.py

# Reads the real Apennines case from ../shared/data (or COLLUVIUM_SHARED_DATA), writes under build/apennines/.
apennines: $(VENV)/.dev
	$(BIN)/python -m trainer.apennines

# Twelve models on five SYNTHETIC regions with a known truth, none of which any model was tuned on.
kerman: $(VENV)/.dev
	$(BIN)/colluvium compare -c config/kerman-synthetic.toml --protocol kerman --out build/kerman-compared \
	  --synthetic-seeds 201,202,203,204,205

# Real terrain and real dates, from ../shared/data (or COLLUVIUM_SHARED_DATA).
squares: $(VENV)/.dev
	$(BIN)/python -m trainer.cases.squares

dated: $(VENV)/.dev
	$(BIN)/python -m trainer.cases.dated

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed; name it with: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -y -qq python3-venv; \
	  else \
	    echo "Python's venv module is missing; on Debian or Ubuntu: sudo apt-get install python3-venv"; exit 1; \
	  fi
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[cpu,factors]'
	touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[cpu,dev]'
	touch $@ $(VENV)/.demo

clean:
	rm -rf build demo $(VENV) service/web/vendor web/node_modules
