#!/bin/bash
# Records a real ffmpeg publisher with gst-launch-1.0 and shows, tag by tag, that what was sent is what was captured.
set -euo pipefail
cd "$(dirname "$0")/.."

frames=150
work=$(mktemp --directory)
recorder=
publisher=

clean_up() {
    for pid in $publisher $recorder; do
        kill "$pid" 2>/dev/null || true
    done
    wait
    rm --recursive --force "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

fail() {
    echo "demo: $*" >&2
    exit 1
}

# Looks at the kernel's table; connecting to find out would be a client of the server.
is_listening() {
    local port
    port=$(printf '%04X' "$1")
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v port=":$port\$" '$2 ~ port && $4 == "0A" { found = 1 } END { exit !found }'
}

cargo build --release --lib
# As the tests have it: examples in a release build would build everything once more.
cargo build --example flvdiff
target=$(scripts/target-dir.sh)
# GStreamer searches a plugin path with all that is below it, so it gets a directory with nothing but the plugin.
mkdir "$work/plugins"
ln --symbolic "$target/release/libgstrtmp2server.so" "$work/plugins/"
export GST_PLUGIN_PATH="$work/plugins"
export GST_REGISTRY="$work/registry.bin"

port=1935
while is_listening "$port"; do
    port=$((port + 1))
done

sent=$work/sent.flv
captured=$work/output.flv
url=rtmp://localhost:$port/live/test

echo
echo "\$ gst-launch-1.0 rtmp2serversrc port=$port ! filesink location=output.flv"
timeout --kill-after=5 60 gst-launch-1.0 rtmp2serversrc port="$port" ! filesink location="$captured" >"$work/gst-launch.log" 2>&1 &
recorder=$!
for _ in $(seq 300); do
    is_listening "$port" && break
    kill -0 "$recorder" 2>/dev/null || break
    sleep 0.05 # between two looks at the condition
done
is_listening "$port" || { cat "$work/gst-launch.log"; fail "gst-launch-1.0 does not listen on port $port"; }

echo "\$ ffmpeg -re -f lavfi -i testsrc=size=320x240:rate=30 -t 5 -c:v libx264 -preset ultrafast -g 30 -f flv $url"
echo "  (and the same packets to sent.flv; this takes 5 seconds)"
# With no_duration_filesize the file gets the bytes that the network gets; without it the metadata is completed later.
flv='[f=flv:flvflags=no_duration_filesize]'
timeout --kill-after=5 60 ffmpeg -nostdin -v warning -y -re -f lavfi -i testsrc=size=320x240:rate=30 -t 5 \
    -c:v libx264 -preset ultrafast -g 30 -map 0 -f tee "$flv$sent|$flv$url" &
publisher=$!
wait "$publisher" || fail "ffmpeg ended with status $?"
publisher=
wait "$recorder" || { status=$?; cat "$work/gst-launch.log"; fail "gst-launch-1.0 ended with status $status"; }
recorder=
echo "  both ended by themselves"

echo
"$target/debug/examples/flvdiff" "$sent" "$captured" || fail "what was captured is not what was sent"

counted=$(timeout --kill-after=5 60 ffprobe -v error -count_frames -select_streams v:0 \
    -show_entries stream=nb_read_frames -of default=nokey=1:noprint_wrappers=1 "$captured")
complaints=$(timeout --kill-after=5 60 ffmpeg -nostdin -v warning -i "$captured" -f null - 2>&1)
echo
echo "ffprobe decodes $counted of $frames video frames; ffmpeg complains about: ${complaints:-nothing}"
[ "$counted" = "$frames" ] || fail "frames are missing"
[ -z "$complaints" ] || fail "ffmpeg does not like the recording"
echo "Every frame was captured."
