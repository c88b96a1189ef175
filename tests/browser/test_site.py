"""The site in a real Chromium, on a telephone and on a screen: nothing fetched from elsewhere, nothing cut off."""

import functools
import http.server
import threading

import pytest

from tests.site_build import needs_sphinx

from . import audit
from .visit import Visits

pytestmark = [pytest.mark.browser, needs_sphinx]

# One of each kind.
NAMES = [
    "index",
    "start",
    "published",
    "your-pictures",
    "learn",
    "results",
    "contributing",
    "lessons/06_convolution",
    "api/layers",
    "api/program",
    "_modules/minicnn/layers/conv",
]
SIZES = {"a telephone": {"width": 390, "height": 844}, "a screen": {"width": 1280, "height": 900}}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address(site):
    """Where the site is served on this machine, as a reader gets it."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def visits(browser, address):
    """Opens pages; a test in which any of them had a problem fails."""
    visits = Visits(browser, address)
    yield visits
    visits.close()
    assert not visits.problems, sorted(set(visits.problems))[:10]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_a_page_fits(visits, address, name, size):
    page = visits.open(f"{address}{name}.html", **SIZES[size])
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert too_wide <= 0
    cut = page.evaluate(
        "[...document.querySelectorAll('.bd-article :is(h1, h2, h3, dt)')]"
        ".filter(part => part.checkVisibility() && part.getBoundingClientRect().left + part.scrollWidth > innerWidth)"
        ".map(part => part.textContent)"
    )
    assert cut == []
    widths = page.evaluate(
        "[...document.images].filter(image => image.checkVisibility()).map(image => image.naturalWidth)"
    )
    assert all(width > 0 for width in widths)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index", "start", "results", "lessons/06_convolution", "api/layers"])
def test_a_page_is_accessible(visits, address, name, scheme):
    page = visits.open(f"{address}{name}.html", color_scheme=scheme)
    assert audit.accessibility_problems(page, preload=False) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_picture_is_shown_once_in_the_colours_of_the_page(visits, address, scheme):
    page = visits.open(f"{address}lessons/06_convolution.html", color_scheme=scheme)
    shown = page.evaluate(
        "[...document.querySelectorAll('.lesson figure')].map(figure => "
        "[...figure.querySelectorAll('img')].filter(image => image.checkVisibility()).map(image => image.className))"
    )
    assert shown
    assert all(classes == [f"only-{scheme}"] for classes in shown)


def test_a_telephone_gets_to_every_page(visits, address):
    page = visits.open(f"{address}index.html", **SIZES["a telephone"])
    page.locator("button.primary-toggle").first.click()
    page.get_by_role("link", name="Guides").locator("visible=true").first.click()
    page.wait_for_url("**/guides.html")
    page.get_by_role("link", name="Train on your pictures").locator("visible=true").first.click()
    page.wait_for_url("**/your-pictures.html")


def test_what_is_searched_is_found(visits, address):
    page = visits.open(f"{address}search.html")
    page.locator("input[type=search]").locator("visible=true").first.fill("adaptive pooling")
    page.keyboard.press("Enter")
    page.locator("ul.search li a").first.wait_for()
