"""The page: one HTML file with everything in it, so that it opens from a disk, without a network.

`page/index.html` beside this file is an ordinary page, which names its style, its scripts and the record, in their
order. Here each name is replaced by what it stands for.
"""

import html
import json
import re
from pathlib import Path

from minicnn.checkpoint import write_whole

FOLDER = Path(__file__).parent / "page"
# What is replaced. In a pass of its own each would look through what the others filled in.
NAMED = re.compile(
    r'<title>.*?</title>|<link rel="stylesheet" href="(?P<style>[^"]+)">|<script src="(?P<script>[^"]+)"></script>'
)
RECORD = "record.js"  # as which index.html names the record
READ_RECORD = 'window.RECORD = JSON.parse(document.getElementById("record").textContent);'


def assembled(record):
    """The page that shows a record, a string.

    >>> page = assembled({"title": "a < b", "left_out": ["</script>"]})
    >>> "<title>a &lt; b" in page, page.count("</script>") == page.count("<script")
    (True, True)
    """

    def content(named):
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


def _text(name):
    return (FOLDER / name).read_text("utf-8")


def _licence(script):
    """The licence of a script of others, in vendor/, as a comment, which must not hold two hyphens."""
    if not script.startswith("vendor/"):
        return ""
    return f"<!--\n{_text(script.partition('.')[0] + '.LICENSE').replace('--', '- -')}-->\n"


def in_a_frame(page):
    """The page within another page, such as a notebook."""
    return f'<iframe srcdoc="{html.escape(page)}" title="minicnn inspect" width="100%" height="800"></iframe>'


def require_place(path):
    """Raise OSError unless a file can be written at `path`, as far as that can be told before it is tried."""
    if path.is_dir():
        raise IsADirectoryError(f"inspect: expected the path of a file to write, got the folder {str(path)!r}")
    if path.exists() and not path.is_file():
        raise FileExistsError(f"inspect: expected the path of a file to write, got {str(path)!r}, which is no file")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"inspect: expected a path in a folder, got {str(path)!r}; there is no folder {str(path.parent)!r}, "
            "make it first"
        )


def write(page, path):
    """Write a page, whole or not at all. Raises OSError, which names the path."""
    require_place(path)
    content = page.encode("utf-8", "replace")  # half a character may come from a file's name
    try:
        write_whole(path, content)
    except OSError as error:  # of the file beside it, whose name means nothing to the reader
        raise OSError(error.errno, f"inspect: the page cannot be written: {error.strerror}", str(path)) from error
