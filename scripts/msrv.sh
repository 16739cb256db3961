#!/bin/sh
# Checks that the oldest compiler named in Cargo.toml is enough: that no dependency says it needs a newer one, and, if
# rustup has that compiler or can get it, that it builds the library. clippy (make lint) knows since when the standard
# library has what is used of it.
set -eu
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
newer=$($cargo metadata --format-version 1 --locked | python3 -c '
import json, sys
number = lambda version: [int(part) for part in version.split(".")]
for package in json.load(sys.stdin)["packages"]:
    version = package["rust_version"]
    if version and number(version) > number(sys.argv[1]):
        print(package["name"], package["version"], "needs", version)
' "$oldest")
[ -z "$newer" ] || { echo "$newer"; exit 1; }
echo "No dependency needs a compiler newer than $oldest"

if rustup toolchain install "$oldest" --profile minimal >/dev/null 2>&1; then
    CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/msrv" cargo "+$oldest" check --locked --lib
    echo "The library builds with $oldest"
else
    echo "There is no compiler $oldest here: not built with it"
    [ "${MSRV_BUILD:-}" != required ]
fi
