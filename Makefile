# The commands of the house. `make help` lists them.

# Where `make run` keeps its database and inbox, and where it listens.
DATA ?= carillon-data
LISTEN ?= 127.0.0.1:8080

SERVICES := target/test-services
export PATH := $(CURDIR)/$(SERVICES)/cargo/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help run test test-quick pictures crash simulate mutants imports lint fmt bench services clean-services

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build, seed the demo shop and serve it on embedded defaults (DATA=folder LISTEN=address)
	cargo run --release --bin carillon -- demo --data $(DATA) --listen $(LISTEN)

test: services ## bring what the tests need and run everything, as CI does
	@tests/run

test-quick: ## unit and property tests and the tidiness of the code; needs nothing but Rust
	@tests/run quick

pictures: services ## look at every page and mail in Chromium; pictures of them land in target/pictures
	@tests/run pictures

lint: ## formatting, clippy, licences, banned crates and sources
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo deny --log-level error check licenses bans sources

fmt: ## format the code
	cargo fmt --all

crash: services ## kill the program 200 times under load, and stop it as often, on each database (KILLS=number)
	@tests/run crash

simulate: services ## live many seeded days with faults and check every promise at each step (SEEDS=number, FROM=seed to go on, SEED=one)
	@tests/run simulate

mutants: services ## break each recorded promise in a copy and see its test fail (MUTANTS=one,another)
	@tests/run mutants

imports: services ## live through all the real invoices on each database, many minutes (INVOICE_LINES=number)
	@tests/run imports

bench: ## measure, and write benches/RESULTS.md
	@benches/install
	cargo bench --locked --bench speed

services: ## install the clients and tools that the tests run, into target/test-services
	@tests/services/install

clean-services: ## remove what `make services` installed
	rm -rf $(SERVICES)
