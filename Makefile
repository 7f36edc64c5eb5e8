# Everything a person types. Each target installs what it needs, or says precisely what to install.
.PHONY: cluster cluster-down conformance demo test e2e soak explore bench bench-ledger lint generate tools help
.DEFAULT_GOAL := help
# What bootstrap.sh installs on a fresh machine is found in the same call.
export PATH := $(HOME)/.cargo/bin:$(CURDIR)/.cache/tools/bin:/usr/local/go/bin:$(PATH)

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

# The part on Kubernetes: on a cluster of yours with CONTEXT=name REGISTRY=host/path; DEMO=local leaves it out.
on_cluster = $(if $(CONTEXT),--context $(CONTEXT)) $(if $(REGISTRY),--registry $(REGISTRY))
demo: ## the main job on a real small language model, then on Kubernetes (DEMO=local: only the first; DEMO_MODEL=markov: a generator)
	@sh tests/bootstrap.sh rust demo
	@echo 'demo: 24 prompts on this machine first (2 min, after a build)'
	@[ "$(DEMO)" = local ] || sh tests/demo/cluster.sh --announce $(on_cluster)
	@sh tests/demo/demo.sh
	@[ "$(DEMO)" = local ] || sh tests/demo/cluster.sh $(on_cluster)

test: ## all tests of the workspace, with the counts of the column "test" in tests/budget.toml
	@sh tests/bootstrap.sh rust python
	@sh tests/run.sh test

e2e: ## lint, larger counts, foreign tools, the demo, fuzzing, the test cluster
	@sh tests/bootstrap.sh rust demo go cluster faults
	@sh tests/e2e.sh

cluster: ## a real Kubernetes on this machine (root, Linux): built once, started, and tried
	@sh tests/bootstrap.sh rust go cluster
	@sh tests/cluster/run.sh

cluster-down: ## end it and remove all that it made
	@sh tests/cluster/run.sh down

conformance: ## foreign tools judge ledgers, receipts and charts; Helm 3 installs and upgrades
	@sh tests/bootstrap.sh rust go cluster
	@sh tests/conformance/run.sh
	@sh tests/conformance/charts.sh install

soak: ## the full counts; resumable; writes the table in docs/TESTING.md
	@sh tests/bootstrap.sh rust python faults
	@sh tests/soak.sh

explore: ## the part of soak that fails the power of the ledger's disk at every step, in ten million states
	@sh tests/bootstrap.sh rust
	@sh tests/soak.sh ledger_explorer_states

bench: ## speed of interceptor, append and verify, next to the bare operations
	@sh tests/bootstrap.sh rust
	@cargo run --release --locked --quiet -p axiom_hive_bench

bench-ledger: ## the ledger under many callers, next to Tessera: rate, latency, CPU, bytes, restart
	@sh tests/bootstrap.sh rust go
	@cargo run --release --locked --quiet -p axiom_hive_bench -- ledger

lint: ## formatting, clippy, licences, bans, sources
	@sh tests/bootstrap.sh rust
	@sh tests/lint.sh

generate: ## write crds/ and docs/API.md from the Rust types
	@sh tests/bootstrap.sh rust
	@cargo run --locked --quiet -p axiom_hive_operator --bin crdgen

tools: ## install everything that any of the above needs
	@sh tests/bootstrap.sh rust demo go cluster faults deny fuzz
