"""The audits, each on a page with the fault that it must find and on one without."""

import pytest

from . import audit

pytestmark = pytest.mark.browser

GOOD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>A page</title><body><main>
<h1>A page</h1><button>press</button> <a href="#x">link</a> <label>size <input type="range"></label>
<fieldset><legend>view</legend><label><input type="radio" name="v" checked>a</label>
<label><input type="radio" name="v">b</label></fieldset>
<div role="grid" aria-label="map" tabindex="0"><div role="row"><div role="gridcell" tabindex="-1">1</div></div></div>
<details><summary>more</summary><button>inside</button></details>
<div style="overflow-x: auto" tabindex="0" role="region" aria-label="wide"><div style="width: 3000px">w</div></div>
<div id="x">%s</div></main>
<script>document.querySelector("[role=grid]").addEventListener("click", () => 0)</script></body></html>"""

AUDITS = [
    audit.accessibility_problems,
    audit.unreachable_controls,
    audit.nameless_controls,
    audit.mouse_only,
    audit.overflow,
]


@pytest.mark.parametrize(
    ("fault", "found_by"),
    [
        ("", None),
        ('<p style="color: #aaa; background: #fff">pale</p>', audit.accessibility_problems),
        ("<button></button>", audit.nameless_controls),
        ('<div tabindex="0"></div>', audit.nameless_controls),
        ("<button onkeydown='event.preventDefault()'>trap</button><button>behind</button>", audit.unreachable_controls),
        ("<p>p</p><script>x.firstChild.addEventListener('pointerdown', () => 0)</script>", audit.mouse_only),
        ("<p style='width: 500px'>p</p>", audit.overflow),
        ("<style>body { overflow-x: hidden }</style>", audit.overflow),
    ],
)
def test_each_audit_finds_its_fault(visits, tmp_path, fault, found_by):
    path = tmp_path / "page.html"
    path.write_text(GOOD % fault, encoding="utf-8")
    page = visits.open(path, width=360, height=700)
    found = {check for check in AUDITS if check(page)}
    assert found - {audit.accessibility_problems} == {found_by} - {audit.accessibility_problems, None}
    if found_by in (audit.accessibility_problems, None):
        assert (audit.accessibility_problems in found) == (found_by is not None)
