#!/usr/bin/env bash
# infra/sam-local.sh <folder> <stack name> <start-api|invoke|...> [<more for sam local>...]
#
# `sam local` with the functions in <folder>/<function>/bootstrap and with table, queue and secret of a
# stack that infra/deploy-local.sh has deployed to the emulator at $AWS_ENDPOINT_URL. Needs Docker. The
# containers reach this machine as host.docker.internal, so the emulator must listen there, too
# (BK_PLUGIN_EMULATOR_HOST=0.0.0.0).
set -euo pipefail
if [ $# -lt 3 ]; then
    sed -n '2p' "$0" >&2
    exit 2
fi
: "${AWS_ENDPOINT_URL:?is not set: run this under infra/aws-emulator.sh, or set it to the address of an emulator}"
folder="$1"
stack="$2"
shift 2
infra="$(cd "$(dirname "$0")" && pwd)"
staging="$(mktemp -d)"
trap 'rm -rf "$staging"' EXIT
"$infra/staged-template.sh" "$folder" "$staging/template.yaml"

# sam local creates no resources, so values that the template takes from them are given here. It overrides only
# declared variables.
aws cloudformation describe-stacks --stack-name "$stack" --query 'Stacks[0].Outputs' | python3 -c '
import json, os, sys
out = {o["OutputKey"]: o["OutputValue"] for o in json.load(sys.stdin)}
port = os.environ["AWS_ENDPOINT_URL"].rstrip("/").rsplit(":", 1)[1]
json.dump({"Parameters": {
    "AWS_ENDPOINT_URL": f"http://host.docker.internal:{port}",
    "BK_PLUGIN_TABLE": out["TableName"],
    "BK_PLUGIN_QUEUE_URL": out["QueueUrl"],
    # The queue of tests/events/dead-letter-batch.json.
    "BK_PLUGIN_DLQ_ARN": "arn:aws:sqs:us-east-1:000000000000:bk-plugin-dev-DeadLetterQueue",
    "BK_PLUGIN_PUBLIC_URL": "http://127.0.0.1:3000",
}}, sys.stdout)' >"$staging/variables.json"

case "$(uname -m)" in
    aarch64 | arm64) architecture=arm64 ;;
    *) architecture=x86_64 ;;
esac
command="$1"
shift
cd "$infra/.."
sam local "$command" --template "$staging/template.yaml" --env-vars "$staging/variables.json" --add-host host.docker.internal:host-gateway \
    --parameter-overrides AppId=bk-plugin-demo Auth=none "Architecture=$architecture" "SecretName=bk-plugin/$stack" "$@"
