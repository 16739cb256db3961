#!/bin/bash
# Installs the Debian package in a clean Debian in a folder, and records a real publisher there. Needs root, for debootstrap
# and chroot, and half a gigabyte.
set -euo pipefail
cd "$(dirname "$0")/.."

[ "$(id -u)" -eq 0 ] || { echo "test-deb needs root, for debootstrap and chroot" >&2; exit 1; }
command -v debootstrap >/dev/null || scripts/install-deps.sh debootstrap
scripts/install-deps.sh dpkg-dev lintian

deb=$(scripts/build-deb.sh)
dpkg --info "$deb"
# There is no address before somebody distributes it, and no bug in Debian's tracker that it closes.
lintian --allow-root --fail-on error,warning \
    --suppress-tags bogus-mail-host,bogus-mail-host-in-debian-changelog,initial-upload-closes-no-bugs "$deb"
cargo build --example flvdiff
target=$(scripts/target-dir.sh)

. /etc/os-release
base=$target/deb/$VERSION_CODENAME
if [ ! -e "$base.complete" ]; then
    rm --recursive --force --one-file-system "$base"
    # The mirror that this machine uses itself.
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head --lines=1)
    debootstrap --variant=minbase "$VERSION_CODENAME" "$base" "$mirror"
    touch "$base.complete"
fi
# A new copy each time: what is installed below must not be there already.
root=$target/deb/clean
mounted=()
recorder=
clean_up() {
    [ -z "$recorder" ] || kill "$recorder" 2>/dev/null || true
    wait
    for place in "${mounted[@]}"; do
        umount "$place" || umount --lazy "$place"
    done
    rm --recursive --force --one-file-system "$root"
}
trap clean_up EXIT
trap 'exit 130' INT TERM
rm --recursive --force --one-file-system "$root"
cp --archive --reflink=auto "$base" "$root"
for place in /proc /dev; do
    mount --bind "$place" "$root$place"
    mounted=("$root$place" "${mounted[@]}")
done
mkdir "$root/run-here"
cp "$deb" "$root/run-here/package.deb"

inside() {
    chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C HOME=/root "$@"
}
# Nothing but the package: what it recommends brings gst-inspect-1.0 and gst-launch-1.0.
inside apt-get --quiet install --yes --install-recommends /run-here/package.deb
inside gst-inspect-1.0 rtmp2serversrc | sed -n '1,8p'
inside sh -c 'zcat /usr/share/doc/gstreamer1.0-rtmp2server/third-party.gz' | grep '^rustls '

: >"$root/run-here/log"
# The network is the machine's own, so the publisher need not be in there.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
chroot "$root" timeout --kill-after=5 60 gst-launch-1.0 --messages \
    rtmp2serversrc host=127.0.0.1 port="$port" ! filesink location=/run-here/recorded.flv >"$root/run-here/log" 2>&1 &
recorder=$!
until grep --quiet rtmp2server-listening "$root/run-here/log"; do
    kill -0 "$recorder" || { cat "$root/run-here/log"; exit 1; }
    sleep 0.05 # between two looks at the condition
done
flv='f=flv:flvflags=no_duration_filesize'
timeout --kill-after=5 60 ffmpeg -nostdin -v warning -y -f lavfi -i testsrc=size=320x240:rate=30 -t 5 \
    -c:v libx264 -preset ultrafast -g 30 -map 0 -flags +global_header \
    -f tee "[$flv]$root/run-here/sent.flv|[$flv:onfail=abort]rtmp://127.0.0.1:$port/live/test"
wait "$recorder"
recorder=
"$target/debug/examples/flvdiff" "$root/run-here/sent.flv" "$root/run-here/recorded.flv"
inside apt-get --quiet purge --yes gstreamer1.0-rtmp2server
# Not --exists, which asks for the version of GStreamer as well.
if inside gst-inspect-1.0 rtmp2serversrc >/dev/null 2>&1; then
    echo "purged, and still there" >&2
    exit 1
fi
echo "The package installs, records every frame, and goes without a trace."
