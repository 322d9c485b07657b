# SPDX-License-Identifier: Apache-2.0
# Targets for developers and users. Each target installs the Debian packages that it needs if they are missing.
SHELL := /bin/bash
JOBS ?= $(shell nproc)
build := cmake --build --preset
# The programs that a user installs, without tests and benchmarks.
product := cmake --preset release -DPIPELINE_BUILD_TESTS=OFF -DPIPELINE_BUILD_BENCH=OFF >/dev/null && $(build) release -j $(JOBS)
with_tests := cmake --preset release -DPIPELINE_BUILD_TESTS=ON -DPIPELINE_BUILD_BENCH=ON && $(build) release -j $(JOBS)

.PHONY: help demo build test test-unit test-faults test-release fuzz bench lint format install deb reference clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: ## Run devices, MQTT, bridge, Kafka, database and alerts on private servers (DEMO_SECONDS=60)
	@scripts/install-deps.sh build demo
	@$(product)
	@/usr/bin/python3 scripts/demo.py --build build/release --seconds $${DEMO_SECONDS:-60}

build: ## Build the release into build/release
	@scripts/install-deps.sh build
	$(product)

test: ## Run all tests: unit tests under sanitizers, then all tests on real servers
	@scripts/install-deps.sh build test
	@scripts/test.sh

test-unit: ## Run the unit tests under the address and undefined-behaviour sanitizers
	@scripts/install-deps.sh build test
	cmake --preset dev && $(build) dev -j $(JOBS) && ctest --test-dir build/dev -L unit -j $(JOBS) --output-on-failure

test-faults: ## Run more rounds of the fault tests than `make test` does (ROUNDS=5, FAULT_SEED=...)
	@scripts/install-deps.sh build test
	cmake --preset dev && $(build) dev -j $(JOBS)
	$(with_tests)
	ROUNDS=$${ROUNDS:-5} /usr/bin/python3 -m pytest -v --tb=short -rP -o faulthandler_timeout=1800 tests/faults

test-release: ## Build and test the committed tree in a bare Debian (RELEASE=trixie, STEPS="build unit"; root)
	@scripts/install-deps.sh test
	@/usr/bin/python3 scripts/test_on_debian.py $${RELEASE:-trixie} $(STEPS)

fuzz: ## Fuzz every parser under sanitizers, with clang (TIME=300 seconds for each)
	@scripts/install-deps.sh build test
	@JOBS=$(JOBS) scripts/fuzz.sh $(TARGETS)

bench: ## Measure rates, CPU time, latency and memory beside the limits of this machine (ROUNDS=5, QUICK=1, BENCH="database lane")
	@scripts/install-deps.sh build test
	$(with_tests)
	/usr/bin/python3 tests/bench/run.py --build build/release --rounds $(or $(ROUNDS),5) $(if $(QUICK),--quick) $(BENCH)

lint: ## Check formatting, words, spelling, clang-tidy, shell scripts, and the deployment files against their schemas
	@scripts/install-deps.sh build lint
	@scripts/lint.sh

format: ## Format all sources in place
	@scripts/install-deps.sh lint
	git ls-files '*.cpp' '*.hpp' '*.h' '*.c' | xargs $$(command -v clang-format-15 || command -v clang-format-19) -i

install: build ## Install to PREFIX (default /usr/local); DEBUG_FILES=yes: with separate debug information
	cmake --install build/release $(if $(DEBUG_FILES),,--strip) --prefix $${PREFIX:-/usr/local}
	$(if $(DEBUG_FILES),scripts/split-debug.sh <build/release/install_manifest.txt)

deb: ## Build the Debian packages in build/release/packages
	@scripts/install-deps.sh build package
	$(product)
	rm -f build/release/packages/*.deb && cpack --config build/release/CPackConfig.cmake

reference: build ## Regenerate docs/reference from the declarations, docs/pictures from their texts
	scripts/generate-reference.sh build/release

clean: ## Remove build/
	rm -rf build
