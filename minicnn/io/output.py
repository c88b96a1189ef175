"""Printing to streams that cannot encode every character.

A Windows console, a file that output is redirected to, or a system without a locale may accept only the 128 characters
of ASCII, or some 256. Others are replaced: those that this package prints by the nearest ones ("×" by "x"), and all
else, such as names in other scripts, by its number ("\\u732b"), so that two different
names stay different.
"""

import codecs
import io
import sys
from typing import Any

ERRORS = "minicnn.ascii"  # the name of `_in_ascii` among Python's error handlers

NEAREST = {
    **{"×": "x", "·": "*", "−": "-", "–": "-", "—": "-", "…": "...", "→": "->", "←": "<-", "²": "^2", "³": "^3"},
    **{"√": "sqrt", "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "±": "+-", "°": " degrees", "ᵀ": "^T", "✓": "v"},
    **{"✗": "x", "“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "•": "*", "∑": "sum", "∂": "d", "∞": "inf"},
    **dict.fromkeys("─━╸╺╴╶═", "-"),  # the lines and bars of tables and progress
    **dict.fromkeys("│┃║", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼┏┓┗┛┡┩╇╭╮╰╯┳┻╋", "+"),
}


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    """As Python calls an error handler: what is written in place of characters, and where it goes on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    bad = error.object[error.start : error.end]
    return "".join(NEAREST.get(c) or c.encode("ascii", "backslashreplace").decode() for c in bad), error.end


codecs.register_error(ERRORS, _in_ascii)


def printable(text: str, stream: Any) -> str:
    """`text` with the characters that `stream` cannot encode replaced.

    >>> printable("3 × 3 猫", io.TextIOWrapper(io.BytesIO(), "ascii"))
    '3 x 3 \\\\u732b'
    """
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, ERRORS).decode(encoding)


def take_every_character() -> None:
    """Make standard output and standard error accept every text from here on; for programs, at their start."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper):  # a notebook's, a test's, or none
            continue
        if codecs.lookup(stream.encoding).name == "ascii":
            buffering: dict[str, Any] = {"line_buffering": stream.line_buffering, "write_through": stream.write_through}
            setattr(sys, name, _AsciiStream(stream.buffer, "utf-8", **buffering))
        else:
            stream.reconfigure(errors=ERRORS)


class _AsciiStream(io.TextIOWrapper):
    """A stream that says it is UTF-8, and gets nothing but ASCII.

    Click takes a stream that says it is ASCII for a misconfigured system, and writes UTF-8 to it.
    """

    def write(self, text: str) -> int:
        return super().write(text.encode("ascii", ERRORS).decode())
