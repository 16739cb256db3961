"""Runs the block of Python in the README: who has a key that is allowed may publish."""

import pathlib

from application import Application, say

application = Application("", "filesink location=output.flv")
source = application.source
allowed = {"s3cret"}
readme = pathlib.Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8")
(block,) = [block.split("```")[0] for block in readme.split("```python\n")[1:]]
exec(block)  # pylint: disable=exec-used
source.connect("caller-rejected", lambda _, caller: say("rejected:", caller.get_string("reason")))
application.run_to_end()
