#!/usr/bin/env bash
# infra/aws-emulator.sh <command...>
#
# Runs a command beside an AWS emulator (ministack) of its own: starts it on 127.0.0.1, waits until it answers,
# points the AWS tools at it, and stops it when the command ends. Exits with the command's exit code. Needs Python
# 3.10 or later.
#
# BK_PLUGIN_EMULATOR_PORT  port of the emulator; a free one if not given
# BK_PLUGIN_EMULATOR_HOST  address it listens on; 127.0.0.1 if not given. 0.0.0.0 lets containers reach it, and the network.
# BK_PLUGIN_EMULATOR_LOG   file for its log; target/aws-emulator-<port>.log if not given
# BK_PLUGIN_TOOLS          where the tools are installed; target/tools if not given
# Variables that begin with LAMBDA_ or MINISTACK_, and AUTH=true (which makes it enforce IAM policies), reach the emulator.
set -euo pipefail
if [ $# -eq 0 ]; then
    echo "usage: $0 <command...>" >&2
    exit 2
fi
root="$(cd "$(dirname "$0")/.." && pwd)"
bin="$("$root/infra/tools.sh")"
port="${BK_PLUGIN_EMULATOR_PORT:-$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')}"
log="${BK_PLUGIN_EMULATOR_LOG:-$root/target/aws-emulator-$port.log}"

export PATH="$bin:$PATH"
export AWS_ENDPOINT_URL="http://127.0.0.1:$port"
export AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1
# Invented credentials: the emulator accepts any. The caller's own profile or session must not reach it.
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
unset AWS_PROFILE AWS_DEFAULT_PROFILE AWS_SESSION_TOKEN
export AWS_EC2_METADATA_DISABLED=true AWS_PAGER="" SAM_CLI_TELEMETRY=0
# Calls to the emulator bypass proxies.
export NO_PROXY="127.0.0.1,localhost${NO_PROXY:+,$NO_PROXY}" no_proxy="127.0.0.1,localhost${no_proxy:+,$no_proxy}"

# Functions inherit the emulator's environment. It gets an empty one, so that the functions have their variables
# from the template and not from the caller's shell.
passed_on=()
while IFS= read -r variable; do passed_on+=("$variable"); done < <(env | grep -E '^(LAMBDA_|MINISTACK_|AUTH=)' || true)
# Each has a process group of its own (set -m), so that a signal also reaches the processes that it has started.
set -m
env -i PATH="$PATH" HOME="${HOME:-/}" TMPDIR="${TMPDIR:-/tmp}" LANG=C.UTF-8 \
    BIND_HOST="${BK_PLUGIN_EMULATOR_HOST:-127.0.0.1}" GATEWAY_PORT="$port" AWS_ENDPOINT_URL="$AWS_ENDPOINT_URL" \
    AWS_DEFAULT_REGION="$AWS_DEFAULT_REGION" AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test \
    "${passed_on[@]}" "$bin/ministack" >"$log" 2>&1 </dev/null &
emulator=$!
set +m

stop() {
    kill -- "-$emulator" 2>/dev/null || true
    for _ in $(seq 50); do
        kill -0 -- "-$emulator" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -9 -- "-$emulator" 2>/dev/null || true
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

answers() { python3 -c 'import sys, urllib.request as u; u.build_opener(u.ProxyHandler({})).open(sys.argv[1], timeout=1)' "$AWS_ENDPOINT_URL/_ministack/health" 2>/dev/null; }
for attempt in $(seq 100); do
    if answers; then break; fi
    if ! kill -0 "$emulator" 2>/dev/null || [ "$attempt" -eq 100 ]; then
        echo "the emulator did not start; its log:" >&2
        tail -n 20 "$log" >&2
        exit 1
    fi
    sleep 0.2
done

# In the background, with wait: bash would delay a signal until a command in the foreground ends.
set -m
"$@" <&0 &
command=$!
set +m
end_with() {
    kill "-$1" -- "-$command" 2>/dev/null || true
    wait "$command" 2>/dev/null || true
    exit "$2"
}
trap 'end_with INT 130' INT
trap 'end_with TERM 143' TERM
code=0
wait "$command" || code=$?
exit "$code"
