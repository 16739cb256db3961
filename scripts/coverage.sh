#!/bin/sh
# How much of src the tests run, by LLVM's own counters: a table by file, and the total.
# scripts/coverage.sh [arguments of cargo test]
set -eu
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
target=$(scripts/target-dir.sh)
PATH=$(scripts/cargo-tool.sh cargo-llvm-cov 0.9.1)
export PATH
# The compiler's own tools, or else Debian's, which read the same format.
if ! rustup component add llvm-tools >/dev/null 2>&1; then
    scripts/install-deps.sh llvm-19
    export LLVM_COV=llvm-cov-19 LLVM_PROFDATA=llvm-profdata-19
fi
# Where the tests look for them: install-encoders.sh knows one place.
mkdir -p "$target/llvm-cov-target"
ln -sfn "$target/encoders" "$target/llvm-cov-target/encoders"
# A test that fails has covered something all the same; `make test` is where it counts.
$cargo llvm-cov --no-report --no-fail-fast --lib --tests "$@" || echo "Some tests failed: see above" >&2
$cargo llvm-cov report --ignore-filename-regex '(tests?\.rs|_tests\.rs|/tests/|loom\.rs)$' |
    tee "$target/coverage.txt" |
    awk 'NR == 1 || /^-/ { next } { printf "%-45s %7s of lines\n", $1, $10 }'
