"""Worksheets and their keys in a real Chromium: each prints on one page, and can be read on a screen."""

import re

import pytest

from minicnn.learn.worksheets import WORKSHEETS, as_page

from . import audit

pytestmark = pytest.mark.browser

SEEDS = (0, 1, 2)
POINTS = {"A4": (595, 842), "Letter": (612, 792)}  # Letter is shorter: what fits there has room to spare on A4


def pages_on(page, paper):
    """How many pages the page is as a PDF, on paper of which the PDF says that it is of this size."""
    pdf = page.pdf(format=paper)
    for box in re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf):
        assert tuple(map(float, box)) == pytest.approx(POINTS[paper], abs=1)
    return len(re.findall(rb"/Type /Page\b", pdf))


@pytest.fixture
def shown(visits, tmp_path):
    """Opens a worksheet: shown("relu", 0, answers)."""

    def open_it(name, seed, answers, **options):
        path = tmp_path / f"{name}-{seed}-{answers}.html"
        path.write_text(as_page(name, seed, answers), encoding="utf-8")
        return visits.open(path, **options)

    return open_it


def test_pages_are_counted(visits, tmp_path):
    path = tmp_path / "two.html"
    path.write_text('<!doctype html><html lang="en"><title>t</title><p>1<p style="break-before: page">2')
    assert pages_on(visits.open(path), "A4") == 2


@pytest.mark.parametrize("answers", [False, True], ids=["sheet", "key"])
@pytest.mark.parametrize("name", WORKSHEETS)
def test_it_prints_on_one_page(shown, name, answers):
    for seed in SEEDS:
        page = shown(name, seed, answers)
        for paper in POINTS:
            assert pages_on(page, paper) == 1, f"seed {seed}"
        page.close()


def test_nothing_is_cut_off_at_the_side_of_the_paper(shown):
    for name in WORKSHEETS:
        for answers in (False, True):
            page = shown(name, 0, answers, width=680)  # A4 between its margins
            page.emulate_media(media="print")
            assert not audit.overflow(page), (name, answers)
            page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_on_a_screen(shown, scheme):
    for name in ("adaptive_pooling", "batchnorm"):
        for answers in (False, True):
            page = shown(name, 0, answers, color_scheme=scheme)
            assert audit.accessibility_problems(page) == []


@pytest.mark.parametrize("name", WORKSHEETS)
def test_it_fits_a_telephone(shown, name):
    for answers in (False, True):
        page = shown(name, 0, answers, width=360, height=740)
        assert not audit.overflow(page)
        page.close()
