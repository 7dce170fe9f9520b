#!/usr/bin/env bash
# infra/staged-template.sh <folder> <file>
#
# Writes template.yaml to <file>, with the code of the functions taken from <folder>/<function>/bootstrap. Nothing
# else changes, so the real template is tested.
set -euo pipefail
folder="$(cd "$1" && pwd)"
cp "$(dirname "$0")/../template.yaml" "$2"
for function in invoke callback poll-tick meta; do
    if [ ! -x "$folder/$function/bootstrap" ]; then
        echo "$folder/$function/bootstrap is not there, or cannot be executed" >&2
        exit 1
    fi
    line="CodeUri: functions/$function"
    if [ "$(grep -c "$line\$" "$2")" -ne 1 ]; then
        echo "template.yaml has not one line '$line'" >&2
        exit 1
    fi
    sed "s|$line\$|CodeUri: $folder/$function|" "$2" >"$2.new"
    mv "$2.new" "$2"
done
