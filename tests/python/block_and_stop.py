"""A handler that blocks, and one that stops the element and lets go of it."""

import threading

from application import Application, Gst, say

application = Application("loop=true", "fakesink")
release = threading.Event()
stopped = threading.Event()


def decide(source, caller):
    if caller.get_string("stream-key") == "block":
        say("blocks")
        release.wait()
        return True
    say("stops")
    application.pipeline.set_state(Gst.State.NULL)
    application.pipeline = application.source = None
    say("stopped")
    stopped.set()
    return True


application.source.connect("caller-connecting", decide)
gone = threading.Event()
application.source.weak_ref(gone.set)
application.pipeline.set_state(Gst.State.PLAYING)
stopped.wait()
# Only now, so that one of them was blocked all the time.
release.set()
if gone.wait(20):
    say("gone")
