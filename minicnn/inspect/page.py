"""The page: one HTML file with everything in it, so that it opens from a disk, without a network.

`page/index.html` beside this file is an ordinary page, which names its style, its scripts and the record, in their
order. Here each name is replaced by what it stands for.
"""

import html
import json
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "page"
# What is replaced. In a pass of its own each would look through what the others filled in.
NAMED = re.compile(
    r'<title>.*?</title>|<link rel="stylesheet" href="(?P<style>[^"]+)">|<script src="(?P<script>[^"]+)"></script>'
)
RECORD = "record.js"  # as which index.html names the record
READ_RECORD = 'window.RECORD = JSON.parse(document.getElementById("record").textContent);'


def assembled(record: dict[str, Any]) -> str:
    """The page that shows a record, a string.

    >>> page = assembled({"title": "a < b", "left_out": ["</script>"]})
    >>> "<title>a &lt; b" in page, page.count("</script>") == page.count("<script")
    (True, True)
    """

    def content(named: re.Match[str]) -> str:
        if named["style"]:
            return f"<style>\n{_text(named['style'])}</style>"
        if named["script"] == RECORD:
            # In JSON every < stands in a string, where it may be written so; then no text can end the element.
            data = json.dumps(record, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
            return f'<script type="application/json" id="record">{data}</script>\n<script>{READ_RECORD}</script>'
        if named["script"]:
            return f"{_licence(named['script'])}<script>\n{_text(named['script'])}</script>"
        return f"<title>{html.escape(record['title'])} – minicnn</title>"

    return NAMED.sub(content, _text("index.html"))


def _text(name: str) -> str:
    return (FOLDER / name).read_text("utf-8")


def _licence(script: str) -> str:
    """The licence of a script of others, in vendor/, as a comment, which must not hold two hyphens."""
    if not script.startswith("vendor/"):
        return ""
    return f"<!--\n{_text(script.partition('.')[0] + '.LICENSE').replace('--', '- -')}-->\n"


def in_a_frame(page: str) -> str:
    """The page within another page, such as a notebook."""
    return f'<iframe srcdoc="{html.escape(page)}" title="minicnn inspect" width="100%" height="800"></iframe>'
