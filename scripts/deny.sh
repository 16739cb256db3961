#!/bin/sh
# Checks the dependencies: licences, sources and bans without a network; known vulnerabilities if their database can be
# fetched, or was before. DENY_ADVISORIES=required makes it an error if neither is so.
set -eu
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
PATH=$(scripts/cargo-tool.sh cargo-deny 0.20.2)
export PATH

# Only what is built here, and that has been fetched.
$cargo fetch --quiet --locked --target x86_64-unknown-linux-gnu
$cargo deny --offline check licenses bans sources

databases=${CARGO_HOME:-$HOME/.cargo}/advisory-dbs
if ! $cargo deny --log-level off fetch db 2>/dev/null && ! ls "$databases"/*/crates >/dev/null 2>&1; then
    echo "The database of advisories can't be fetched: not checked for known vulnerabilities"
    [ "${DENY_ADVISORIES:-}" != required ]
    exit
fi
$cargo deny --offline check advisories
