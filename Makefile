# Everything works from a fresh clone with Python 3.11 or newer, Git and make.
PYTHON ?= python3
# As many tests at once as there are cores; TESTFLAGS=-n0 runs them one by one.
TESTFLAGS ?= -n auto --dist worksteal
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
INSTALL = $(BIN)/python -m pip install --quiet --constraint constraints.txt
# For any system and Python that the project supports; no address of a registry is written.
LOCKED := --quiet --universal --python-version 3.11 --constraint constraints.txt \
	--generate-hashes --no-emit-index-url --no-header --no-annotate

.DEFAULT_GOAL := help

.PHONY: help
help: ## Say what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

.PHONY: setup
setup: $(STAMP) ## Install the project and its tools into .venv (about half a minute)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; say which with: make PYTHON=python3.12"; exit 1; }
	@echo "Installing into $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(INSTALL) --group dev --editable .
	@touch $@

.PHONY: try
try: setup ## Run the examples on this machine: Git in, trained models and status out
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh scripts/try.sh

.PHONY: test
test: cluster-build ## Run all tests
	@$(BIN)/python -m pytest $(TESTFLAGS)

.PHONY: test-chart
test-chart: setup ## Compare the Helm chart with the overlays; builds Helm, some 4 minutes the first time
	@$(BIN)/python -m tests.cluster build --helm
	@$(BIN)/python -m pytest -n0 tests/test_chart.py

.PHONY: test-kueue
test-kueue: kueue-build ## Queue, preempt and give GPUs to trainings with a real Kueue
	@$(BIN)/python -m pytest $(TESTFLAGS) -m kueue

.PHONY: kueue-build
kueue-build: setup ## Build Kueue and a device plugin with Go: some 4 minutes the first time, besides the cluster
	@$(BIN)/python -m tests.cluster build --kueue

.PHONY: test-gcsfuse
test-gcsfuse: gcsfuse-build ## Train on Cloud Storage's FUSE, on a server that stands in for Google's
	@$(BIN)/python -m pytest $(TESTFLAGS) -m gcsfuse

.PHONY: gcsfuse-build
gcsfuse-build: setup ## Build gcsfuse and that server with Go: some 3 minutes the first time, besides the cluster
	@$(BIN)/python -m tests.cluster build --gcsfuse

.PHONY: test-policies
test-policies: policies-build ## See the NetworkPolicies of deploy/ enforced by a real kube-router
	@$(BIN)/python -m pytest $(TESTFLAGS) -m policies

.PHONY: policies-build
policies-build: setup ## Build kube-router with Go: some 2 minutes the first time, besides the cluster
	@$(BIN)/python -m tests.cluster build --policies

.PHONY: test-mountpoint
test-mountpoint: mountpoint-build ## Train on Mountpoint for S3 behind its own CSI driver, on an S3 server
	@$(BIN)/python -m pytest $(TESTFLAGS) -m mountpoint

.PHONY: mountpoint-build
mountpoint-build: setup ## Build those with Rust, C and Go: some 12 minutes the first time, besides the cluster
	@$(BIN)/python -m tests.cluster build --mountpoint

.PHONY: test-dashboards
test-dashboards: cluster-build ## Draw the dashboards with Grafana's libraries; needs Node, a minute or two the first time
	@$(BIN)/python -m tests.grafana.build
	@$(BIN)/python -m pytest -n0 tests/grafana

.PHONY: test-gitea
test-gitea: gitea-build ## Follow pull requests and request updates on a real Gitea
	@$(BIN)/python -m pytest $(TESTFLAGS) -m gitea

.PHONY: test-transformers
test-transformers: cluster-build ## Train with transformers on both engines; downloads PyTorch, 3 GB, the first time
	@RECONCILER_TEST_TRANSFORMERS=1 $(BIN)/python -m pytest -n0 -m transformers

.PHONY: gitea-build
gitea-build: setup ## Build that Gitea with Go and a C compiler: some 5 minutes the first time
	@$(BIN)/python -m tests.cluster build --gitea

.PHONY: check
check: setup ## Run lint and, beside it, the tests that need no cluster, containers or Gitea, and are not slow
	@$(MAKE) --no-print-directory --jobs=2 lint fast-tests

.PHONY: fast-tests
fast-tests: setup
	@$(BIN)/python -m pytest $(TESTFLAGS) -m 'not cluster and not slow and not containers and not gitea'

.PHONY: cluster
cluster: cluster-build ## Run a Kubernetes here, with a node, a registry and an S3 server (root on Linux)
	@$(BIN)/python -m tests.cluster up $(CLUSTERFLAGS)

.PHONY: cluster-build
cluster-build: setup ## Build that Kubernetes with Go: some 20 minutes the first time, then none
	@$(BIN)/python -m tests.cluster build

.PHONY: lint
lint: setup ## Check style, types and layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: soak
soak: setup ## Misuse a daemon by chance: MINUTES=60 ENGINE=local or kubernetes; SEED=... repeats one
	@$(BIN)/python -m tests.soak --engine $(or $(ENGINE),local) --minutes $(or $(MINUTES),60) \
		$(if $(SEED),--seed $(SEED))

.PHONY: simulate
simulate: setup ## Simulate faults in virtual time: SEEDS=20, each of STEPS=1000 steps, from SEED=0
	@$(BIN)/python -m tests.simulator --seed $(or $(SEED),0) --seeds $(or $(SEEDS),20) \
		--steps $(or $(STEPS),1000)

.PHONY: histories
histories: setup ## Play random histories of gates, budgets and collections: HISTORIES=10000 of SEED=0
	@LOOP_HISTORIES=$(or $(HISTORIES),10000) LOOP_SEED=$(or $(SEED),0) \
		$(BIN)/python -m pytest -n0 -s --timeout=0 tests/planner/test_any_loop.py -k whole_loop

.PHONY: bench
bench: cluster-build ## Measure, each figure beside a baseline of the same run, some 30 minutes; PARTS="push jobs"
	@mkdir -p dist
	@$(BIN)/python -m benchmarks $(PARTS) --json dist/figures.json

.PHONY: bench-forecast
bench-forecast: setup ## Measure the error of forecasts over 60 trainings or more, some 5 minutes; above 25 % it fails
	@$(BIN)/python -m benchmarks.forecast

.PHONY: bench-check
bench-check: bench ## Measure, and fail on a ratio that has left its range in benchmarks/ranges.yaml
	@$(BIN)/python -m benchmarks.check dist/figures.json

.PHONY: fuzz
fuzz: setup ## Search for texts that a parser cannot take: SECONDS=60 of each, TARGETS="manifest marker"
	@$(INSTALL) --group fuzz || { echo "atheris has no wheel for this Python and system"; exit 1; }
	@$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),60) $(TARGETS)

.PHONY: lock
lock: setup ## Write the daemon's dependencies, each file by its hash, to requirements*.lock
	@$(BIN)/uv pip compile $(LOCKED) pyproject.toml --output-file requirements.lock
	@$(BIN)/python -c 'import tomllib; \
		print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
		| $(BIN)/uv pip compile $(LOCKED) - --output-file requirements-build.lock

.PHONY: audit
audit: setup ## Look up known vulnerabilities of the locked dependencies (needs the network)
	@$(INSTALL) --group audit
	@$(BIN)/pip-audit --strict --disable-pip --require-hashes --progress-spinner off \
		--requirement requirements.lock --requirement requirements-build.lock \
		|| { echo "There are vulnerabilities, or no advisories could be read: see above."; exit 1; }

.PHONY: sbom
sbom: setup ## Write the locked dependencies as a CycloneDX SBOM to dist/sbom.cdx.json
	@$(INSTALL) --group sbom
	@$(BIN)/python -m tools.sbom

.PHONY: schemas
schemas: setup ## Write the published JSON Schemas to config/
	@for kind in model dataset config; do $(BIN)/reconciler schema $$kind > config/$$kind.schema.json; done

.PHONY: docs
docs: setup schemas ## Write the reference pages in docs/, and in deploy/ what is written
	@$(BIN)/python -m tools.chart
	@$(BIN)/python -m tools.reference
	@$(BIN)/python -m tools.dashboards
	@$(BIN)/python -m tools.alerts

.PHONY: clean
clean: ## Remove what was made
	rm -rf $(VENV) try .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
