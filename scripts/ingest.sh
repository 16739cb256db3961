#!/bin/sh
# Builds and runs examples/ingest, and says where to publish to and where to watch. By the environment:
# PROFILE=release (cargo's), PORT=1935, HTTP=127.0.0.1:8080, KEYS=keys, RECORDINGS=recordings.
set -eu
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
port=${PORT:-1935}
http=${HTTP:-127.0.0.1:8080}
keys=${KEYS:-keys}
recordings=${RECORDINGS:-recordings}

$cargo build --manifest-path examples/ingest/Cargo.toml --locked --profile "${PROFILE:-release}"
target=$(scripts/target-dir.sh examples/ingest/Cargo.toml)
case ${PROFILE:-release} in
dev) program=$target/debug/ingest ;;
*) program=$target/${PROFILE:-release}/ingest ;;
esac

if [ ! -e "$keys" ]; then
    umask 077
    echo "camera $(od -A n -N 12 -t x1 /dev/urandom | tr -d ' \n')" >"$keys"
    umask 022
    echo "Made $keys, with one key"
fi
address=$(hostname -I 2>/dev/null | cut -d ' ' -f 1)
echo
echo "Publish to, from this network:"
sed 's/#.*//' "$keys" | while read -r name key; do
    [ -z "$key" ] || echo "  $name: Server rtmp://${address:-localhost}:$port/live  Stream Key $key"
done
echo "  or, in one field, the two with a slash between them"
echo "Watch at http://$http/   (Ctrl-C ends it)"
echo
exec "$program" --keys "$keys" --directory "$recordings" --port "$port" --http "$http"
