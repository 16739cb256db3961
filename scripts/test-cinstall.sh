#!/bin/bash
# Installs by cargo-c into a folder; GStreamer finds the plugin there, and a C program links it in.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo=${CARGO:-cargo}
# Of the version that suits the Rust this is built with.
PATH=$(scripts/cargo-tool.sh cargo-c 0.10.21+cargo-0.95.0 cargo-cinstall)
export PATH
work=$(mktemp --directory)
trap 'rm --recursive --force "$work"' EXIT
export GST_REGISTRY=$work/registry.bin

# As the README has it, but below a folder.
command=$(grep '^cargo cinstall ' README.md)
(
    cargo() { command "$cargo" "$@" --destdir="$work/system"; }
    eval "$command"
)
libraries=$work/system$(pkg-config --variable=pluginsdir gstreamer-1.0)
GST_PLUGIN_PATH=$libraries gst-inspect-1.0 rtmp2serversrc | sed -n '1,5p'

"$cargo" cinstall --prefix="$work/installed" --libdir="$work/installed/lib" "$@"
libraries=$work/installed/lib/gstreamer-1.0
export PKG_CONFIG_PATH=$work/installed/lib/pkgconfig
pkg-config --modversion gstrtmp2server
cat >"$work/linked.c" <<'C'
#include <gst/gst.h>

GST_PLUGIN_STATIC_DECLARE (rtmp2server);

int
main (int argc, char **argv)
{
  GstElement *element;

  gst_init (&argc, &argv);
  GST_PLUGIN_STATIC_REGISTER (rtmp2server);
  element = gst_element_factory_make ("rtmp2serversrc", NULL);
  if (!element)
    return 1;
  gst_object_unref (element);
  return 0;
}
C
# The linker would take the shared library that is beside the static one.
rm "$libraries/libgstrtmp2server.so"
# shellcheck disable=SC2046 # words are meant
cc -Wall -Werror -o "$work/linked" "$work/linked.c" $(pkg-config --cflags --static --libs gstrtmp2server gstreamer-1.0)
"$work/linked"
echo "Installed, found, and linked in."
