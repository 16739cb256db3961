#!/usr/bin/env python3
"""Records whoever knows a key, one after another, each to a file of its own: ingest.py [PORT] [DIRECTORY]

Keys are read from the environment: INGEST_KEYS="anna=s3cret ben=other". Needs python3-gi and gir1.2-gstreamer-1.0.
"""

import hmac
import itertools
import os
import signal
import sys
import time

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402


class Ingest:
    def __init__(self, port, directory, keys):
        self.port = port
        self.directory = directory
        self.keys = keys
        self.loop = GLib.MainLoop()
        self.pipeline = None
        # Who publishes; and by address who may, and has not begun.
        self.name = None
        self.admitted = {}
        self.stopping = False
        self.failed = False

    def run(self):
        GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGINT, self.on_interrupt)
        self.listen()
        self.loop.run()
        self.pipeline.set_state(Gst.State.NULL)
        return 1 if self.failed else 0

    def listen(self):
        """A pipeline for the next publisher. The file gets its name when it is known who that is."""
        self.pipeline = Gst.Pipeline.new(None)
        self.source = make("rtmp2serversrc", port=self.port)
        self.pipeline.add(self.source)
        self.source.connect("caller-connecting", self.on_caller)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message", self.on_message)
        bus.set_sync_handler(self.on_posted)
        # What went wrong is on the bus.
        self.pipeline.set_state(Gst.State.PLAYING)

    def on_caller(self, source, caller):
        """Whether this one may publish. Called on a thread of its own, before any data."""
        key = caller.get_string("stream-key").encode()
        names = [name for name, known in self.keys.items() if hmac.compare_digest(known.encode(), key)]
        if not names:
            print(f"{caller.get_string('address')} has no key of ours", flush=True)
            return False
        # It may still be gone before its first frame, and somebody else be let in.
        self.admitted[caller.get_string("address")] = names[0]
        return True

    def on_posted(self, bus, message):
        """On the thread that posts: a publisher's tags wait until this has returned."""
        structure = message.get_structure()
        if structure is not None and structure.get_name() == "rtmp2server-publisher-connected":
            self.name = self.admitted[structure.get_string("address")]
            self.admitted = {}
            self.record()
        return Gst.BusSyncReply.PASS

    def record(self):
        # `async` off: the pipeline plays already, and does not wait for this sink to have something.
        sink = make("filesink", location=self.free_path())
        sink.set_property("async", False)
        self.pipeline.add(sink)
        self.source.link(sink)
        sink.sync_state_with_parent()

    def free_path(self):
        """An encoder may be back within the second: no recording is written over."""
        started = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        for number in itertools.count(1):
            suffix = "" if number == 1 else f"-{number}"
            path = os.path.join(self.directory, f"{self.name}-{started}{suffix}.flv")
            try:
                open(path, "x").close()
                return path
            except FileExistsError:
                pass

    def on_message(self, bus, message):
        if message.type == Gst.MessageType.ERROR:
            error, _ = message.parse_error()
            print(error.message, file=sys.stderr, flush=True)
            self.failed = True
            self.loop.quit()
        elif message.type == Gst.MessageType.EOS:
            bus.remove_signal_watch()
            self.pipeline.set_state(Gst.State.NULL)
            self.name = None
            self.loop.quit() if self.stopping else self.listen()
        elif message.type == Gst.MessageType.ELEMENT:
            self.tell(message.get_structure())

    def tell(self, structure):
        kind = structure.get_name()
        if kind == "rtmp2server-listening":
            # With port 0 the system has picked one, and it stays.
            self.port = structure.get_value("port")
            print(f"listening on port {self.port}", flush=True)
        elif kind == "rtmp2server-stream-info":
            print(f"{self.name}: {structure.to_string()}", flush=True)
        elif kind == "rtmp2server-publisher-disconnected":
            print(f"{self.name}: recorded {structure.get_value('tags')} tags: {structure.get_string('reason')}", flush=True)

    def on_interrupt(self):
        """Ctrl-C: with a publisher, what it has sent is recorded first."""
        self.stopping = True
        if self.name is None:
            self.loop.quit()
        else:
            self.pipeline.send_event(Gst.Event.new_eos())
        return GLib.SOURCE_CONTINUE


def make(factory, **properties):
    element = Gst.ElementFactory.make(factory, None)
    if element is None:
        sys.exit(f"GStreamer has no {factory}: is its plugin installed, or in GST_PLUGIN_PATH?")
    for name, value in properties.items():
        element.set_property(name, value)
    return element


def main():
    Gst.init(None)
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 1935
    directory = sys.argv[2] if len(sys.argv) > 2 else "."
    keys = dict(entry.split("=", 1) for entry in os.environ.get("INGEST_KEYS", "").split())
    if not keys:
        sys.exit('Nobody may publish: set INGEST_KEYS="NAME=KEY ..."')
    return Ingest(port, directory, keys).run()


if __name__ == "__main__":
    sys.exit(main())
