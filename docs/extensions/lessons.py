"""The lessons of the course as pages of the site: run, and rendered by `minicnn.learn.lessons`.

For each lesson there is a page `lessons/NAME.md`, written when the build starts, with the directive `lesson` in it.
That takes what `page_of` makes of the lesson, and gives it the site's headings, and its light or dark, for its own.
"""

import base64
import html
import re
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from minicnn.learn.lessons.files import lesson_paths, title_of
from minicnn.learn.lessons.pages import INK_STYLE, page_of
from minicnn.learn.lessons.run import run_lesson

PATHS = {path.stem: path for path in lesson_paths()}
PICTURE = re.compile(r'<img src="data:image/svg\+xml;base64,([^"]+)" alt="([^"]*)">')
CODE = re.compile(r'<pre tabindex="0"><code>(.*?)</code></pre>', re.DOTALL)
HEADING = re.compile(r"<h2>(.*?)</h2>")
INK = {"light": "#1c1f26", "dark": "#e9e6de"}  # of text and axes in pictures


def write_pages(app):
    folder = Path(app.srcdir, "lessons")
    folder.mkdir(exist_ok=True)
    for name, path in PATHS.items():
        page, text = folder / f"{name}.md", f"# {title_of(path)}\n\n```{{lesson}} {name}\n```\n"
        if not page.exists() or page.read_text("utf-8") != text:
            page.write_text(text, "utf-8")


class Lesson(SphinxDirective):
    required_arguments = 1

    def run(self):
        path = PATHS[self.arguments[0]]
        self.env.note_dependency(str(path))
        content = page_of(path, run_lesson(path)).partition("</h1>")[2].partition("</main>")[0]
        content = PICTURE.sub(_in_light_and_dark, content)
        content = CODE.sub(r'<div class="highlight"><pre tabindex="0">\1</pre></div>', content)
        head, *parts = HEADING.split(content)
        return [_raw(head), *map(self._section, parts[::2], parts[1::2])]

    def _section(self, heading, content):
        title = html.unescape(re.sub("<[^>]+>", "", heading))
        section = nodes.section(ids=[nodes.make_id(title)])
        section += nodes.title("", title)
        section += _raw(content)
        return section


def _raw(content):
    return nodes.raw("", f'<div class="lesson">{content}</div>', format="html")


def _in_light_and_dark(match):
    """The picture twice, of which the theme shows one: the site's switch has no effect within an image."""
    svg, caption = base64.b64decode(match[1]).decode(), match[2]
    images = []
    for mode, ink in INK.items():
        shown = svg.replace(INK_STYLE, f"<style>svg{{color:{ink}}}</style>")
        source = base64.b64encode(shown.encode()).decode()
        images.append(f'<img class="only-{mode}" src="data:image/svg+xml;base64,{source}" alt="{caption}">')
    return "".join(images)


def setup(app):
    app.add_directive("lesson", Lesson)
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True}
