# What there is to do here. Each target is one script or one command, so that it can be read in a minute.
.DEFAULT_GOAL := help
.PHONY: help demo test fuzz lint bench fmt

help: ## show this
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/'

demo: ## pair a phone with a small app on this machine; needs cargo and a C compiler
	@scripts/demo

test: ## install what the tests need, build, run every test
	@scripts/test

fuzz: ## feed the parsers and the handshake with inputs that are made up, a minute for each target
	@scripts/fuzz

lint: ## formatting, clippy, licences and banned dependencies
	@scripts/lint

bench: ## every benchmark, beside the peers; docs/benchmarks.md says how to read them
	@bench/run

fmt: ## format the code
	@cargo fmt --all
