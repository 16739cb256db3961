#!/bin/sh
# Unpacks Debian's nginx with its RTMP module for `make bench`, into the directory given. Installed, it would start a web
# server on this machine.
set -eu

directory=$1
[ ! -e "$directory/usr/lib/nginx/modules/ngx_rtmp_module.so" ] || exit 0

work=$(mktemp --directory)
trap 'rm --recursive --force "$work"' EXIT
cd "$work"
# apt's own user may not write here.
get="apt-get --quiet --option APT::Sandbox::User=$(id --user --name) download nginx libnginx-mod-rtmp"
# Without lists, or with old ones, there is nothing to download yet.
$get || { apt-get update && $get; }
for package in "$work"/*.deb; do
    dpkg --extract "$package" "$directory"
done
# What it is linked to, libssl and libpcre2 mostly, is on any Debian with GStreamer.
ldd "$directory/usr/sbin/nginx" "$directory/usr/lib/nginx/modules/ngx_rtmp_module.so" | awk '
    /not found/ { print "missing:", $1; missing = 1 }
    END { exit missing }' >&2
