#!/bin/sh
# Transcodes one publisher to 360p HLS: transcode_hls.sh [PORT [DIRECTORY]]
# Takes picture and sound: hlssink2 waits for both, and makes nothing of a publisher that sends one alone.
# Play DIRECTORY/index.m3u8. Ends when the publisher has left, and at Ctrl-C (-e: with a finished playlist).
set -eu

port=${1:-1935}
directory=${2:-.}
mkdir -p "$directory"

# Video is scaled and gets a key frame every two seconds, which is what HLS cuts at. videorate makes it regular,
# audioresample and audioconvert make whatever comes what the encoder takes.
exec gst-launch-1.0 -e \
    hlssink2 name=hls target-duration=2 max-files=0 playlist-length=0 send-keyframe-requests=false \
        location="$directory/%05d.ts" playlist-location="$directory/index.m3u8" \
    rtmp2serversrc port="$port" ! flvdemux name=demux \
    demux.video ! queue ! decodebin ! videoconvert ! videoscale ! videorate \
        ! 'video/x-raw,width=640,height=360,pixel-aspect-ratio=1/1,framerate=30/1' \
        ! x264enc tune=zerolatency speed-preset=veryfast bitrate=1000 key-int-max=60 \
        ! 'video/x-h264,profile=main' ! h264parse ! hls.video \
    demux.audio ! queue ! decodebin ! audioconvert ! audioresample \
        ! 'audio/x-raw,rate=48000,channels=2' ! voaacenc bitrate=128000 ! aacparse ! hls.audio
