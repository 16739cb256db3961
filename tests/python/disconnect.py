"""Sends the publisher away as soon as it has been heard of 40 times."""

from application import Application, GLib, say

application = Application("loop=true", "fakesink")
source = application.source


def disconnected(message):
    say(f'{message.get_string("reason")}: {message.get_uint64("tags").value} tags')
    application.loop.quit()


def look():
    if application.stat("pushed") < 40:
        return GLib.SOURCE_CONTINUE
    say("asked to reconnect" if source.emit("request-reconnect", None) else "can't reconnect")
    say("disconnected" if source.emit("disconnect-publisher") else "nobody to disconnect")
    return GLib.SOURCE_REMOVE


application.on_message("rtmp2server-publisher-disconnected", disconnected)
say("disconnected" if source.emit("disconnect-publisher") else "nobody to disconnect")
GLib.timeout_add(5, look)
application.run_to_end()
