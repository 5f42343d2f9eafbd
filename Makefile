# `make demo` and `make test` are all a newcomer needs on Debian 12 with Rust.
.DEFAULT_GOAL := help
.PHONY: help prompts demo test lint setup setup-test build install uninstall bench fuzz clean

help: ## what there is to make
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup build ## a guest is verified, and somebody found from the air, as events on a topic
	@target/release/vigil demo

test: setup-test ## everything that can be checked on this machine
	@scripts/test.sh

lint: ## formatting and lints, warnings are errors
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

setup: ## packages, ONNX Runtime and models, once
	@scripts/packages.sh
	@models/setup.sh

setup-test: ## the same, and what the tests talk to
	@scripts/packages.sh --test
	@models/setup.sh

prompts: build ## what the doors say, rendered with espeak-ng
	@target/release/vigil prompts --into prompts

build: ## the release build
	cargo build --release --bin vigil

# Builds nothing: `make setup build` first, then `make install` as root.
BINARY ?= target/release/vigil
install: ## the built program as a service on this machine, or under DESTDIR
	@BINARY=$(BINARY) scripts/install.sh

uninstall: ## what `make install` put there; configuration and state stay
	@scripts/install.sh --remove

bench: setup-test ## the figures of benches/README.md
	cargo bench

FUZZ_SECONDS ?= 60
fuzz: ## a minute of fuzzing for each parser of outside bytes
	@fuzz/run.sh $(FUZZ_SECONDS)

clean: ## what was built; fetched packages stay
	cargo clean
