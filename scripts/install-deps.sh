#!/bin/sh
# Installs what Debian 12 needs to build and test the plugin, and the packages named as arguments. Does nothing, quickly,
# if all of it is there.
set -eu

# Building: a linker, pkg-config and the GStreamer headers.
# Tests and demo: gst-launch-1.0; videotestsrc and audiotestsrc (base), flvmux and aacparse (good),
# rtmp2sink, rtmpsink and voaacenc (bad), x264enc (ugly), decoders (libav); ffmpeg with ffprobe;
# GObject introspection for applications in Python; pip, with which install-encoders.sh gets newer ones; ip, for tests
# of a network that is cut; TLS for rtmp2sink (glib-networking); haproxy.
packages="
    gcc
    libc6-dev
    pkg-config
    libgstreamer1.0-dev
    gstreamer1.0-tools
    gstreamer1.0-plugins-base
    gstreamer1.0-plugins-good
    gstreamer1.0-plugins-bad
    gstreamer1.0-plugins-ugly
    gstreamer1.0-libav
    ffmpeg
    python3-gi
    gir1.2-gstreamer-1.0
    python3-pip
    iproute2
    glib-networking
    haproxy
    $*
"

if ! command -v dpkg-query >/dev/null; then
    echo "This is no Debian system: install the equivalents of" $packages >&2
    echo "then continue with the cargo commands of the Makefile." >&2
    exit 1
fi

missing=
for package in $packages; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif command -v sudo >/dev/null; then
    as_root=sudo
else
    echo "Missing packages:$missing. Install them as root; there is no sudo here." >&2
    exit 1
fi

echo "Installing$missing"
$as_root apt-get update
# env, because sudo does not hand variables on.
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $missing
