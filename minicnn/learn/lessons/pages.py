"""Lessons as pages: one HTML file each, with everything in it, that opens from a disk, without network or script.

Formulas become MathML, pictures SVG within the page, and the colours of both follow the reader's light or dark. Answers
to questions are folded away until the reader opens them.
"""

from __future__ import annotations

import base64
import html
import io
import re
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minicnn.inspect.page import FOLDER
from minicnn.io.files import write_whole
from minicnn.learn.lessons.files import lesson_paths, title_of
from minicnn.learn.lessons.run import ANSWER, INK, PICTURE, Code, Picture, Printed, Text, needing_lesson_packages

if TYPE_CHECKING:
    from matplotlib.figure import Figure

THEME = FOLDER / "theme.css"
STYLE = Path(__file__).parent.parent / "page" / "lesson.css"

# A table may be wider than a phone, and then scrolls by itself; its empty upper left corner is no heading.
REPLACED = {
    "<table>": '<div class="table" tabindex="0"><table>',
    "</table>": "</table></div>",
    "<th></th>": "<td></td>",
}

# What follows a formula in the line is taken into its element, which is not broken.
PUNCTUATION = re.compile(r"(?<=</math>)(</span>)([.,:;?!)]+)")

# A prime is a high sign already. As a superscript, as the converter has it, it would be raised twice and very small.
PRIME = re.compile(r"<msup>((?:(?!</?msup>).)*)<mi>(&#x0203[234];)</mi></msup>")

# What the colour of a picture's text and axes stands for, in light and in dark: --ink of the theme.
INK_STYLE = f"<style>svg{{color:{INK}}}@media(prefers-color-scheme:dark){{svg{{color:#e9e6de}}}}</style>"


def write_page(path: Path, cells: list[Text | Code], destination: str | Path) -> None:
    """Write `page_of` a lesson. Raises ImportError where a package is missing, and OSError."""
    write_whole(destination, page_of(path, cells).encode())


def write_index(destination: str | Path) -> None:
    """Write the page that lists the lessons."""
    items = "\n".join(
        f'<li><a href="{path.stem}.html">{html.escape(title_of(path).partition(" · ")[2])}</a></li>'
        for path in lesson_paths()
    )
    body = (
        "<main>\n<h1>Learn backpropagation by writing it</h1>\n"
        "<p>Read a lesson, answer its questions before you unfold the answers, then do its exercise.</p>\n"
        f"<ol>\n{items}\n</ol>\n</main>"
    )
    write_whole(destination, whole_page("Learn backpropagation by writing it", body).encode())


def page_of(path: Path, cells: list[Text | Code]) -> str:
    """The page, a string, of the lesson in the file `path` and the `cells` that `run_lesson` made of it.

    Raises ImportError where a package is missing.
    """
    parts = []
    for answers, group in groupby(cells, key=lambda cell: ANSWER in cell.tags):
        content = "\n".join(_cell(cell) for cell in group)
        parts.append(_folded("Answer", content) if answers else content)
    links, content = _links(path), "\n".join(parts)
    top, end = (f'<nav aria-label="Lessons, {place}">{links}</nav>' for place in ("at the top", "at the end"))
    return whole_page(title_of(path), f"<header>{top}</header>\n<main>\n{content}\n</main>\n<footer>{end}</footer>")


def whole_page(title: str, body: str, *styles: Path) -> str:
    """A page with the style of the lessons, and after it that of more files, in it; `body` is HTML, `title` is not."""
    style = "".join(path.read_text("utf-8") for path in (THEME, STYLE, *styles))
    return (
        '<!doctype html>\n<html lang="en-GB">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)} – minicnn</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _links(path: Path) -> str:
    """The way to the lessons before and after this one, and to their list."""
    paths = lesson_paths()
    links = ['<a href="index.html">All lessons</a>']
    if path in paths:
        place = paths.index(path)
        if place > 0:
            links.insert(0, f'<a rel="prev" href="{paths[place - 1].stem}.html">← {title_of(paths[place - 1])}</a>')
        if place + 1 < len(paths):
            links.append(f'<a rel="next" href="{paths[place + 1].stem}.html">{title_of(paths[place + 1])} →</a>')
    return "".join(links)


def _cell(cell: Text | Code) -> str:
    if isinstance(cell, Text):
        return _markdown(cell.source)
    code, outputs = _highlighted(cell.source), [_output(output) for output in cell.outputs]
    if PICTURE in cell.tags:
        return "\n".join([*outputs, _folded("How it is drawn", code)])
    return "\n".join([code, *outputs])


def _folded(summary: str, content: str) -> str:
    return f"<details>\n<summary>{summary}</summary>\n{content}\n</details>"


def _output(output: Printed | Picture) -> str:
    if isinstance(output, Picture):
        caption = html.escape(output.caption)
        source = base64.b64encode(_svg(output.figure).encode()).decode()
        # The caption is read aloud once, as what the picture shows.
        return (
            f'<figure><img src="data:image/svg+xml;base64,{source}" alt="{caption}">'
            f'<figcaption aria-hidden="true">{caption}</figcaption></figure>'
        )
    return f'<pre class="output" tabindex="0">{html.escape(output.text)}</pre>'


def _svg(figure: Figure) -> str:
    """The figure as SVG, in which `INK` follows the reader's light or dark."""
    with needing_lesson_packages("page_of"):
        import matplotlib
    content = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "minicnn"}):  # the same picture gives the same file
        figure.savefig(content, format="svg", metadata={"Date": None})
    head, _, rest = content.getvalue().partition("<defs>")
    return f"{head}{INK_STYLE}<defs>{rest}".replace(f": {INK}", ": currentColor")


def _highlighted(source: str) -> str:
    with needing_lesson_packages("page_of"):
        from pygments import highlight
        from pygments.formatters import HtmlFormatter
        from pygments.lexers import PythonLexer
    return f'<pre tabindex="0"><code>{highlight(source, PythonLexer(), HtmlFormatter(nowrap=True))}</code></pre>'


def _markdown(source: str) -> str:
    with needing_lesson_packages("page_of"):
        from markdown_it import MarkdownIt
        from mdit_py_plugins.dollarmath import dollarmath_plugin
    markdown = MarkdownIt("commonmark", {"html": False, "highlight": _fenced}).enable("table")
    text = markdown.use(dollarmath_plugin, allow_labels=False, renderer=_mathml).render(source).strip()
    for made, wanted in REPLACED.items():
        text = text.replace(made, wanted)
    return PUNCTUATION.sub(r"\2\1", text)


def _fenced(source: str, language: str, _: object) -> str:
    """Code within text."""
    return _highlighted(source) if language == "python" else f'<pre tabindex="0">{html.escape(source)}</pre>'


def _mathml(formula: str, options: dict[str, Any]) -> str:
    with needing_lesson_packages("page_of"):
        from latex2mathml.converter import convert
    display = options["display_mode"]
    mathml = convert(formula.strip(), display="block" if display else "inline")
    mathml = PRIME.sub(r'<mrow>\1<mo lspace="0" rspace="0">\2</mo></mrow>', mathml)
    return f'<div class="formula" tabindex="0">{mathml}</div>' if display else mathml
