#!/bin/bash
# `make ingest` as a newcomer runs it, but for the ports, the folder and the build of the tests: what it prints is where
# ffmpeg publishes to, and the page has the picture.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp --directory)
ingest=
publisher=
clean_up() {
    [ -z "$publisher" ] || kill "$publisher" 2>/dev/null || true
    [ -z "$ingest" ] || kill -- "-$ingest" 2>/dev/null || true
    wait
    rm --recursive --force "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

fail() {
    cat "$work/log"
    echo "test-ingest: $*" >&2
    exit 1
}

# Waits for what has no event to wait for.
until_true() {
    for _ in $(seq 1200); do
        "$@" && return
        kill -0 "$ingest" 2>/dev/null || fail "it ended"
        sleep 0.05 # between two looks at the condition
    done
    fail "not within a minute: $*"
}
page_has() {
    python3 -c 'import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())' "$page$1" \
        >"$work/answer" 2>/dev/null && grep --quiet "$2" "$work/answer"
}

# The keys file as its README makes it, beside the examples.
ln --symbolic "$PWD/examples" "$work/examples"
(cd "$work" && eval "$(grep '^cp examples/ingest/keys.example ' examples/ingest/README.md)" && grep --quiet '^stage-left ' keys)
rm "$work/keys"

read -r port http < <(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(s.getsockname()[1] for s in sockets))')
variables=(PROFILE=dev "PORT=$port" "HTTP=127.0.0.1:$http" "KEYS=$work/keys" "RECORDINGS=$work/recordings")
# Built beforehand: the minute below is for the program.
"${CARGO:-cargo}" build --manifest-path examples/ingest/Cargo.toml --locked
target=$(scripts/target-dir.sh examples/ingest/Cargo.toml)
"$target"/debug/ingest --help | grep --quiet max-publishers

# In a group of its own, which gets the signals that a terminal sends.
TMPDIR=$work setsid make --no-print-directory ingest "${variables[@]}" >"$work/log" 2>&1 &
ingest=$!
until_true grep --quiet '^Watch at ' "$work/log"
page=$(sed -n 's/^Watch at \(http[^ ]*\).*/\1/p' "$work/log")
url=$(sed -n 's/^  camera: Server \([^ ]*\)  Stream Key \([^ ]*\)$/\1\/\2/p' "$work/log")
[ "$(stat --format %a "$work/keys")" = 600 ] || fail "others can read the keys"
until_true page_has "" "<html"

ffmpeg -nostdin -v error -re -f lavfi -i testsrc=size=320x240:rate=30 -t 20 -c:v libx264 -preset ultrafast -g 30 \
    -f flv "$url" >"$work/ffmpeg.log" 2>&1 &
publisher=$!
until_true page_has streams '"state":"playing"'
playlist=$(python3 -c '
import json, sys
stream, = json.load(sys.stdin)
print(stream["preview"]["url"])' <"$work/answer")
timeout --kill-after=5 30 ffmpeg -nostdin -v error -i "$page${playlist#/}" -frames:v 1 "$work/picture.png"
[ -s "$work/picture.png" ] || fail "no picture"
kill -INT "$publisher" 2>/dev/null || true
wait "$publisher" || true
publisher=
until_true page_has streams '"state":"ended"'
kill -TERM -- "-$ingest"
wait "$ingest" || true
ingest=
frames=$(ffprobe -v error -count_frames -select_streams v:0 -show_entries stream=nb_read_frames \
    -of default=nokey=1:noprint_wrappers=1 "$work"/recordings/camera-*.flv)
[ "$frames" -gt 0 ] || fail "nothing was recorded"
echo "make ingest: $frames frames recorded, and a picture on the page"
