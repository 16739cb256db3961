#!/bin/sh
# Installs OBS Studio and a screen in memory, for tests/obs (Debian 12).
set -eu
for package in obs-studio xvfb libgl1-mesa-dri fonts-dejavu-core; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="${missing:-} $package"
done
[ -n "${missing:-}" ] || exit 0
[ "$(id -u)" -eq 0 ] && as_root= || as_root=sudo
$as_root apt-get update
# env, because sudo does not hand variables on.
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $missing
