"""A real Chromium for the tests marked `browser`.

Where Playwright or a Chromium is missing they are skipped, and say what is missing; with the environment variable
MINICNN_BROWSER=required they fail instead, so that a run which was to test the page cannot pass without one.
"""

import importlib.util
import os

import pytest

from . import networks
from .inspector import Inspector
from .visit import Visits, chromium_path, start


def _missing():
    """What a browser test lacks on this machine, in words, or None."""
    for module in ("playwright", "axe_playwright_python"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed; get it with: pip install -e '.[browser]'"
    if chromium_path() is None:
        return "there is no chromium, chromium-browser or google-chrome; get one with: apt-get install chromium"
    return None


@pytest.fixture(scope="session")
def browser():
    """The system's Chromium, started once."""
    missing = _missing()
    if missing and os.environ.get("MINICNN_BROWSER") == "required":
        pytest.fail(f"MINICNN_BROWSER=required, but {missing}")
    if missing:
        pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = start(playwright)
        yield chromium
        chromium.close()


@pytest.fixture
def visits(browser):
    """Opens files; a test in which any of them had a problem fails."""
    visits = Visits(browser)
    yield visits
    visits.close()
    assert not visits.problems, f"{len(visits.problems)} problems, of these kinds: {sorted(set(visits.problems))[:10]}"


@pytest.fixture(scope="session")
def pages(browser, tmp_path_factory):
    """{name: path of the page} of each network in networks.py."""
    folder = tmp_path_factory.mktemp("pages")
    paths = {name: folder / f"{name}.html" for name in networks.MAKERS}
    for name, make in networks.MAKERS.items():
        network, x, y = make()
        network.inspect(x, y, path=paths[name])
    return paths


@pytest.fixture(scope="session")
def steps():
    """{name: what its page must show}."""
    return {name: networks.step(*make()) for name, make in networks.MAKERS.items()}


@pytest.fixture
def inspect(visits, pages, steps):
    """Opens the page of a network: inspect("own") gives its `Inspector`."""
    return lambda name, **options: Inspector(visits.open(pages[name], **options), steps[name])
