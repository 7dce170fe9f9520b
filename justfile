# Thin names over plain commands; each also works without just.

# The server with SQLite inside, at http://127.0.0.1:8000/bk_plugin/
dev:
    cargo run

# Everything that CI checks.
test:
    bash .ci/run

# Formatting and lints.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- --deny warnings

# Unit tests of the kit alone: seconds.
test-kit:
    cargo nextest run --package bk-plugin-kit

# That many simulated invocations with fresh seeds; SIM_SEED=n replays one and shows what happened.
sim count="100000":
    cargo run --profile server --package simulation -- {{count}}

# Every state of the protocol's model; `just model large` takes minutes and gigabytes.
model *bounds:
    cargo run --profile server --package model -- {{bounds}}

# Throughput, lateness, memory and start-up, beside their peers.
bench:
    cargo build --profile server --package server --package conformance --package benchmarks
    cargo run --profile server --package benchmarks

# Package sizes, cold and warm latency of the Lambda functions, beside a bare one; the first build takes minutes.
bench-lambda:
    cargo build --release --package invoke --package callback --package poll-tick --package meta --package lambda-hello
    cargo run --profile server --package benchmarks -- lambda

# DynamoDB and SQS adapters over the wire, against an AWS emulator.
wire:
    infra/aws-emulator.sh cargo nextest run --workspace --ignore-default-filter -E 'package(wire)' --test-threads 6

# Deploys template.yaml to an AWS emulator that enforces its policies, and calls the plugin from outside.
e2e:
    cargo build --workspace --bins
    AUTH=true infra/aws-emulator.sh target/debug/e2e

# Builds the image, runs it with a MariaDB beside it, and replays the transcripts against it (needs Docker).
image:
    infra/image-test.sh

# The reference's plugins on their own, for replaying more against them.
reference-plugins:
    cargo run --package conformance --bin reference-plugins

# Licences, advisories, duplicates and sources of dependencies (needs `cargo install cargo-deny`).
deny:
    cargo deny check

# The plugin on an AWS emulator on this machine: builds, deploys template.yaml, prints the URL, waits for Ctrl-C.
aws-local *parameters:
    infra/aws-local.sh {{parameters}}

# Checks template.yaml and samconfig.toml, with tools of its own in target/tools.
sam-validate:
    infra/sam-validate.sh
