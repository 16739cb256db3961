#!/bin/sh
# Prints the folder that cargo builds in; of another package: scripts/target-dir.sh MANIFEST
set -eu
cd "$(dirname "$0")/.."

metadata=$(${CARGO:-cargo} metadata --manifest-path "${1:-Cargo.toml}" --format-version 1 --no-deps)
echo "$metadata" | sed 's/.*"target_directory":"\([^"]*\)".*/\1/'
