"""The lessons' pages in a real Chromium: nothing fetched, nothing said, nothing cut off, and readable by everybody."""

from functools import cache

import pytest

from minicnn.learn.lessons.files import lesson_paths
from minicnn.learn.lessons.pages import write_index, write_page
from minicnn.learn.lessons.run import run_lesson

from . import audit

pytestmark = pytest.mark.browser

NAMES = [path.stem for path in lesson_paths()]


@pytest.fixture(scope="module")
def lessons(browser, tmp_path_factory):
    """Gives the path of a page; its lesson is run when it is first asked for."""
    folder = tmp_path_factory.mktemp("lessons")
    write_index(folder / "index.html")
    paths = {path.stem: path for path in lesson_paths()}

    @cache
    def build(name):
        if name in paths:
            write_page(paths[name], run_lesson(paths[name]), folder / f"{name}.html")
        return folder / f"{name}.html"

    return build


@pytest.mark.parametrize("name", ["index", *NAMES])
def test_a_lesson_fits_a_phone(visits, lessons, name):
    page = visits.open(lessons(name), width=390, height=844)
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    assert audit.overflow(page) == []


@pytest.mark.parametrize("name", NAMES)
def test_code_fits_a_small_notebook(visits, lessons, name):
    """Without scrolling, in its longest line; on a phone it is scrolled."""
    page = visits.open(lessons(name), width=1000, height=700)
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    too_wide = "[...document.querySelectorAll('pre:not(.output)')].filter(pre => pre.scrollWidth > pre.clientWidth)"
    assert page.evaluate(f"{too_wide}.map(pre => pre.textContent)") == []


@pytest.mark.parametrize("name", ["index", *NAMES])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_lesson_is_accessible(visits, lessons, name, scheme):
    page = visits.open(lessons(name), color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    assert audit.accessibility_problems(page) == []


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_drawn_and_formulas_have_a_size(visits, lessons, name):
    page = visits.open(lessons(name))
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    widths = page.evaluate("[...document.images].map(image => image.complete ? image.naturalWidth : 0)")
    assert widths
    assert min(widths) > 50
    sizes = page.evaluate(
        "[...document.querySelectorAll('math')].map(math => Math.min(...['width', 'height'].map(side => "
        "math.getBoundingClientRect()[side])))"
    )
    assert min(sizes) > 4


def test_printed_a_lesson_shows_its_answers(visits, lessons):
    page = visits.open(lessons(NAMES[0]))
    page.emulate_media(media="print")
    heights = page.evaluate("[...document.querySelectorAll('details')].map(details => details.offsetHeight)")
    assert min(filter(None, heights)) > 60  # 0 are those with the code of a picture, which is not printed
