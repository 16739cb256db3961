"""What the applications here share: a pipeline with a server on the port that was asked for."""

import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402

Gst.init(None)


def say(*words):
    """A whole line: print() writes its end apart, and another thread may come between."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class Application:
    def __init__(self, properties, sink):
        self.pipeline = Gst.parse_launch(
            f"rtmp2serversrc name=source host=127.0.0.1 port={sys.argv[1]} {properties} ! {sink}"
        )
        self.source = self.pipeline.get_by_name("source")
        self.loop = GLib.MainLoop()
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::eos", lambda *_: self.loop.quit())
        bus.connect("message::error", lambda _, message: sys.exit(f"an error: {message.parse_error()}"))

    def on_message(self, name, handler):
        def handle(_bus, message):
            if message.get_structure().get_name() == name:
                handler(message.get_structure())

        self.pipeline.get_bus().connect("message::element", handle)

    def stat(self, name):
        found, value = self.source.get_property("stats").get_uint64(name)
        assert found, name
        return value

    def run_to_end(self):
        self.pipeline.set_state(Gst.State.PLAYING)
        self.loop.run()
        counters = {name: self.stat(name) for name in ("received", "pushed", "queued", "withheld")}
        say(*(f"{name} {value}" for name, value in counters.items()))
        self.pipeline.set_state(Gst.State.NULL)
