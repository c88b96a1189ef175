"""The watch that every other test in this folder relies on: what it must see, and what it must let pass."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.browser

PAGE = '<!doctype html><html lang="en"><meta charset="utf-8"><title>t</title><body><p id="a">a</p>{}</body></html>'


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("<script>console.error('e')</script>", "console error: e"),
        ("<script>console.warn('w')</script>", "console warning: w"),
        ("<script>setTimeout(() => { throw new Error('late'); })</script>", "exception: late"),
        ("<script>Promise.reject(new Error('promised'))</script>", "exception: promised"),
        ("<img src='https://example.com/a.png' alt=''>", "request: GET https://example.com/a.png"),
        ("<script src='library.js'></script>", "request: GET file://"),
        ("<style>p { background: url(http://localhost:1/b.png) }</style>", "request: GET http://localhost:1/b.png"),
        ("<script>fetch('http://localhost:1/c', {method: 'POST'}).catch(() => 0)</script>", "request: POST http://"),
        ("<script>new WebSocket('ws://localhost:1/')</script>", "WebSocket: ws://localhost:1/"),
        ("<script>alert('f')</script>", "dialog: f"),
        ("<script>console.log('l'); fetch('data:,d'); fetch(URL.createObjectURL(new Blob(['b'])))</script>", None),
        ("<a href='#a'>a</a><script>document.querySelector('a').click()</script>", None),
    ],
)
def test_the_watch_sees_what_a_page_must_not_do_and_nothing_else(visits, tmp_path, content, problem):
    path = tmp_path / "page.html"
    path.write_text(PAGE.format(content), encoding="utf-8")
    page = visits.open(path)
    page.wait_for_timeout(150)
    seen, visits.problems = visits.problems, []
    if problem is None:
        assert seen == []
    else:
        assert any(line.startswith(problem) for line in seen), seen


def test_a_second_window_is_seen(visits, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(PAGE.format("<button onclick=\"window.open('about:blank')\">b</button>"), encoding="utf-8")
    page = visits.open(path)
    with page.context.expect_page():
        page.click("button")
    seen, visits.problems = visits.problems, []
    assert any(line.startswith("second window") for line in seen), seen


@pytest.mark.parametrize(("value", "outcome"), [("", "1 skipped"), ("required", "1 error")])
def test_without_a_browser_the_tests_are_skipped_and_where_it_is_required_they_fail(value, outcome):
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", f"{__file__}::test_a_second_window_is_seen"],
        env=os.environ | {"PATH": "", "MINICNN_BROWSER": value},
        capture_output=True,
        text=True,
    )
    assert outcome in result.stdout, result.stdout
    assert "get it with: " in result.stdout
