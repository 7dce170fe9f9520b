#!/usr/bin/env bash
# Installs the tools of infra/requirements.txt into target/tools, or into $BK_PLUGIN_TOOLS, if they are missing,
# and prints the folder of their commands.
set -euo pipefail
requirements="$(cd "$(dirname "$0")" && pwd)/requirements.txt"
tools="${BK_PLUGIN_TOOLS:-$(dirname "$requirements")/../target/tools}"
mkdir -p "$tools"
tools="$(cd "$tools" && pwd)"

# A lock, so that tests that start at the same time do not install over each other.
if command -v flock >/dev/null; then
    exec 9>"$tools.lock"
    flock 9
fi
# Written last, so that an interrupted installation is repeated.
if ! cmp -s "$requirements" "$tools/installed.txt"; then
    echo "installing the emulator and the SAM CLI into $tools (a minute or two)" >&2
    python3 -m venv --clear "$tools" >&2
    "$tools/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements" >&2
    cp "$requirements" "$tools/installed.txt"
fi
echo "$tools/bin"
