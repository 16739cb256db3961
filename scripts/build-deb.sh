#!/bin/bash
# Builds the Debian package for this machine's architecture and release, in target/deb. Prints its path last.
# Who distributes it says so: DEBFULLNAME and DEBEMAIL become the maintainer.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
target=$(scripts/target-dir.sh)
version=$(sed -n '/^\[package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
package=$(sed -n 's/^Package: //p' packaging/debian/control)
library=usr/lib/$(dpkg-architecture --query DEB_HOST_MULTIARCH)/gstreamer-1.0/libgstrtmp2server.so

# Paths of this machine are nobody's business.
flags="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo --remap-path-prefix=$PWD=/source"
flags+=" --remap-path-prefix=${RUSTUP_HOME:-$HOME/.rustup}=/rustup"
RUSTFLAGS="${RUSTFLAGS:-} $flags" "$cargo" build --release --lib --target-dir "$target/deb/build"

work=$target/deb/work
rm --recursive --force "$work"
root=$work/root
doc=$root/usr/share/doc/$package
install -D --mode=644 "$target/deb/build/release/libgstrtmp2server.so" "$root/$library"
strip --strip-unneeded --remove-section=.comment --remove-section=.note "$root/$library"
install -D --mode=644 packaging/debian/copyright "$doc/copyright"
CARGO=$cargo python3 packaging/third-party.py >"$work/third-party"
gzip --best --no-name <"$work/third-party" >"$doc/third-party.gz"
gzip --best --no-name <CHANGELOG.md >"$doc/changelog.gz"

mkdir "$work/debian" "$root/DEBIAN"
maintainer="${DEBFULLNAME:-The gst-plugin-rtmp2server authors} <${DEBEMAIL:-maintainers@localhost}>"
awk -v maintainer="$maintainer" '/^Source: /{ print; print "Maintainer: " maintainer; next } 1' \
    packaging/debian/control >"$work/debian/control"
# Of the commit, so that the same source gives the same package; of the file where there is no git.
date=$(git log --max-count=1 --format=%cD 2>/dev/null || date --rfc-email --reference=CHANGELOG.md)
printf 'gst-plugin-rtmp2server (%s-1) unstable; urgency=medium\n\n  * Version %s; see changelog.gz.\n\n -- %s  %s\n' \
    "$version" "$version" "$maintainer" "$date" >"$work/debian/changelog"
gzip --best --no-name <"$work/debian/changelog" >"$doc/changelog.Debian.gz"

# What it is linked against, as packages with the versions whose symbols it uses.
(
    cd "$work"
    dpkg-shlibdeps "root/$library"
    dpkg-gencontrol -p"$package" -Proot -Tdebian/substvars
    cd root
    find usr -type f -print0 | sort --zero-terminated | xargs --null md5sum >DEBIAN/md5sums
)
find "$root" -type d -exec chmod 755 {} +
chmod 644 "$root"/DEBIAN/*
SOURCE_DATE_EPOCH=$(date --date="$date" +%s) dpkg-deb --root-owner-group --build "$root" "$target/deb" >&2
echo "$target/deb/${package}_$version-1_$(dpkg --print-architecture).deb"
