"""Lets in who knows the key, and says all that it hears."""

from application import Application, Gst, say

application = Application("loop=true application=live", "filesink location=output.flv")
source = application.source


def decide(_source, caller):
    application_and_key = [caller.get_string(name) for name in ("application", "stream-key", "query")]
    say("asked about", *application_and_key)
    return caller.get_string("stream-key") == "right"


def removed(_source, _caller):
    say("removed")
    application.pipeline.send_event(Gst.Event.new_eos())


def disconnected(message):
    tags = message.get_uint64("tags")
    assert tags[0]
    say("message of the publisher:", tags.value, "tags")


source.connect("caller-connecting", decide)
source.connect("caller-rejected", lambda _, caller: say("rejected:", caller.get_string("reason")))
source.connect("caller-added", lambda _, caller: say("added"))
source.connect("caller-removed", removed)
application.on_message("rtmp2server-publisher-disconnected", disconnected)
application.run_to_end()
