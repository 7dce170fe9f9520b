#!/usr/bin/env bash
# Checks template.yaml: cfn-lint, and SAM's own validation of the template with and without its linter.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$(infra/tools.sh):$PATH"
# sam needs the name of a region, but no account.
export SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1
cfn-lint template.yaml
sam validate --lint
