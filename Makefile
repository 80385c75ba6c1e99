# Everything a newcomer needs: `make run` and `make test`. Both install and start what they need.
# Settings: ISOLINE_PORT (8080) and the others of docs/settings.md.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# PYTHON=python3.13 make ... makes the environment with that Python, anew if it was made with another.
VENV ?= .venv
BIN := $(VENV)/bin
export VENV

help: ## Say what there is to make
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):[^#]*## /\1\t/' | expand -t 16

run: $(VENV)/.run ## Start everything on this machine, submit a real ECG, show what is found in it
	@$(BIN)/isoline up

stop: ## Stop what `make run` started
	@if [ -x $(BIN)/isoline ]; then $(BIN)/isoline down; else echo "Isoline is not installed here."; fi

status: ## Say whether it runs, and where
	@if [ -x $(BIN)/isoline ]; then $(BIN)/isoline status; else echo "Isoline is not installed here."; fi

logs: ## Show the end of its log
	@tail -n 50 "$${ISOLINE_VAR:-var}/isoline.log"

create-admin: $(VENV)/.run ## Create the first administrator
	@$(BIN)/isoline create-admin

test: $(VENV)/.dev rabbitmq redis pgbouncer chromium promtool kustomize npm-packages ## Run every test, on servers of its own
	@$(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

test-module: $(VENV)/.dev ## Run the unit tests of the insights alone
	@$(BIN)/pytest tests/unit/insights

faults: $(VENV)/.dev rabbitmq pgbouncer libfaketime ## Break every part under load (ONLY=name or mix, SEED=1 MINUTES=1), write docs/faults.md
	@$(BIN)/python -m tests.programs.faults $(if $(ONLY),--only "$(ONLY)") --seed $(or $(SEED),1) --minutes $(or $(MINUTES),1)

mutants: $(VENV)/.dev ## Change our code in one place at a time: which test notices? (ALL=1, ONLY=part or file, SEED=1)
	@$(BIN)/python -m tests.programs.mutants $(if $(ALL),--all) $(if $(ONLY),--only "$(ONLY)") --seed $(or $(SEED),1)

bench: $(VENV)/.dev rabbitmq wrk ## Measure Isoline beside its baselines (QUICK=1, ONLY=name), write var/bench/latest.json
	@$(BIN)/python -m tests.programs.benchmarks $(if $(QUICK),--quick) $(if $(ONLY),--only "$(ONLY)")

outages: $(VENV)/.dev rabbitmq redis ## Take every server away under load: how soon does each place tell why? (ONLY=name)
	@$(BIN)/python -m tests.programs.outages $(if $(ONLY),--only "$(ONLY)")

hostile: $(VENV)/.dev rabbitmq ## Measure what hostile clients cost a gateway (ONLY=text of a shape)
	@$(BIN)/python -m tests.programs.hostile $(if $(ONLY),--only "$(ONLY)")

compose-test: $(VENV)/.dev ## Start docker-compose.yml on a Docker of its own and roll it under load (root; apt)
	@scripts/compose-test

check: $(VENV)/.dev ## Format, lint, types, import contracts, security, compose file
	@$(BIN)/ruff format --check
	@$(BIN)/ruff check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/bandit --quiet --configfile pyproject.toml --recursive gateway shared isoline processor
	@$(BIN)/oxlint --deny-warnings gateway examples tests/javascript
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

# RABBITMQ=4 make ... uses the one below instead of this machine's.
rabbitmq: ## Install RabbitMQ, if this machine has none
	@scripts/install-rabbitmq$(RABBITMQ)

rabbitmq4: ## Unpack RabbitMQ 4 into var, for RABBITMQ=4 make test, and RABBITMQ=4 make faults
	@scripts/install-rabbitmq4

libfaketime:
	@scripts/install-libfaketime

redis:
	@scripts/install-redis

promtool: $(VENV)/.dev
	@scripts/install-promtool

kustomize: $(VENV)/.dev
	@scripts/install-kustomize

pgbouncer:
	@scripts/install-pgbouncer

wrk:
	@scripts/install-wrk

chromium:
	@scripts/install-chromium

npm-packages: $(VENV)/.dev tests/javascript/node_modules/.package-lock.json

catalogue: $(VENV)/.dev ## Describe the insights to the gateway and the command line, in shared/domain/catalogue.json
	@$(BIN)/python -m processor.insights

lock: $(VENV)/.dev ## Renew the locks: names, versions and hashes
	@scripts/lock

clean: stop ## Stop, and remove all that was built or stored
	@rm -rf .venv .venv-* tests/javascript/node_modules "$${ISOLINE_VAR:-var}" .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/.run: $(VENV)/.python requirements/embedded.lock pyproject.toml
	@scripts/install requirements/embedded.lock
	@touch $@

$(VENV)/.dev: $(VENV)/.python requirements/dev.lock pyproject.toml
	@scripts/install requirements/dev.lock
	@touch $@ $(VENV)/.run

tests/javascript/node_modules/.package-lock.json: tests/javascript/package-lock.json
	@scripts/install-npm-packages
	@touch $@

$(VENV)/.python: ask
	@scripts/venv

ask: # is no file: the Python is looked at each time

.PHONY: help run stop status logs create-admin test test-module hostile outages faults mutants compose-test check rabbitmq rabbitmq4 libfaketime redis pgbouncer promtool kustomize chromium npm-packages catalogue lock clean ask
