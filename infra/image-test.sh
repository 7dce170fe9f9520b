#!/usr/bin/env bash
# Builds the image with the reference's plugin in it, runs it as a platform does (no root, a read-only file system,
# no privileges) with a MariaDB beside it, and replays the recorded transcripts against it. Prints the image's size
# over its base, and how long a container takes to answer.
#
#   infra/image-test.sh          the image as it is deployed
#   infra/image-test.sh dev      the same with an unoptimised binary, built in half the time
#
# Needs Docker; as root it starts a daemon if none runs, and makes base images if it can reach no registry
# (base-images.sh). Needs mariadb-server, not running.
set -euo pipefail
cd "$(dirname "$0")/.."

profile=${1:-server}
work=$(mktemp --directory)
containers=()
finish() {
    [ ${#containers[@]} -eq 0 ] || docker rm --force "${containers[@]}" >/dev/null
    kill "$(cat "$work/dockerd.pid" 2>/dev/null)" "${database:-}" 2>/dev/null || true
    wait
    rm -rf "$work"
}
trap finish EXIT

if ! docker info >/dev/null 2>&1; then
    dockerd --pidfile "$work/dockerd.pid" --data-root "$work/docker" >"$work/dockerd.log" 2>&1 &
    for _ in $(seq 60); do docker info >/dev/null 2>&1 && break || sleep 0.5; done
    docker info >/dev/null || { cat "$work/dockerd.log" >&2; exit 1; }
fi
base=$(sed -n 's/^ARG RUNTIME_IMAGE=//p' infra/Dockerfile)
docker image inspect "$base" >/dev/null 2>&1 || docker pull --quiet "$base" 2>/dev/null || infra/base-images.sh

cargo build --workspace --bins
docker build --network host --file infra/Dockerfile --tag bk-plugin-test \
    --build-arg PACKAGE=conformance --build-arg BINARY=reference-plugins --build-arg PROFILE="$profile" .
size() { docker image inspect --format '{{.Size}}' "$1"; }
echo "image: $((($(size bk-plugin-test) - $(size "$base")) / 1000)) kB over its base (profile $profile)"

target/debug/local-mysql >"$work/database" &
database=$!
until [ -s "$work/database" ]; do kill -0 "$database"; sleep 0.1; done
url=$(cat "$work/database")

# Starts a container on this port with these variables, and waits until it answers.
run() {
    local port=$1 begun
    begun=$(date +%s%N)
    containers+=("$(docker run --detach --network host --read-only --cap-drop ALL --security-opt no-new-privileges \
        --env PORT="$port" --env BK_PLUGIN_HOST=127.0.0.1 --env BK_PLUGIN_STORE_URL="$url" "${@:2}" bk-plugin-test)")
    until curl --silent --fail --output /dev/null "http://127.0.0.1:$port/readyz"; do
        docker inspect --format '{{.State.Running}}' "${containers[-1]}" | grep --quiet true ||
            { docker logs "${containers[-1]}" >&2; exit 1; }
        sleep 0.02
    done
    echo "container on port $port: ready $((($(date +%s%N) - begun) / 1000000)) ms after docker run"
}
gateway=(--env BKPAAS_ENVIRONMENT=prod --env BK_APIGW_NAME=bp-demo
    --env BK_APIGW_PUBLIC_KEY="$(cat tests/fakes/apigw/data/gateway_test_key.pub.pem)")
run 15001 --env BKPAAS_ENVIRONMENT=dev
run 15002 "${gateway[@]}"
run 15003 "${gateway[@]}" --env BK_PLUGIN_CONFORMANCE_SCOPED=yes

BK_PLUGIN_CONFORMANCE_URL=http://127.0.0.1:15001 BK_PLUGIN_CONFORMANCE_GATEWAY_URL=http://127.0.0.1:15002 \
    BK_PLUGIN_CONFORMANCE_SCOPED_URL=http://127.0.0.1:15003 \
    cargo nextest run --workspace -E 'binary(transcripts) - test(on_mariadb)' --success-output final

# A stop lets running steps end, and the log says that the process ended by itself.
docker stop --time 90 "${containers[@]}" >/dev/null
for container in "${containers[@]}"; do
    [ "$(docker inspect --format '{{.State.ExitCode}}' "$container")" = 0 ] || { docker logs "$container" >&2; exit 1; }
done
echo "image: all transcripts replayed, all containers stopped by themselves"
