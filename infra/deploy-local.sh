#!/usr/bin/env bash
# infra/deploy-local.sh <folder> [<stack name> [<parameter>=<value>...]]
#
# Deploys template.yaml to the emulator at $AWS_ENDPOINT_URL, with functions that were built before:
# <folder>/<function>/bootstrap for invoke, callback, poll-tick and meta. If the stack exists, it is updated.
# Creates the secret first if it does not exist. Prints the plugin's address, such as
# http://127.0.0.1:4566/_aws/execute-api/<id>/$default/bk_plugin/, as its last line. infra/aws-emulator.sh provides
# the emulator and the tools.
#
# Unless given here, these parameters differ from the template's defaults: AppId=bk-plugin-demo, Auth=none,
# Architecture of this machine, EmulatorUrl=$AWS_ENDPOINT_URL, SecretName=bk-plugin/<stack name>, and
# MaximumConcurrency=0: with a number, ministack keeps it as text, cannot compare it, and delivers no message.
set -euo pipefail
if [ $# -eq 0 ]; then
    sed -n '2,4p' "$0" >&2
    exit 2
fi
folder="$(cd "$1" && pwd)"
stack="${2:-bk-plugin-local}"
shift "$(($# < 2 ? $# : 2))"
root="$(cd "$(dirname "$0")/.." && pwd)"
# Without an emulator's address this would deploy to AWS, with an invented secret.
: "${AWS_ENDPOINT_URL:?is not set: run this under infra/aws-emulator.sh, or set it to the address of an emulator}"

case "$(uname -m)" in
    aarch64 | arm64) architecture=arm64 ;;
    *) architecture=x86_64 ;;
esac
declare -A parameters=(
    [AppId]=bk-plugin-demo
    [Auth]=none
    [Architecture]="$architecture"
    [EmulatorUrl]="${AWS_ENDPOINT_URL%/}"
    [MaximumConcurrency]=0
    [SecretName]="bk-plugin/$stack"
)
for given in "$@"; do parameters["${given%%=*}"]="${given#*=}"; done
overrides=()
for name in "${!parameters[@]}"; do
    # sam refuses an empty value. Leaving the parameter out gives the template's default, which is empty.
    if [ -n "${parameters[$name]}" ]; then overrides+=("$name=${parameters[$name]}"); fi
done

staging="$(mktemp -d)"
trap 'rm -rf "$staging"' EXIT

"$root/infra/staged-template.sh" "$folder" "$staging/template.yaml"

# The values are for emulators only, and protect nothing else. To try Auth=gateway, create the secret yourself
# first, with the gateway's public key in it.
if ! aws secretsmanager describe-secret --secret-id "${parameters[SecretName]}" >/dev/null 2>&1; then
    aws secretsmanager create-secret --name "${parameters[SecretName]}" \
        --secret-string '{"BKPAAS_APP_SECRET": "local-app-secret", "BK_PLUGIN_API_KEY": "local-api-key-of-nobody"}' >/dev/null
fi

(cd "$staging" && sam deploy --template-file template.yaml --stack-name "$stack" --resolve-s3 \
    --capabilities CAPABILITY_IAM --no-confirm-changeset --no-fail-on-empty-changeset --no-progressbar \
    --parameter-overrides "${overrides[@]}" >&2)

aws cloudformation describe-stacks --stack-name "$stack" --output text \
    --query 'Stacks[0].Outputs[?OutputKey==`PluginUrl`].OutputValue'
