# Two commands are enough: `make demo` to see it, `make test` to check it.
# Each environment is made from its own pins in constraints/ and made again when they change.

PYTHON ?= python3
ARGS ?=
PYTEST_ARGS ?=

VENV := .venv
ELASTICSEARCH8 := .venv-elasticsearch8
CONTRIB := .venv-contrib
# What the benchmarks measure, and what they compare it with.
MEASURED := .venv-otel-search
COMPARED := .venv-upstream .venv-edot .venv-logfire .venv-elastic-apm .venv-instrumentator

.DEFAULT_GOAL := help
.PHONY: help install demo browser screenshots test test-current test-elasticsearch8 test-contrib backends alerts dashboards env lint format constraints bench bench-growth bench-check clean

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 22

define environment
	$(PYTHON) -m venv --clear $(1)
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(2) $(3)
	@touch $(1)/installed
endef

TEST_TOOLS := aiosmtpd hypothesis pytest websockets

$(VENV)/installed: pyproject.toml constraints/current.txt
	$(call environment,$(VENV),constraints/current.txt,--editable '.[alerts$(,)cli$(,)demo$(,)kpis]' $(TEST_TOOLS) axe-playwright-python grafana-foundation-sdk gunicorn loguru mypy playwright ruff opentelemetry-configuration opentelemetry-distro python-json-logger trustme)

$(ELASTICSEARCH8)/installed: pyproject.toml constraints/elasticsearch8.txt
	$(call environment,$(ELASTICSEARCH8),constraints/elasticsearch8.txt,--editable '.[demo$(,)elasticsearch-dsl]' $(TEST_TOOLS))

$(CONTRIB)/installed: pyproject.toml constraints/contrib.txt
	$(call environment,$(CONTRIB),constraints/contrib.txt,--editable '.[contrib-elasticsearch]' $(TEST_TOOLS) elasticsearch httpx uvicorn)

, := ,

install: $(VENV)/installed ## the environment of the current lane

demo: $(VENV)/installed ## the sample search service, its embedded engine, real requests, and what came of them
	@$(VENV)/bin/otel-search demo $(ARGS)

test: backends browser test-current test-elasticsearch8 test-contrib ## all tests, in all lanes
	@echo "All lanes passed."

test-current: $(VENV)/installed ## newest FastAPI, elasticsearch 9.5
	$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

test-elasticsearch8: $(ELASTICSEARCH8)/installed ## elasticsearch 8.19 with elasticsearch-dsl 8.18
	$(ELASTICSEARCH8)/bin/python -m pytest tests/elasticsearch tests/demo $(PYTEST_ARGS)

test-contrib: $(CONTRIB)/installed ## contrib's instrumentors: FastAPI 0.141, elasticsearch 8.12
	$(CONTRIB)/bin/python -m pytest tests/contrib tests/elasticsearch $(PYTEST_ARGS)

backends: $(VENV)/installed ## build the Collector, Jaeger and Prometheus from their pins; cached outside the checkout
	@$(VENV)/bin/python -m tests.backends.build || { status=$$?; \
	if [ $$status -eq 3 ] && [ -z "$$OTEL_SEARCH_REQUIRE_BACKENDS" ]; \
	then echo "NOTICE: no usable Go: the tests against the real Collector, Jaeger and Prometheus will be skipped."; \
	else exit $$status; fi; }

alerts: $(VENV)/installed ## write the alert rules in collector/ for Prometheus and Alertmanager
	$(VENV)/bin/otel-search alerts render --out collector --smtp-host mailpit --smtp-port 1025 --smtp-security plain

dashboards: $(VENV)/installed ## generate collector/grafana from the telemetry schema
	@$(VENV)/bin/python -m dashboards

env: $(VENV)/installed ## passwords for docker-compose.yml into .env, unless there is one
	@$(VENV)/bin/otel-search stack env

browser: $(VENV)/installed ## find Chromium for the tests of the viewer's page
	@$(VENV)/bin/python -m tests.backends.chromium || { status=$$?; \
	if [ $$status -eq 3 ] && [ -z "$$OTEL_SEARCH_REQUIRE_BACKENDS" ]; \
	then echo "NOTICE: no Chromium: the tests of the viewer's page in a browser will be skipped."; \
	else exit $$status; fi; }

screenshots: $(VENV)/installed browser ## take the pictures in docs/images anew, from the demo
	@$(VENV)/bin/python -m tests.viewer.screenshots

lint: $(VENV)/installed ## style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(VENV)/installed ## let ruff mend what it can
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

constraints: ## resolve the newest versions and pin them anew
	$(PYTHON) constraints/resolve.py

$(COMPARED:%=%/installed): .venv-%/installed: constraints/%.txt
	$(call environment,.venv-$*,constraints/$*.txt,--requirement constraints/$*.txt)

$(MEASURED)/installed: pyproject.toml constraints/otel-search.txt
	$(call environment,$(MEASURED),constraints/otel-search.txt,--editable . 'elasticsearch[async]' uvicorn)

bench: $(VENV)/installed $(MEASURED)/installed $(COMPARED:%=%/installed) ## what telemetry costs beside what others cost, as ratios within one run
	$(VENV)/bin/python -m benchmarks.overhead $(ARGS)

bench-growth: $(VENV)/installed $(MEASURED)/installed ## how the cost of a request grows with what it could grow with
	$(VENV)/bin/python -m benchmarks.growth $(ARGS)

bench-check: $(VENV)/installed $(MEASURED)/installed .venv-upstream/installed ## whether it costs more than the ratios kept in the repository
	$(VENV)/bin/python -m benchmarks.check $(ARGS)

clean: ## remove the environments; the backends' cache stays
	rm -rf $(VENV) $(ELASTICSEARCH8) $(CONTRIB) $(MEASURED) $(COMPARED) .mypy_cache .pytest_cache .ruff_cache .hypothesis
