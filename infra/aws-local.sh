#!/usr/bin/env bash
# infra/aws-local.sh [<parameter>=<value>...]
#
# Builds the four functions for this machine, starts an emulator at http://127.0.0.1:4566 (BK_PLUGIN_EMULATOR_PORT for
# another port), deploys template.yaml to it, prints the plugin's address and waits for Ctrl-C.
set -euo pipefail
cd "$(dirname "$0")/.."
functions=(invoke callback poll-tick meta)

cargo build "${functions[@]/#/--package=}"

for function in "${functions[@]}"; do
    mkdir -p "target/aws-local/$function"
    # Without debug information, which is most of the file and would be packed and sent to the emulator.
    strip --strip-debug -o "target/aws-local/$function/bootstrap" "${CARGO_TARGET_DIR:-target}/debug/$function"
done

export BK_PLUGIN_EMULATOR_PORT="${BK_PLUGIN_EMULATOR_PORT:-4566}"
exec infra/aws-emulator.sh bash -euo pipefail -c '
    url="$(infra/deploy-local.sh target/aws-local bk-plugin-local "$@")"
    echo
    echo "The plugin:  $url"
    echo "Try:         curl -s '"'"'${url}meta'"'"'"
    echo "AWS:         AWS_ENDPOINT_URL=$AWS_ENDPOINT_URL AWS_REGION=$AWS_REGION AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test"
    echo "Logs:        $(command -v sam) logs --stack-name bk-plugin-local --tail, with the same variables"
    echo "Ctrl-C stops the emulator; what is in it is gone then."
    while :; do sleep 3600; done
' aws-local "$@"
