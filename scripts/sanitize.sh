#!/bin/sh
# scripts/sanitize.sh valgrind   Tests of the core and of the element under valgrind, where a leak is an error as well.
# scripts/sanitize.sh address    All tests that run the element in their own process, with AddressSanitizer.
set -eu
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
if [ "${1:-valgrind}" = address ]; then
    target=$(scripts/target-dir.sh)
    # A stable compiler has it, if not officially. What GLib keeps to the end is no leak: that is scripts/traced.sh's.
    export RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=detect_leaks=0 CARGO_TARGET_DIR="$target/asan"
    # Without those that measure resident or allocated memory, and those of other programs, which can't load a plugin
    # that is built like this.
    tests=$(for file in tests/*.rs; do basename "$file" .rs; done | grep --invert-match --line-regexp --extended-regexp \
        'backpressure|costs|documents|examples|hostile|interrupts|memory|python|rtmps_memory' | sed 's/^/--test /')
    [ -n "$tests" ]
    host=$(rustc -vV | sed -n 's/^host: //p')
    # Where the tests look for them: install-encoders.sh knows one place.
    mkdir -p "$CARGO_TARGET_DIR/$host"
    ln -sfn "$target/encoders" "$CARGO_TARGET_DIR/$host/encoders"
    exec $cargo test --target "$host" --no-fail-fast --lib $tests -- \
        --skip gst_launch --skip a_client_that_is_gone_does_not_end_the_process
fi
host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')

suppressions=--suppressions=$PWD/scripts/valgrind.supp
# Comes with GLib's development files.
glib=/usr/share/glib-2.0/valgrind/glib.supp
[ ! -e "$glib" ] || suppressions="$suppressions --suppressions=$glib"
runner="valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=definite"
runner="$runner --errors-for-leak-kinds=definite --num-callers=30 $suppressions"
export "CARGO_TARGET_${host}_RUNNER=$runner" GST_REGISTRY_FORK=no G_SLICE=always-malloc

# Random cases by the hundred take long, and the fuzzer's corpus has what they find.
$cargo test --no-default-features --test session --test bounds --test hand_made_chunks --test fuzz_corpus
# Recordings from their start to their end, and publishers that end in each way.
$cargo test --test odd_encoders -- aggregates publishing_twice names_of_any_kind amf3
$cargo test --test lifecycle -- closed delete_stream a_reset one_connection
