# `make` alone lists the targets. Each target installs what it needs into .venv.

BIN := .venv/bin

# The first Python that is new enough: that of .venv, else one on the PATH. `PYTHON=python3.12 make install` goes first.
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
ifndef PYTHON
PYTHON := $(shell for p in $(BIN)/python python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p $(NEW_ENOUGH) 2>/dev/null && echo $$p && break; done)
endif

define need_python
@$(or $(PYTHON),false) $(NEW_ENOUGH) 2>/dev/null || { \
	echo "localrouter needs Python 3.11 or newer, and $(or $(PYTHON),none is on the PATH)$(if $(PYTHON), is not)." \
	"Install one, or name it: PYTHON=/path/to/python3.12 make $@" >&2; exit 1; }
endef

define ensure
$(need_python)
@$(PYTHON) -m scripts.install $(1)
endef

.PHONY: help install serve test test-slow test-real test-gpu check-cuda test-air-gap check clients browser soak bench bench-goals demo-model clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\): .*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

install: ## install into .venv; BACKEND=auto|cpu|cuda|metal|vulkan|rocm chooses the hardware
	$(call ensure)

serve: ## run the server; ARGS="--port 8001" passes options on
	$(call ensure)
	@exec $(BIN)/localrouter serve $(ARGS)

# In two processes, because most tests wait for servers and workers half of the time. A file stays in one process; files
# run in their order, because those with few tests, which would be last, take longest.
IN_TWO := -n 2 --dist loadfile --no-loadscope-reorder
test: ## run the tests; ARGS="-k stream" passes options on
	$(call ensure,--dev)
	$(BIN)/python -m pytest $(IN_TWO) $(ARGS)

test-slow: ## the tests that take longest: conformance on random weights, short soaks, cache hits beside cold prefills, answers of the demo model
	$(call ensure,--dev)
	$(BIN)/python -m pytest -m slow $(IN_TWO) $(ARGS)

test-real: ## tests with real weights, SmolLM2 135M and Gemma 3 270M; downloads 330 MB, once
	$(call ensure,--dev)
	@$(BIN)/python -m scripts.real_weights
	$(BIN)/python -m pytest -m real tests/real $(ARGS)

# llama.cpp takes a Vulkan device in software, which llvmpipe is, only when it is named; the C file says what else that
# one needs.
KEPT_BUFFERS = $(CURDIR)/.venv-vulkan/kept_buffers.so
test-gpu: export BACKEND := $(or $(BACKEND),vulkan)
test-gpu: export GGML_VK_VISIBLE_DEVICES ?= 0
test-gpu: ## run tests/gpu with a Vulkan build, on Mesa's llvmpipe without a GPU; BACKEND=cuda|metal|rocm: on a GPU
	$(need_python)
	@case $(BACKEND) in auto|cpu) echo "BACKEND=$(BACKEND) names no GPU" >&2; exit 1;; esac
	$(if $(filter vulkan,$(BACKEND)),@$(PYTHON) -m scripts.vulkan_headers)
	$(call ensure,--dev --venv .venv-$(BACKEND))
	$(if $(filter vulkan,$(BACKEND)),@$(CC) -shared -fPIC -o $(KEPT_BUFFERS) tests/gpu/kept_buffers.c -ldl)
	$(if $(filter vulkan,$(BACKEND)),LD_PRELOAD=$(KEPT_BUFFERS)) .venv-$(BACKEND)/bin/python -m pytest -n 2 tests/gpu $(ARGS)

CUDA = $(PYTHON) -m scripts.cuda_toolkit --venv .venv-cuda
check-cuda: ## build for CUDA and check the build; needs nvcc, no GPU; 71 minutes of CPU time, so CI leaves it out
	$(need_python)
	@$(CUDA) $(PYTHON) -m scripts.install --dev --venv .venv-cuda
	$(CUDA) .venv-cuda/bin/python -m pytest tests/gpu/test_cuda_build.py $(ARGS)

test-air-gap: ## test an air-gapped install from a bundle with wheels; compiles llama.cpp for any CPU
	$(call ensure,--dev)
	LOCALROUTER_AIR_GAP=1 $(BIN)/python -m pytest tests/e2e/test_air_gap.py $(ARGS)

check: ## run ruff and mypy --strict
	$(call ensure,--dev)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

clients: ## test OpenAI's SDKs and clients built on them, each in an environment of its own; downloads them
	$(call ensure,--dev)
	LOCALROUTER_CLIENTS=1 $(BIN)/python -m pytest tests/e2e/test_clients.py $(ARGS)

browser: ## test what web pages can do with the server, in a headless Chromium, and OpenAI's JS client in a page; downloads playwright and the client
	$(call ensure,--dev)
	@$(PYTHON) -m scripts.chromium
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable '.[browser]'
	LOCALROUTER_BROWSER=1 $(BIN)/python -m pytest tests/browser $(ARGS)

soak: ## run thousands of random requests and faults on a model of each kind of KV cache; ARGS passes options on
	$(call ensure,--dev)
	$(BIN)/python -m tests.soak.chaos $(ARGS)
	$(BIN)/python -m tests.soak.schemas

bench: ## run the benchmarks, compared with llama-server where it is available; ARGS="--quick" passes options on
	$(call ensure)
	@exec $(BIN)/localrouter bench $(ARGS)

bench-goals: ## check the goals for any machine; ARGS=files: of commands for large files; ARGS=sampler: speed of the sampler
	$(call ensure,--dev)
	$(BIN)/python -m benchmarks $(ARGS)

demo-model: .venv-training/done ## train the demo model (needs torch, in an environment of its own)
	.venv-training/bin/python -m training.train $(ARGS)

.venv-training/done: training/requirements.txt
	$(or $(PYTHON),python3) -m venv .venv-training
	.venv-training/bin/pip install --disable-pip-version-check -c constraints.txt -r $<
	touch $@

clean: ## remove everything that the targets created, including environments
	rm -rf .venv .venv-training .venv-vulkan .venv-cuda .venv-metal .venv-rocm build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
