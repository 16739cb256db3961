#!/bin/sh
# Transcodes one publisher to 360p HLS: transcode_hls.sh [--no-audio | --no-video] [PORT [DIRECTORY]]
# Play DIRECTORY/index.m3u8. Ends when the publisher has left, and at Ctrl-C (-e: with a finished playlist).
#
# Say what the publisher leaves out: hlssink2 waits for all that is linked to it before it writes anything, and
# gst-launch-1.0 has to link it before anybody publishes.
set -eu

audio=yes video=yes
case ${1-} in
    --no-audio) audio=no && shift ;;
    --no-video) video=no && shift ;;
    -*) echo "usage: $0 [--no-audio | --no-video] [PORT [DIRECTORY]]" >&2 && exit 2 ;;
esac
port=${1:-1935}
directory=${2:-.}
mkdir -p "$directory"

set -- hlssink2 name=hls target-duration=2 max-files=0 playlist-length=0 send-keyframe-requests=false \
    location="$directory/%05d.ts" playlist-location="$directory/index.m3u8" \
    rtmp2serversrc port="$port" ! flvdemux name=demux

# Video is scaled and gets a key frame every two seconds, which is what HLS cuts at. videorate makes it regular,
# audioresample and audioconvert make whatever comes what the encoder takes.
if [ $video = yes ]; then
    set -- "$@" demux.video ! queue ! decodebin ! videoconvert ! videoscale ! videorate \
        ! 'video/x-raw,width=640,height=360,pixel-aspect-ratio=1/1,framerate=30/1' \
        ! x264enc tune=zerolatency speed-preset=veryfast bitrate=1000 key-int-max=60 \
        ! 'video/x-h264,profile=main' ! h264parse ! hls.video
fi
if [ $audio = yes ]; then
    set -- "$@" demux.audio ! queue ! decodebin ! audioconvert ! audioresample \
        ! 'audio/x-raw,rate=48000,channels=2' ! voaacenc bitrate=128000 ! aacparse ! hls.audio
fi
exec gst-launch-1.0 -e "$@"
