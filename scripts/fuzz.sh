#!/bin/sh
# Fuzzes the core: scripts/fuzz.sh run SECONDS [TARGET...]
#                  scripts/fuzz.sh seed     writes the recorded encoders into the corpus
#                  scripts/fuzz.sh minimise leaves of the corpus what makes a difference
# Needs a stable compiler only: what libFuzzer wants of it is there, if not officially.
set -eu
cd "$(dirname "$0")/.."

CARGO=${CARGO:-cargo}
target=$(scripts/target-dir.sh)
PATH=$(scripts/cargo-tool.sh cargo-fuzz 0.13.2)
# A target folder of its own, or each build would undo the other's.
export CARGO_TARGET_DIR="$target/fuzz" RUSTC_BOOTSTRAP=1 PATH
corpus=fuzz/corpus
targets="handshake chunk_reader amf0 session_raw session_structured ertmp_inspect"
# Longer inputs are tried less often and say no more.
max_length=16384

# No sanitizer: there is nothing unsafe in the core, and it is twice as fast.
build() {
    $CARGO fuzz build --sanitizer none "$@"
}

case ${1:-} in
run)
    seconds=$2
    shift 2
    build
    for name in ${*:-$targets}; do
        echo "== $name, $seconds s"
        mkdir -p "$target/fuzz/corpus/$name" "$target/fuzz/findings/$name"
        # What is new goes to the first folder; the committed one is only read.
        "$target/fuzz/x86_64-unknown-linux-gnu/release/$name" \
            -max_total_time="$seconds" -max_len=$max_length -timeout=10 -rss_limit_mb=1024 \
            -print_final_stats=1 -artifact_prefix="$target/fuzz/findings/$name/" \
            "$target/fuzz/corpus/$name" "$corpus/$name"
    done
    ;;
seed)
    $CARGO run --quiet --manifest-path fuzz/Cargo.toml --example seed -- "$corpus"
    echo "scripts/fuzz.sh minimise leaves what makes a difference"
    ;;
minimise)
    build
    for name in $targets; do
        # Of the committed corpus and what was found since; regressions and what was made by hand stay.
        smaller=$(mktemp --directory)
        mkdir -p "$target/fuzz/corpus/$name"
        # Each covers something of its own; how often it does would make thousands.
        "$target/fuzz/x86_64-unknown-linux-gnu/release/$name" -merge=1 -use_counters=0 -max_len=$max_length \
            "$smaller" "$corpus/$name" "$target/fuzz/corpus/$name"
        find "$corpus/$name" -type f ! -name 'regression-*' ! -name 'made-*' -delete
        find "$smaller" -type f -exec mv {} "$corpus/$name/" \;
        rm --recursive "$smaller"
    done
    du --summarize --human-readable "$corpus"/*
    ;;
*)
    sed -n '2,5s/^# //p' "$0" >&2
    exit 2
    ;;
esac
