# What a developer can do here. Each target only calls cargo or a script; `scripts/test` and CI call the same ones.
# `make install-deps` first, on a new machine.

CARGO ?= cargo

.PHONY: help install-deps check fmt clippy advisories deny scripts test static size qemu bench fuzz docs ci

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

install-deps: ## what building, testing and booting images need, from Debian
	scripts/install-deps all

check: fmt clippy scripts deny ## all that needs no run: format, lints, scripts, licences and bans

fmt:
	$(CARGO) fmt --check

clippy:
	$(CARGO) clippy --all-targets --locked -- -D warnings
	$(CARGO) clippy --no-default-features --bin rust-ota --locked -- -D warnings

scripts: ## lint the shell and Python scripts
	scripts/lint-scripts

advisories: ## RustSec's advisories of all crates (needs the network, or RUST_OTA_ADVISORIES=CLONE)
	scripts/advisories

deny: ## licences, banned crates, sources (builds cargo-deny once where there is none)
	scripts/cargo-deny

test: ## unit tests and black-box tests of the binaries
	scripts/test unit

static: ## the device's binary: target/static/rust-ota
	scripts/static-build

size: static ## what the device's binary consists of
	scripts/size-report

qemu: static ## boot a device, update it, break it, watch it come back
	scripts/test qemu

bench: ## the benches, each beside a peer in the same run
	$(CARGO) bench

fuzz: ## each fuzz target for a minute (needs cargo-fuzz and a nightly compiler)
	scripts/fuzz

docs: ## the library's documentation, with broken links as errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --locked

ci: ## what CI runs, step by step as CI does
	.ci/run
