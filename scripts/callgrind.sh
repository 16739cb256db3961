#!/bin/bash
# Counts the instructions that the core needs for a fixed input, and compares them with benches/instructions.txt: more
# than 5 % more is an error. Instructions, unlike seconds, are the same on a busy machine.
#
# `scripts/callgrind.sh --renew` writes the file: after a change that is worth its instructions, or for another compiler.
set -euo pipefail
cd "$(dirname "$0")/.."

tolerance=5 # percent
reference=benches/instructions.txt
# Chunk size and bits per second, as examples/core_session.rs has them.
cases=("128 8000000" "4096 8000000" "65536 8000000" "128 300000" "4096 300000")

cargo=${CARGO:-cargo}
# A directory of its own: the library without the element would take the place of the plugin, which has the same name.
target=$(scripts/target-dir.sh)/callgrind
$cargo build --quiet --release --no-default-features --example core_session --target-dir "$target"
rustc=$(rustc --version)
work=$(mktemp --directory)
trap 'rm --recursive --force "$work"' EXIT

count() {
    valgrind --tool=callgrind --toggle-collect='*Driven::feed' --callgrind-out-file="$work/out" \
        "$target/release/examples/core_session" "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
    awk '/^(summary|totals):/ { print $2; exit }' "$work/out"
}

measured=$(for case in "${cases[@]}"; do
    # shellcheck disable=SC2086 # two arguments
    echo "$case $(count $case)"
done)

if [ "${1:-}" = --renew ]; then
    {
        echo "# Instructions of the core for a stream of 10 s: chunk size, bits per second of video, instructions."
        echo "# Compared by \`make callgrind\`, written by \`scripts/callgrind.sh --renew\`, with $rustc."
        echo "$measured"
    } >"$reference"
    cat "$reference"
    exit
fi

grep --quiet --fixed-strings "$rustc" "$reference" ||
    echo "note: $reference was made by another compiler than $rustc: a difference may be the compiler's" >&2
echo "$measured" | awk -v tolerance="$tolerance" '
    NR == FNR { if ($1 != "#") reference[$1, $2] = $3; next }
    {
        before = reference[$1, $2]
        if (!before) { print "no reference for " $1 " " $2; failed = 1; next }
        change = 100 * ($3 - before) / before
        verdict = change > tolerance ? "TOO MANY" : "ok"
        printf "chunk %5d, %7d bit/s: %9d instructions, %+.1f %%: %s\n", $1, $2, $3, change, verdict
        failed = failed || change > tolerance
        compared++
    }
    END { exit failed || !compared }' "$reference" -
