# Thin names over plain commands; each also works without just.

# Runs the server with a SQLite file, at http://127.0.0.1:8000/bk_plugin/
dev:
    cargo run

# Runs every check of CI.
test:
    bash .ci/run

# Checks formatting and lints.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- --deny warnings

# Only the kit's unit tests: seconds.
test-kit:
    cargo nextest run --package bk-plugin-kit

# Simulates that many invocations with new seeds; SIM_SEED=n replays one and shows what happened.
sim count="100000":
    cargo run --profile server --package simulation -- {{count}}

# Explores every state of the protocol's model; `just model large` takes minutes and gigabytes.
model *bounds:
    cargo run --profile server --package model -- {{bounds}}

# Serves versions that do harm, at http://127.0.0.1:8000/bk_plugin/
hostile:
    cargo run --package hostile

# Tries what hostile versions do to others: ten minutes. `--write` puts the table into docs/reliability.md, a text tries
# the offences whose names contain it.
hostile-table *arguments:
    cargo run --profile server --package hostile -- table {{arguments}}

# Measures throughput, lateness, memory and start-up, beside a bare server's.
bench:
    cargo build --profile server --package server --package conformance --package benchmarks
    cargo run --profile server --package benchmarks

# Measures what the check of inputs costs by the depth and the size of a body.
bench-inputs:
    cargo run --profile server --package benchmarks -- inputs

# Measures package sizes, cold and warm latency of the Lambda functions, beside a bare one's; the first build takes
# minutes.
bench-lambda:
    cargo build --release --package invoke --package callback --package poll-tick --package meta --package lambda-hello
    cargo run --profile server --package benchmarks -- lambda

# Tests the DynamoDB and SQS stores against an AWS emulator.
wire:
    infra/aws-emulator.sh cargo nextest run --workspace --ignore-default-filter -E 'package(wire)' --test-threads 6

# Deploys template.yaml to an AWS emulator that enforces its policies, and calls the plugin from outside.
e2e:
    cargo build --workspace --bins
    AUTH=true infra/aws-emulator.sh target/debug/e2e

# Builds the image, runs it with a MariaDB beside it, and replays the transcripts against it (needs Docker).
image:
    infra/image-test.sh

# Runs the reference's plugins alone, to replay more against them.
reference-plugins:
    cargo run --package conformance --bin reference-plugins

# cargo treats the packages of an earlier run like those of a registry, which never change, so they are deleted first. The
# test command makes the same packages without compiling them: tests/docs/tests/packages.rs.
#
# Packages the crates that can be published, and compiles each from its package alone: minutes; uploads nothing.
package:
    rm -rf target/packages "${CARGO_HOME:-$HOME/.cargo}"/registry/src/-*/bk-plugin-*
    cargo publish --workspace --dry-run --allow-dirty --locked --target-dir target/packages

# Makes the drawing of the crates in ARCHITECTURE.md again, after a dependency between them has changed.
drawing:
    UPDATE=1 cargo test --package docs --test crates

# Checks licences, advisories, duplicates and sources of dependencies (needs `cargo install cargo-deny`).
deny:
    cargo deny check

# Runs the plugin on an AWS emulator on this machine: builds, deploys template.yaml, prints the URL, waits for Ctrl-C.
aws-local *parameters:
    infra/aws-local.sh {{parameters}}

# Checks template.yaml and samconfig.toml, with tools in target/tools.
sam-validate:
    infra/sam-validate.sh
