PYTHON ?= python3
SOURCE ?= auto
KERNELS ?= auto
DURATION ?= 10
REPEATS ?= 1
USERS ?= 10,50,100
TASKS ?= translation,sentiment
PORT ?= 8000
SERVER ?= dynamic_batching
REQUESTS ?= 10000
# The server whose web/ and runtime/ make frames copies to the others.
FROM ?= optimized
RUN ?=
# Requests a second of make head-of-line-blocking; 0: half of what the server can do.
RATE ?= 0
# Of bench-full and ladder, whose figures are for print.
ROUNDS = $(if $(filter-out file,$(origin REPEATS)),$(REPEATS),3)
MAX_DURATION ?= 120

BIN := .venv/bin
# The make of macOS has no such option.
OUTPUT_SYNC := $(if $(filter output-sync,$(.FEATURES)),--output-sync=line)
# One folder a source and kind of kernels, so that changing them back and forth prepares nothing twice.
SOURCE_NAME := $(notdir $(patsubst %/,%,$(SOURCE)))
MODELS := models$(if $(filter-out auto,$(SOURCE)),-$(SOURCE_NAME))$(if $(filter-out auto,$(KERNELS)),-$(KERNELS))
BENCH = $(BIN)/python -m benchmark run --models $(MODELS) --tasks $(TASKS) --users $(USERS) \
	--duration $(DURATION) --repeats $(REPEATS) $(if $(RUN),--name $(RUN))

# Of another Python's packages nothing may get into .venv's.
unexport PYTHONHOME PYTHONPATH

.DEFAULT_GOAL := help
.PHONY: help setup models models-embedded serve-baseline serve-optimized serve-dynamic-batching bench \
	bench-baseline bench-optimized bench-dynamic-batching bench-full ladder offline-throughput peers open-loop capacity \
	overload head-of-line-blocking batch-timeline soak chaos plot report compare readme test test-fast fuzz lint frames clean

help: ## Show the targets and variables
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-24s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  SOURCE=auto|hub|embedded|random|FOLDER  where the models come from (now $(SOURCE))"
	@echo "  KERNELS=auto|native|onnxruntime         what INT8 models run on (now $(KERNELS))"
	@echo "  DURATION=$(DURATION)  measured seconds of a cell      REPEATS=$(REPEATS)  rounds over all cells"
	@echo "  USERS=$(USERS)  levels of concurrency    TASKS=$(TASKS)"
	@echo "  SERVER=$(SERVER)  of make open-loop and of make chaos (there all of them unless given)"
	@echo "  PORT=$(PORT)  of make serve-*                RUN=NAME  go on with an interrupted run"
	@echo "  FROM=$(FROM)  whose web/ and runtime/ make frames copies"
	@echo "  TORCH=cpu|cuda  the build of PyTorch, for Linux; changing it makes .venv anew"
	@echo "  RATE=$(RATE)  requests a second of make head-of-line-blocking; 0: half of what the server can do"

setup: ## Make .venv and install the pinned requirements, once
	@$(PYTHON) bootstrap.py

models: setup ## Prepare the models of SOURCE, once
	@$(BIN)/python optimize_model.py --source $(SOURCE) --kernels $(KERNELS) --output $(MODELS)

models-embedded: setup ## Prepare the embedded models, which tests and soak run on
	@$(BIN)/python optimize_model.py --source embedded --output $@

serve-baseline: models ## Serve the baseline on PORT
	GAP_MODELS_DIR=$(MODELS) $(BIN)/python -m baseline --port $(PORT)

serve-optimized: models ## Serve optimized on PORT, with the Redis of REDIS_URL or one of its own
	GAP_MODELS_DIR=$(MODELS) $(BIN)/python -m benchmark.measure.redis_server \
		$(BIN)/python -m optimized --port $(PORT)

serve-dynamic-batching: models ## Serve dynamic_batching on PORT
	GAP_MODELS_DIR=$(MODELS) $(BIN)/python -m dynamic_batching --port $(PORT)

bench: models ## Measure every server, then draw charts and a report under results/
	$(BENCH) --servers baseline,optimized,dynamic_batching

bench-baseline: models ## Measure the baseline alone
	$(BENCH) --servers baseline

bench-optimized: models ## Measure optimized alone: unique, in batches of 16, and with repeats
	$(BENCH) --servers optimized --workloads unique,unique:16,zipf

bench-dynamic-batching: models ## Measure dynamic_batching alone
	$(BENCH) --servers dynamic_batching

bench-full: models ## Measure everything in 3 rounds; typed again after an interruption, it goes on
	$(BIN)/python -m benchmark run --models $(MODELS) --servers baseline,optimized,dynamic_batching \
		--workloads unique,zipf --users $(USERS) --tasks $(TASKS) --duration $(DURATION) \
		--max-duration $(MAX_DURATION) --repeats $(ROUNDS) --name $(or $(RUN),full-$(SOURCE_NAME))

ladder: setup ## Measure one decision after the other, from the baseline up; it goes on like bench-full
	@$(BIN)/python optimize_model.py --source $(SOURCE) --kernels $(KERNELS) --output $(MODELS) --float32
	@$(BIN)/python optimize_model.py --source $(SOURCE) --kernels onnxruntime --output $(MODELS)-onnxruntime
	$(BIN)/python -m benchmark ladder --models $(MODELS) --tasks $(TASKS) --duration $(DURATION) \
		--max-duration $(MAX_DURATION) --repeats $(ROUNDS) --name $(or $(RUN),ladder-$(SOURCE_NAME))

offline-throughput: models ## Measure what a model does in one process with no HTTP: the limit of any server
	$(BIN)/python -m benchmark offline-throughput --models $(MODELS) --tasks $(TASKS)

.venv-peers/installed: requirements-peers.txt | setup
	@$(PYTHON) bootstrap.py peers
	@touch $@

peers: models .venv-peers/installed ## Measure translation in process beside CTranslate2 and Optimum, on one core
	$(BIN)/python -m peers.engines --models $(MODELS)

open-loop: models ## Offer SERVER more than it can do, with Poisson arrivals
	$(BIN)/python -m benchmark open-loop --models $(MODELS) --server $(SERVER) --task sentiment

chaos: models ## Send SERVER (or all) all that clients and machines do wrong, and check every answer
	$(BIN)/python -m chaos --models $(MODELS) $(if $(filter command line,$(origin SERVER)),--servers $(SERVER)) \
		--requests $(REQUESTS)

capacity: models ## Search the highest rate at which each server keeps its p95 within a limit
	$(BIN)/python -m benchmark capacity --models $(MODELS) --tasks $(TASKS)

overload: models ## Offer each server 0.5 to 4 times its capacity, with a deadline
	$(BIN)/python -m benchmark overload --models $(MODELS)

head-of-line-blocking: models ## Measure what a few long texts do to the many short ones
	$(BIN)/python -m benchmark head-of-line-blocking --models $(MODELS) --rate $(RATE)

batch-timeline: models ## Draw the life of the texts in a running batch
	$(BIN)/python -m benchmark batch-timeline --models $(MODELS)

soak: models-embedded ## 50,000 translations in a row: memory and open files must stay as they are
	$(BIN)/python -m benchmark soak --models models-embedded

plot: setup ## Redraw the latest run's charts from its files
	@$(BIN)/python -m benchmark plot

report: setup ## Rewrite the latest run's report from its files, and print its path
	@$(BIN)/python -m benchmark report

compare: setup ## Say whether run B is slower than run A by more than noise: make compare A=RUN B=RUN
	@$(BIN)/python -m benchmark compare $(A) $(B)

readme: setup ## Rewrite the README's figures and chart from results/reference/
	@$(BIN)/python -m benchmark readme

test: setup ## Lint, type check, and every test, on the embedded models
	@$(MAKE) --no-print-directory --jobs 2 $(OUTPUT_SYNC) lint models-embedded
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-fast: setup ## Tests of tests/fast.txt: a minute, on any system, without models
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile @tests/fast.txt

fuzz: models-embedded ## Send each server 20,000 requests made from its OpenAPI page, and check every answer
	PYTHONPATH=. $(BIN)/python tests/servers/fuzz_contract.py

lint: setup ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

frames: ## Copy web/ and runtime/ of one server, FROM, over those of the others
	@for floor in web runtime; do for server in baseline optimized dynamic_batching; do \
		if [ $$server != $(FROM) ] && [ -d $$server/$$floor ] && [ -d $(FROM)/$$floor ]; then \
			rm -rf $$server/$$floor && cp -r $(FROM)/$$floor $$server/$$floor; \
		fi; done; done

clean: ## Remove .venv, .venv-peers, prepared models and caches; results stay
	rm -rf .venv .venv-peers .cache/peers .cache/kernels models models-* .mypy_cache .ruff_cache .hypothesis
