# Cairn: one command each; `make` lists them. `check` and `test` are what .ci/run runs.
#
# `run`, `test` and `bench` share the dev profile (optimised, see Cargo.toml), so RocksDB is compiled once.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
CARGO_DENY_VERSION := 0.20.2
# Where `make run` keeps its data, and what it passes to the server.
DATA ?= ./cairn-data
RUN_FLAGS ?= --devices 6 --redundancy 4+2 --listen 127.0.0.1:9000
# What `make dev-cluster` passes.
DEV_CLUSTER_FLAGS ?= --data ./cairn-dev-cluster

TARGET_DIR = $(or $(CARGO_TARGET_DIR),target)

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: deps
deps: ## install missing system packages (apt; quiet when there is nothing to do)
	@scripts/deps

.PHONY: build
build: deps ## build the `cairn` binary
	$(CARGO) build --locked -p cairn

.PHONY: run
run: build ## an S3 store on 127.0.0.1:9000, 4+2 over six devices in ./cairn-data
	@exec $(CARGO) run --quiet --locked -p cairn -- server --data $(DATA) $(RUN_FLAGS)

# nextest runs every test in its own process and ends a hung one. Where it is not installed `cargo test` runs the same
# tests: building nextest for one run would cost more than it gives.
.PHONY: test
test: ## unit and integration tests, real clients included (about ten minutes)
	@$(MAKE) --no-print-directory run-tests NEXTEST_PROFILE=default

.PHONY: test-long
test-long: ## the same with the long parts: 2 GiB files, the whole documentation tree, all pairs of devices
	@CAIRN_TEST_LONG=1 $(MAKE) --no-print-directory run-tests NEXTEST_PROFILE=long

# Kept out of `test`: it needs minutes to say anything. Root adds partitions to the faults.
.PHONY: test-chaos
test-chaos: build ## two clusters under load and faults, CAIRN_CHAOS_SECONDS=600 each; CAIRN_CHAOS_SEED replays, CAIRN_CHAOS_WIPE=0 wipes nothing
	$(CARGO) test --locked -p cairn-tests --test chaos -- --ignored --nocapture --test-threads=1

# Kept out of `test`: the suites are built first, and fsx needs minutes to say anything.
FSX_OPERATIONS ?= 100000
.PHONY: test-posix
test-posix: build ## pjdfstest, then fsx on three seeds of FSX_OPERATIONS=100000, on a mount; as root
	@scripts/deps test
	@mkdir -p "$(TARGET_DIR)/posix" && scripts/posix "$(TARGET_DIR)/debug/cairn" "$(abspath $(TARGET_DIR))/posix" $(FSX_OPERATIONS)

# Kept out of `test`: it makes six hosts and goes through the life of a cluster on them.
.PHONY: test-ansible
test-ansible: build ## the playbooks on hosts that are made for it, systemd and sshd included (long); as root
	@scripts/deps ansible
	@scripts/ansible test "$(TARGET_DIR)" $(PYTEST_FLAGS)

.PHONY: dev-cluster
dev-cluster: build ## a cluster of 3 metadata servers, 6 chunkservers and 2 gateways as local processes, in ./cairn-dev-cluster
	@exec $(CARGO) run --quiet --locked -p cairn -- dev-cluster $(DEV_CLUSTER_FLAGS)

# A release of one's own is built with PROFILE=release; the first time that takes a quarter of an hour, RocksDB's.
PROFILE ?= dev
.PHONY: package
package: deps ## a Debian package in the target folder's package/, of the dev profile or PROFILE=release
	$(CARGO) build --locked --profile $(PROFILE) -p cairn
	@scripts/package "$(TARGET_DIR)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/cairn" "$(TARGET_DIR)/package"

.PHONY: run-tests
run-tests: build
	@scripts/deps test
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	    $(CARGO) test --locked --workspace --doc --quiet; \
	    $(CARGO) nextest run --locked --workspace --profile $(NEXTEST_PROFILE); \
	else \
	    $(CARGO) test --locked --workspace --no-fail-fast; \
	fi

.PHONY: check
check: fmt-check clippy docs deny tidy monitoring lint-ansible ## everything CI checks besides the tests; changes no file

.PHONY: fmt-check
fmt-check:
	$(CARGO) fmt --all -- --check

.PHONY: clippy
clippy: deps
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

.PHONY: docs
docs: deps
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items

.PHONY: cargo-deny
cargo-deny:
	@$(CARGO) deny --version >/dev/null 2>&1 \
	    || $(CARGO) install --locked --version $(CARGO_DENY_VERSION) --profile dev cargo-deny

.PHONY: deny
deny: cargo-deny
	$(CARGO) deny --locked --log-level error check bans licenses sources

.PHONY: advisories
advisories: cargo-deny ## known vulnerabilities; fetches the RustSec database, so not part of `check`
	$(CARGO) deny --locked check advisories

.PHONY: tidy
tidy: deps
	$(CARGO) test --locked --quiet -p cairn-tests --test tidy

.PHONY: monitoring
monitoring: ## the alert rules against their tests, with Prometheus' promtool
	@scripts/check-monitoring "$(abspath $(TARGET_DIR))"

.PHONY: lint-ansible
lint-ansible:
	@scripts/deps lint
	@scripts/ansible lint "$(TARGET_DIR)"

.PHONY: fix
fix: deps ## rewrite what the tools can: formatting and machine-applicable lints
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty --allow-staged
	$(CARGO) fmt --all

# `cairn` has one benchmark, the parts, which scripts/bench runs and compares with.
.PHONY: bench
bench: build ## the coding and hashing benchmarks, then PUT and GET against a server, beside the sum of their parts
	$(CARGO) bench --locked --profile dev --workspace --exclude cairn --exclude cairn-transport --exclude cairn-metadata --bench '*'
	@CARGO="$(CARGO)" scripts/bench "$(TARGET_DIR)/debug/cairn"

# Kept out of `check` and `test`: it needs minutes to say anything, and its own build of all dependencies.
SECONDS_EACH ?= 60
.PHONY: fuzz
fuzz: ## the decoders of what comes off the network and off disks, SECONDS_EACH=60 for each target
	@CARGO="$(CARGO)" scripts/fuzz $(SECONDS_EACH)

# Root makes the network namespaces of its second half; others skip it.
.PHONY: bench-transport
bench-transport: deps ## the QUIC carrier beside bare quinn, TCP and TLS, on loopback and at MTU 1500 (about four minutes)
	@$(CARGO) bench --locked --profile dev -p cairn-transport --bench transport

# The next two are built as what users run, since what they stand beside is; the first time that takes a quarter of an hour, RocksDB's.
.PHONY: bench-mounts
MOUNT_ROUNDS ?= 3
bench-mounts: deps ## a mount beside one of JuiceFS over Redis and the local file system, MOUNT_ROUNDS=3; as root
	@scripts/deps mounts
	$(CARGO) build --locked --profile release -p cairn
	@scripts/bench-mounts "$(TARGET_DIR)/release/cairn" "$(abspath $(TARGET_DIR))/mounts" $(MOUNT_ROUNDS)

# Root or sudo installs etcd and protoc; etcd's driver is a workspace of its own, because its client needs protoc.
.PHONY: bench-metadata
bench-metadata: deps ## the metadata service alone, beside a 3-member etcd, and with CAIRN_BENCH_OBJECTS=1000000 objects
	@scripts/deps bench
	@$(CARGO) build --quiet --locked --release --manifest-path etcd-bench/Cargo.toml --target-dir "$(TARGET_DIR)/etcd-driver"
	@CAIRN_BENCH_ETCD_DRIVER="$(abspath $(TARGET_DIR))/etcd-driver/release/cairn-etcd-bench" \
	    $(CARGO) bench --locked --profile release -p cairn-metadata --bench metadata

.PHONY: clean
clean: ## remove the build output; ./cairn-data stays
	$(CARGO) clean
