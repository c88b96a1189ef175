"""Docstrings are written to be read in an editor: formulas and tables are set apart by their indentation alone.

reStructuredText would take such a block for a quotation and run its lines together. So it is marked as literal, before
napoleon reads the sections `Args:`, `Returns:`, `Raises:` and their like, which are left alone, as are examples (`>>>`)
and lists.

In signatures types have the names by which the code calls them, such as `Array` and `ArrayLike`.
"""

import functools
import re

SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):$")
ARRAY = re.compile(r"~?(numpy\.)?ndarray\[tuple\[~?(typing\.)?Any, \.\.\.\], ~?(numpy\.)?dtype\[~?(typing\.)?Any\]\]")
ITEM = re.compile(r"([-*]|\d+\.) ")


def mark_blocks(app, what, name, obj, options, lines):
    """Change the lines of a docstring in place, as Sphinx asks for it."""
    lines[:] = with_literal_blocks(lines)


def with_literal_blocks(lines):
    """The same lines with `::` before each block that is indented for its own sake.

    >>> with_literal_blocks(["A sum,", "", "    y = a + b", "", "Args:", "    a: a number."])
    ['A sum,', '', '::', '', '    y = a + b', '', 'Args:', '    a: a number.']
    """
    result = []
    inside = None  # what the lines belong to: "section", "list", "example", "block", or None between them
    for line in lines:
        is_indented = line.startswith(" ")
        if not line.strip():
            inside = None if inside == "example" else inside
        elif not is_indented:
            starts = {"section": SECTION.match(line), "example": line.startswith(">>>"), "list": ITEM.match(line)}
            if inside == "block" and result[-1].strip():
                result.append("")
            # What follows the first line of an example belongs to it, up to a blank line.
            inside = inside if inside == "example" else next((kind for kind, match in starts.items() if match), None)
        elif inside is None:
            inside = "block"
            result += ["::", ""] if not (result and result[-1].strip()) else ["", "::", ""]
        result.append(line)
    return result


def shorten_types(app, what, name, obj, options, signature, returned):
    """The names of types, in place of what they are made of."""
    return tuple(text and _with_names(text) for text in (signature, returned))


def _with_names(text):
    for name, made_of in _types().items():
        text = text.replace(made_of, name)
    return ARRAY.sub("Array", text)


@functools.cache
def _types():
    """{name: what Sphinx writes for it} of unions that are nobody's reading."""
    from numpy.typing import ArrayLike, DTypeLike
    from sphinx.util.typing import stringify_annotation

    unions = {"ArrayLike": ArrayLike, "DTypeLike": DTypeLike}
    return {name: stringify_annotation(union, "smart") for name, union in unions.items()}


def setup(app):
    app.connect("autodoc-process-signature", shorten_types)
    app.connect("autodoc-process-docstring", mark_blocks, priority=400)  # before napoleon's 500
    return {"parallel_read_safe": True}
