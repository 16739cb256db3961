#!/bin/sh
# Installs a tool of cargo's into target/tools, unless it is to be had already, and prints the PATH that has it:
# scripts/cargo-tool.sh NAME VERSION [COMMAND, if it has another name]
set -eu
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
target=$($cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
path="$target/tools/bin:$PATH"
if ! PATH=$path command -v "${3:-$1}" >/dev/null; then
    echo "Installing $1 into $target/tools" >&2
    # To optimise it takes minutes, and what it does seconds.
    CARGO_TARGET_DIR="$target/tools/build" $cargo install --debug --quiet --locked --root "$target/tools" "$1@$2" >&2
    rm --recursive --force "$target/tools/build"
fi
echo "$path"
