# SPDX-License-Identifier: Apache-2.0
# Everything a person does with this tree. Each target installs the Debian packages that it needs, if they aren't there.
SHELL := /bin/bash
JOBS ?= $(shell nproc)
build := cmake --build --preset

.PHONY: help demo build test test-unit test-faults fuzz bench lint format install deb reference clean

help: ## This list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: ## The whole way on private servers: devices, MQTT, bridge, Kafka, database, alerts (DEMO_SECONDS=60)
	@scripts/install-deps.sh build demo
	@cmake --preset release -DPIPELINE_BUILD_TESTS=OFF >/dev/null && $(build) release -j $(JOBS)
	@python3 scripts/demo.py --build build/release --seconds $${DEMO_SECONDS:-60}

build: ## Build the release into build/release
	@scripts/install-deps.sh build
	cmake --preset release -DPIPELINE_BUILD_TESTS=ON && $(build) release -j $(JOBS)

test: ## All tests: unit tests under sanitizers, then everything on real servers
	@scripts/install-deps.sh build test
	@scripts/test.sh

test-unit: ## Unit tests under the address and undefined-behaviour sanitizers
	@scripts/install-deps.sh build test
	cmake --preset dev && $(build) dev -j $(JOBS) && ctest --test-dir build/dev -L unit -j $(JOBS) --output-on-failure

test-faults: ## Kill, cut and stall everything, for longer than `make test` does (ROUNDS=5, FAULT_SEED=...)
	@scripts/install-deps.sh build test
	cmake --preset dev -DPIPELINE_BUILD_BENCH=OFF && $(build) dev -j $(JOBS)
	cmake --preset release && $(build) release -j $(JOBS)
	ROUNDS=$${ROUNDS:-5} python3 -m pytest -v --tb=short -rP -o faulthandler_timeout=1800 tests/faults

fuzz: ## Any bytes to every parser, under sanitizers (TIME=300 seconds for each; clang)
	@scripts/install-deps.sh build test
	@JOBS=$(JOBS) scripts/fuzz.sh $(TARGETS)

bench: ## Throughput against the raw limits of this machine, in the same run
	@scripts/install-deps.sh build test
	cmake --preset release -DPIPELINE_BUILD_TESTS=ON && $(build) release -j $(JOBS)
	python3 tests/bench/bench.py --build build/release

lint: ## Formatting, clang-tidy, shell scripts; what deploys, against its schemas
	@scripts/install-deps.sh build lint
	@scripts/lint.sh

format: ## Format all sources in place
	@scripts/install-deps.sh lint
	git ls-files '*.cpp' '*.hpp' '*.h' '*.c' | xargs clang-format-15 -i

install: build ## Install to PREFIX (default /usr/local)
	cmake --install build/release --prefix $${PREFIX:-/usr/local}

deb: ## Debian packages, in build/release/packages
	@scripts/install-deps.sh build package
	cmake --preset release -DPIPELINE_BUILD_TESTS=OFF && $(build) release -j $(JOBS)
	rm -f build/release/packages/*.deb && cpack --config build/release/CPackConfig.cmake

reference: build ## Regenerate docs/reference from the declarations
	scripts/generate-reference.sh build/release

clean: ## Remove build/
	rm -rf build
