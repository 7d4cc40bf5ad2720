# The way in: `make help` lists what there is. The build itself is CMake's (CMakeLists.txt,
# CMakePresets.json); this file only puts the steps in order.

BUILD ?= build
MODEL ?= smollm2
RANKS ?= 2
PORT ?= 8000
JOBS ?= $(shell nproc)
TEST_JOBS ?= $(JOBS)
WEFT := $(BUILD)/weft

# setup.mk says which cargo to use, and that tools/setup has run. (make writes an included file
# that is missing, so what builds nothing must not include it.)
ifneq ($(filter-out help house clean test-aarch64 page test-page,$(MAKECMDGOALS)),)
-include $(BUILD)/setup.mk
endif

TEST_ENVIRONMENT = WEFT_TEST_MODELS=$(abspath $(BUILD)/test_models) \
                   WEFT_TINY_MODELS=$(abspath $(BUILD)/tiny_models)
CTEST = ctest --test-dir $(BUILD) --timeout 600 --parallel $(TEST_JOBS) --output-on-failure --progress

.PHONY: help build run chat check-run test test-full test-aarch64 test-models page test-page test-conformance test-load house clean

help:
	@echo "make run        build, fetch the default model, serve it on $(RANKS) ranks at 127.0.0.1:$(PORT)"
	@echo "                (MODEL=/path/to/file.gguf, or a name, serves another)"
	@echo "make chat       the same, but chat with it in this terminal"
	@echo "make build      install what is missing and build $(WEFT)"
	@echo "make test       build, fetch the test models, run the tests (CTEST_ARGS='-R Options' for some)"
	@echo "make test-full  the same and the long ones"
	@echo "make test-aarch64   build the arithmetic for 64-bit Arm, run its tests under qemu"
	@echo "make page       build the web page anew (web/dist is committed: nobody else needs Node)"
	@echo "make test-page  look at it in headless Chromium"
	@echo "make test-conformance   other people's clients against weft serve (EXAMPLES=200 of a route)"
	@echo "make test-load  what a started server bears, each measurement small (bench/serving)"
	@echo "make house      check the rules of the house"
	@echo "make clean      remove $(BUILD)"
	@echo "Variables: BUILD, MODEL, RANKS, PORT, JOBS, TEST_JOBS, CTEST_ARGS, CMAKE_ARGS."

$(BUILD)/setup.mk: tools/setup
	tools/setup $(BUILD)

$(BUILD)/build.ninja: | $(BUILD)/setup.mk
	cmake --preset release -B $(BUILD) $(if $(CARGO),-DWEFT_CARGO=$(CARGO)) $(CMAKE_ARGS)

# Ninja itself knows what is to be done, and takes a blink where that is nothing.
build: $(BUILD)/build.ninja
	@tools/build_progress cmake --build $(BUILD) --parallel $(JOBS) --target weft

# A name is fetched; a file or folder is there, or weft says that it is not.
PULL = case '$(MODEL)' in /*|./*|../*|*.gguf|*.safetensors) ;; \
         *) [ -e '$(MODEL)' ] || $(WEFT) pull '$(MODEL)' > /dev/null ;; esac

# Until Ctrl-C or SIGTERM.
run: build
	@$(PULL)
	@exec $(WEFT) serve '$(MODEL)' --tp $(RANKS) --port $(PORT)

# What `make run` promises, where nobody looks: it starts, answers, and ends when it is told to.
check-run: build
	@tools/check_run.py $(MAKE) --no-print-directory run BUILD=$(BUILD) MODEL='$(MODEL)' RANKS=$(RANKS) PORT=$(PORT)

chat: build
	@$(PULL)
	@if [ -t 0 ] && [ -t 1 ]; then \
	  echo "Type a question; /help lists commands, /quit or Ctrl-D ends. The same by hand:"; \
	  echo "  $(WEFT) run $(MODEL) --tp $(RANKS)"; \
	fi
	@$(WEFT) run '$(MODEL)' --tp $(RANKS)

test-models: build
	@tools/test_models $(BUILD)

test: test-models
	@cmake --build $(BUILD) --parallel $(JOBS)
	$(TEST_ENVIRONMENT) $(CTEST) --label-exclude full $(CTEST_ARGS)

test-full: test-models
	@cmake --build $(BUILD) --parallel $(JOBS)
	$(TEST_ENVIRONMENT) WEFT_FULL_TESTS=1 $(CTEST) $(CTEST_ARGS)

test-aarch64:
	tools/test_aarch64 $(JOBS)

page:
	tools/page build

test-page:
	tools/page check
	tools/page test

# EXAMPLES: requests that schemathesis makes of each route's document.
EXAMPLES ?= 20
test-conformance: test-models
	tools/test_conformance $(BUILD) $(EXAMPLES)

# Small; docs/serving.md says what the figures are taken with.
LOAD_MODEL = $(BUILD)/test_models/SmolLM2-135M-Instruct.Q4_1.gguf --weft $(WEFT)
test-load: test-models
	bench/serving/streams.py $(LOAD_MODEL) --seconds 10
	bench/serving/overload.py $(LOAD_MODEL) --seconds 10
	bench/serving/connections.py $(LOAD_MODEL) --idle 500 --slow 100 --long 50
	bench/serving/disconnects.py $(LOAD_MODEL) --count 2000

house:
	tools/check_house.py

clean:
	rm -rf $(BUILD)
