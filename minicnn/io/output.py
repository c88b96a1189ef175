"""What is printed, on streams that cannot take every character.

A console of Windows, a file that output is sent to, or a system without a language may take but the 128 characters of
ASCII, or some 256. What they cannot take is written by characters that they can: what this package prints by what comes
nearest ("×" by "x"), and all else, such as names in other scripts, by its number ("\\u732b"), so that two different
names stay different.
"""

import codecs
import io
import sys

ERRORS = "minicnn.ascii"  # the name of `_in_ascii` among Python's error handlers

NEAREST = {
    **{"×": "x", "·": "*", "−": "-", "–": "-", "—": "-", "…": "...", "→": "->", "←": "<-", "²": "^2", "³": "^3"},
    **{"√": "sqrt", "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "±": "+-", "°": " degrees", "ᵀ": "^T", "✓": "v"},
    **{"✗": "x", "“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "•": "*", "∑": "sum", "∂": "d", "∞": "inf"},
    **dict.fromkeys("─━╸╺╴╶═", "-"),  # the lines and bars of tables and progress
    **dict.fromkeys("│┃║", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼┏┓┗┛┡┩╇╭╮╰╯┳┻╋", "+"),
}


def _in_ascii(error):
    """As Python calls an error handler: what is written in place of characters, and where it goes on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    bad = error.object[error.start : error.end]
    return "".join(NEAREST.get(c) or c.encode("ascii", "backslashreplace").decode() for c in bad), error.end


codecs.register_error(ERRORS, _in_ascii)


def printable(text, stream):
    """`text` with what `stream` cannot take written by what it can.

    >>> printable("3 × 3 猫", io.TextIOWrapper(io.BytesIO(), "ascii"))
    '3 x 3 \\\\u732b'
    """
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, ERRORS).decode(encoding)


def take_every_character():
    """Let standard output and standard error take every text from here on; for programs, at their start."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper):  # a notebook's, a test's, or none
            continue
        if codecs.lookup(stream.encoding).name == "ascii":
            buffering = {"line_buffering": stream.line_buffering, "write_through": stream.write_through}
            setattr(sys, name, _AsciiStream(stream.buffer, "utf-8", **buffering))
        else:
            stream.reconfigure(errors=ERRORS)


class _AsciiStream(io.TextIOWrapper):
    """A stream that says it is UTF-8, and gets nothing but ASCII.

    Click holds a stream that says it is ASCII for a mistake of the system, and writes UTF-8 to it past all else.
    """

    def write(self, text):
        return super().write(text.encode("ascii", ERRORS).decode())
