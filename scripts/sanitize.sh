#!/bin/sh
# Tests of the core and of the element under valgrind, where a leak is an error as well.
set -eu
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
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
