#!/bin/bash
# Runs the tests that were built here, and so the same plugin, on the newest GStreamer: Debian sid in a folder.
# Needs root (debootstrap, chroot) and about 2 GB. Arguments: names of test binaries, all that need GStreamer if none.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(realpath --canonicalize-missing "${CARGO_TARGET_DIR:-target}")
root=${SID_ROOT:-$target/sid}
packages="gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
    gstreamer1.0-plugins-ugly gstreamer1.0-libav python3-gi gir1.2-gstreamer-1.0 ffmpeg iproute2
    gcc libc6-dev haproxy openssl"

if [ "$(id -u)" -ne 0 ]; then
    echo "test-newest needs root, for debootstrap and chroot" >&2
    exit 1
fi
if ! command -v debootstrap >/dev/null; then
    apt-get update
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends debootstrap
fi
# A folder that is complete says for which packages.
if [ "$(cat "$root/.complete" 2>/dev/null)" != "$packages" ]; then
    # What an earlier run left mounted there is not to be removed with it.
    if grep --quiet " $root[/ ]" /proc/self/mounts; then
        echo "$root: something is mounted there, from a run that was killed: umount it first" >&2
        exit 1
    fi
    rm --recursive --force --one-file-system "$root"
    # The mirror that this machine uses itself.
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head --lines=1)
    debootstrap --variant=minbase sid "$root" "$mirror"
    # A mirror may be a snapshot whose Release file has run out.
    echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/snapshot"
    chroot "$root" apt-get update
    chroot "$root" env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends $packages
    chroot "$root" apt-get clean
    printf '%s\n' "$packages" >"$root/.complete"
fi
# debootstrap makes none.
[ -e "$root/etc/hosts" ] || printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"

cargo build
tests=("$@")
[ ${#tests[@]} -gt 0 ] || mapfile -t tests < <(sed -n "/^\[\[test\]\]/{n;s/^name = \"\(.*\)\"$/\1/p}" Cargo.toml |
    # They need cargo, an OBS Studio, and an idle machine.
    grep --invert-match --line-regexp 'documents\|examples\|obs\|scale_figures')

mounted=()
unmount() {
    for place in "${mounted[@]}"; do
        umount "$place" || umount --lazy "$place"
    done
}
trap unmount EXIT
# A mount of its own: a network namespace makes / private, and can't do so with a folder.
mount --bind "$root" "$root"
mounted=("$root")
for place in /proc /dev /dev/shm; do
    mount --bind "$place" "$root$place"
    mounted=("$root$place" "${mounted[@]}")
done
# At the same paths, because tests know where their crate is, and what was built with them.
for place in "$PWD" "$target"; do
    mkdir --parents "$root$place"
    mount --bind "$place" "$root$place"
    mounted=("$root$place" "${mounted[@]}")
done

chroot "$root" gst-inspect-1.0 --version | tail --lines=2
status=0
for name in "${tests[@]}"; do
    binary=$(cargo test --no-run --test "$name" --message-format=json 2>/dev/null |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail --lines=1)
    echo "== $name"
    chroot "$root" env --chdir="$PWD" G_DEBUG=fatal-criticals RTMP2SERVER_REPEAT="${RTMP2SERVER_REPEAT:-3}" \
        timeout 600 "$binary" || status=1
done
exit "$status"
