#: auto, hub, embedded, random or a folder: where the models come from
SOURCE ?= auto
#: auto, native or onnxruntime: what INT8 models run on
KERNELS ?= auto
#: levels of concurrent users
USERS ?= 10,50,100
#: tasks to measure
TASKS ?= translation,sentiment
#: measured seconds of a cell
DURATION ?= 10
#: longest duration of an unstable cell, of bench-full and ladder
MAX_DURATION ?= 120
#: rounds over all cells; bench-full and ladder have 3 by default
REPEATS ?= 1
#: name of the run of bench*; an interrupted run of this name is resumed
RUN ?=
#: servers of open-loop and chaos; all by default
SERVER ?=
#: requests per second of head-of-line-blocking; 0: half of the capacity
RATE ?= 0
#: requests of chaos per server
REQUESTS ?= 10000
#: port of demo and serve-*
PORT ?= 8000
#: server whose web/ and runtime/ `make frames` copies
FROM ?= optimized
#: Python that makes .venv
PYTHON ?= python3
#: cpu or cuda: build of PyTorch on Linux; a change makes .venv again
TORCH ?=

BIN := .venv/bin
# One folder per source and kind of kernels, so that changing them back and forth prepares nothing twice.
SOURCE_NAME = $(notdir $(patsubst %/,%,$(SOURCE)))
MODELS = models$(if $(filter-out auto,$(SOURCE)),-$(SOURCE_NAME))$(if $(filter-out auto,$(KERNELS)),-$(KERNELS))
PREPARE = @$(BIN)/python optimize_model.py
BENCHMARK = $(BIN)/python -m benchmark
PYTEST = $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
CELLS = --models $(MODELS) --tasks $(TASKS) --users $(USERS) --duration $(DURATION) --repeats $(REPEATS)
PEERS_RUN = $(or $(RUN),peers-$(SOURCE_NAME))
NAMED = $(if $(RUN),--name $(RUN))

# No package of another Python may get into .venv.
unexport PYTHONHOME PYTHONPATH

.DEFAULT_GOAL := help
.PHONY: help setup demo models models-embedded serve-baseline serve-optimized serve-dynamic-batching serve-ray bench \
	bench-baseline bench-optimized bench-dynamic-batching bench-full ladder offline-throughput bench-peers \
	bench-deployments open-loop capacity head-of-line-blocking batch-timeline soak chaos plot report compare readme \
	test test-fast test-slow test-deploy fuzz lint frames clean

##@ Start here
setup: ## Make .venv and install the pinned requirements, once
	@$(PYTHON) bootstrap.py

# Unless SOURCE is given, in the environment or on the command line.
demo: SOURCE := $(if $(filter file,$(origin SOURCE)),embedded,$(SOURCE))
demo: models ## Serve a page on PORT that compares the servers, with small models unless SOURCE names others
	$(BIN)/python -m demo --models $(MODELS) --port $(PORT)

bench-baseline: models ## Measure the baseline
	$(BENCHMARK) run $(CELLS) $(NAMED) --servers baseline

bench-optimized: models ## Measure optimized: unique texts, batches of 16, repeated texts
	$(BENCHMARK) run $(CELLS) $(NAMED) --servers optimized --workloads unique,unique:16,zipf

bench-dynamic-batching: models ## Measure dynamic_batching
	$(BENCHMARK) run $(CELLS) $(NAMED) --servers dynamic_batching

bench: models ## Measure all servers; charts and a report under results/
	$(BENCHMARK) run $(CELLS) $(NAMED) --servers baseline,optimized,dynamic_batching

serve-dynamic-batching: models ## Serve dynamic_batching on PORT
	GAP_MODELS_DIR=$(MODELS) $(BIN)/python -m dynamic_batching --port $(PORT)

##@ Serve
serve-baseline: models ## Serve the baseline on PORT
	GAP_MODELS_DIR=$(MODELS) $(BIN)/python -m baseline --port $(PORT)

serve-optimized: models ## Serve optimized on PORT, with the Redis at REDIS_URL or a temporary one
	GAP_MODELS_DIR=$(MODELS) $(BIN)/python -m benchmark.measure.redis_server \
		$(BIN)/python -m optimized --port $(PORT)

serve-ray: models ## Serve dynamic_batching on Ray Serve on PORT, a replica a core as load comes
	@echo "installing deploy/ray_serve/requirements.txt into .venv-peers (once)"
	@$(BIN)/python -m peers.environments deploy/ray_serve/requirements.txt
	@sed 's/port: 8000/port: $(PORT)/' deploy/ray_serve/serve.yaml > .venv-peers/deploy-ray_serve/serve.yaml
	set -a; . deploy/ray_serve/ray.env; GAP_MODELS_DIR=$(abspath $(MODELS)) PYTHONPATH=$(CURDIR) \
		exec .venv-peers/deploy-ray_serve/bin/serve run .venv-peers/deploy-ray_serve/serve.yaml

##@ Measure
bench-full ladder: REPEATS = 3

bench-full: models ## Measure everything in 3 rounds; run it again to resume
	$(BENCHMARK) run $(CELLS) --name $(or $(RUN),full-$(SOURCE_NAME)) --max-duration $(MAX_DURATION) \
		--servers baseline,optimized,dynamic_batching --workloads unique,zipf

ladder: setup ## Measure each engineering decision alone; run it again to resume
	$(PREPARE) --source $(SOURCE) --kernels $(KERNELS) --output $(MODELS) --float32
	$(PREPARE) --source $(SOURCE) --kernels onnxruntime --output $(MODELS)-onnxruntime
	$(BENCHMARK) ladder --models $(MODELS) --tasks $(TASKS) --duration $(DURATION) --repeats $(REPEATS) \
		--max-duration $(MAX_DURATION) --name $(or $(RUN),ladder-$(SOURCE_NAME))

capacity: models ## Search the highest rate at which each server keeps its p95 within a limit
	$(BENCHMARK) capacity --models $(MODELS) --tasks $(TASKS)

open-loop: models ## Send each server 0.5 to 4 times its capacity, with a deadline
	$(BENCHMARK) open-loop --models $(MODELS) $(if $(SERVER),--servers $(SERVER))

head-of-line-blocking: models ## Measure what a few long texts cost the many short ones
	$(BENCHMARK) head-of-line-blocking --models $(MODELS) --rate $(RATE)

batch-timeline: models ## Draw when each sequence of a running batch starts and ends
	$(BENCHMARK) batch-timeline --models $(MODELS)

offline-throughput: models ## Measure one core without a server: the limit of any server
	$(BENCHMARK) offline-throughput --models $(MODELS) --tasks $(TASKS)

bench-peers: models ## Measure other serving systems and engines with the same models; run it again to resume
	$(BIN)/python -m peers.servers --models $(MODELS) --tasks $(TASKS) --users $(USERS) --name $(PEERS_RUN)
	$(BIN)/python -m peers.engines --models $(MODELS) --tasks $(TASKS) --name $(PEERS_RUN)

bench-deployments: models ## Measure dynamic_batching on one core, on all, and behind Ray Serve
	$(BIN)/python -m peers.deployments --models $(MODELS) --tasks $(TASKS) $(NAMED)

##@ Draw and compare
plot: setup ## Draw the charts of the latest run
	@$(BENCHMARK) plot

report: setup ## Write the report of the latest run
	@$(BENCHMARK) report

compare: models ## Measure two git revisions in turns: is B slower than A? make compare A=HEAD B=.
	@$(BENCHMARK) compare --models $(MODELS) $(A) $(B)

readme: setup ## Rewrite the tables and charts of README.md and docs/ from results/reference/
	@$(BENCHMARK) readme

##@ Models
models: setup ## Prepare the models of SOURCE, once
	$(PREPARE) --source $(SOURCE) --kernels $(KERNELS) --output $(MODELS)

models-embedded: setup ## Prepare the embedded models, which tests and soak use
	$(PREPARE) --source embedded --output $@

##@ Check
test: setup ## Run ruff, mypy and all tests but those of test-slow and test-deploy
	@$(MAKE) --no-print-directory --jobs 2 lint models-embedded
	$(PYTEST) $(addprefix --ignore=,$(shell cat tests/slow.txt tests/deploy.txt))

test-slow: models-embedded ## Test preparation, real model sizes, faults, fuzzing, soak and other systems
	$(PYTEST) @tests/slow.txt

test-deploy: models-embedded ## Test deploy/, with Prometheus and nginx where they are installed
	@echo "installing deploy/requirements.txt into .venv-peers (once)"
	@$(BIN)/python -m peers.environments deploy/requirements.txt
	.venv-peers/deploy/bin/python -m pytest tests/deploy

test-fast: setup ## Run the tests that need neither models nor servers, in a minute
	$(PYTEST) @tests/fast.txt

lint: setup ## Run ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fuzz: models-embedded ## Send each server 20,000 requests generated from its OpenAPI page
	PYTHONPATH=.:tests:tests/helpers $(BIN)/python tests/servers/fuzz_contract.py

chaos: models ## Send SERVER malformed and aborted requests while faults are injected
	$(BIN)/python -m chaos --models $(MODELS) $(if $(SERVER),--servers $(SERVER)) --requests $(REQUESTS)

soak: models-embedded ## Send 50,000 translations: memory and open files must stay constant
	$(BENCHMARK) soak --models models-embedded

##@ Tidy
frames: ## Copy web/ and runtime/ of the server FROM to the other servers
	@for part in web runtime; do for server in baseline optimized dynamic_batching; do \
		if [ $$server != $(FROM) ] && [ -d $$server/$$part ] && [ -d $(FROM)/$$part ]; then \
			rm -rf $$server/$$part && cp -r $(FROM)/$$part $$server/$$part; \
		fi; done; done

clean: ## Remove .venv, .venv-peers, prepared models and caches, but not results
	rm -rf .venv .venv-peers .cache/peers .cache/kernels models models-* .mypy_cache .ruff_cache .hypothesis

help: ## Show this help
	@awk -F ':.*## ' '/^##@/ {print "\n" substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-24s %s\n", $$1, $$2} \
		/^#: / {text = substr($$0, 4)} \
		/^[A-Z_]+ \?=/ {split($$0, part, " \\?= ?"); all = all sprintf("  %-28s %s\n", part[1] "=" part[2], text)} \
		END {print "\nVariables, with their defaults\n" all}' $(MAKEFILE_LIST)
