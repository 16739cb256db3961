#!/bin/bash
# Runs a command, such as cargo test, with GStreamer's leaks tracer and fatal criticals, in all of its processes. Fails if
# the command does, and if anything of GStreamer was alive when a process that came to its own end did.
set -uo pipefail

logs=$(mktemp --directory)
trap 'rm --recursive --force "$logs"' EXIT

G_DEBUG=fatal-criticals GST_TRACERS=leaks GST_DEBUG=GST_TRACER:7 GST_DEBUG_NO_COLOR=1 GST_DEBUG_FILE="$logs/%p.log" "$@"
status=$?

# The first lines of each log tell what the lines of leaks look like; they name no type.
alive=$(grep --recursive --no-filename --extended-regexp 'object-alive, type-name=\(string\)[A-Za-z]' "$logs" |
    sed 's/.*object-alive, //; s/address=(gpointer)[^,]*, //' | sort | uniq --count)
traced=$(grep --recursive --files-with-matches object-alive "$logs" | wc --lines)
echo "leaks in $traced processes: ${alive:-none}"
[ -z "$alive" ] && [ "$traced" -gt 0 ] || status=1
exit "$status"
