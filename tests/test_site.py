"""The site, built with warnings as errors: whole, without anything from elsewhere, and no link in it leads nowhere.

Level `docs`; needs the packages of the extra `docs`. While it is built its programs and commands are run.
"""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from minicnn.learn.lessons.files import lesson_paths, title_of
from tests.site_build import needs_sphinx
from tests.test_docs import PUBLIC, object_called

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.docs, needs_sphinx]


class Page(HTMLParser):
    """Of a page of the site: what a browser fetches for it, what a reader may follow, and the places in it."""

    def __init__(self, path):
        super().__init__()
        self.path, self.fetched, self.followed, self.places, self.twice = path, [], [], set(), set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if "id" in given:
            (self.twice if given["id"] in self.places else self.places).add(given["id"])
        self.fetched += [given[name] for name in ("src", "srcset", "poster", "data") if given.get(name)]
        if tag == "link" and given.get("rel") in ("stylesheet", "preload", "icon", "shortcut icon", "preconnect"):
            self.fetched.append(given["href"])
        if tag == "a" and given.get("href"):
            self.followed.append(given["href"])


@pytest.fixture(scope="session")
def pages(site):
    """{path: Page} of all pages; those with the highlighted source of modules among them."""
    return {path: Page(path) for path in sorted(site.rglob("*.html")) if "_static" not in path.parts}


def test_nothing_is_fetched_from_elsewhere(site, pages):
    for path, page in pages.items():
        for address in page.fetched:
            parts = urlsplit(address)
            if parts.scheme == "data":
                continue
            assert not parts.scheme, f"{path.name}: {address}"
            assert not parts.netloc, f"{path.name}: {address}"
            assert (path.parent / unquote(parts.path)).exists(), f"{path.name}: {address}"
    for style in site.rglob("*.css"):
        for address in re.findall(r"(?:url\(|@import )['\"]?([^'\")]+)", style.read_text("utf-8")):
            assert not re.match(r"(https?:)?//", address), f"{style.name}: {address}"


def test_links_within_the_site_lead_somewhere(pages):
    for path, page in pages.items():
        for address in page.followed:
            parts = urlsplit(address)
            if parts.scheme:
                assert parts.scheme == "https", f"{path.name}: {address}"
                assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", parts.netloc), f"{path.name}: {address}"
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.exists(), f"{path.name}: {address}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].places, f"{path.name}: {address}"


def test_a_place_has_one_name(pages):
    for path, page in pages.items():
        assert not page.twice, f"{path.name}: {sorted(page.twice)[:5]}"


def documented(site):
    """{name: its page and place} of everything in the reference."""
    from sphinx.util.inventory import InventoryFile

    with open(site / "objects.inv", "rb") as file:
        inventory = InventoryFile.load(file, "", lambda base, uri: uri)
    entries = {}
    for kind, found in inventory.items():
        if kind.startswith("py:"):
            for name, item in found.items():
                entries[name] = item.uri if hasattr(item, "uri") else item[2]
    return entries


def test_every_public_name_is_in_the_reference(site):
    names = documented(site)
    there = {id(object_called(name)) for name in names}
    missing = {name for name in PUBLIC if id(object_called(name)) not in there}
    assert missing == set()


def test_every_name_in_the_reference_leads_to_its_source(site):
    """Functions and classes; what a class inherits is in the source of another."""
    for name, address in documented(site).items():
        found = object_called(name)
        if not callable(found) or not getattr(found, "__module__", "").startswith("minicnn"):
            continue
        page, _, place = address.partition("#")
        text = (site / page).read_text("utf-8")
        entry = text[text.index(f'id="{place or name}"') :].partition("</dt>")[0]
        owner = object_called(name.rpartition(".")[0])
        is_inherited = isinstance(owner, type) and name.rpartition(".")[2] not in vars(owner)
        assert "viewcode-link" in entry or is_inherited, name


def test_types_in_signatures_have_names(site):
    for path in (site / "api").glob("*.html"):
        signatures = re.findall(r'<dt class="sig .*?</dt>', path.read_text("utf-8"), re.DOTALL)
        for signature in signatures:
            plain = re.sub("<[^>]+>", "", signature)
            assert "_NestedSequence" not in plain, plain
            assert "_HasDType" not in plain, plain


def test_a_page_has_one_title(site, pages):
    for path in pages:
        if path.parent == site and path.stem not in ("genindex", "search", "py-modindex"):
            assert path.read_text("utf-8").count("<h1>") == 1, path.name


def test_every_lesson_is_a_page_with_its_pictures(site, pages):
    for path in lesson_paths():
        page = site / "lessons" / f"{path.stem}.html"
        text = page.read_text("utf-8")
        assert f"<h1>{title_of(path)}" in text.replace("&#183;", "·")
        assert "<math" in text
        assert text.count('<img class="only-light"') == text.count('<img class="only-dark"') >= 1
        assert text.count("<h1") == 1


def test_the_published_programs_stand_beside_pytorchs_output(site):
    text = (site / "published.html").read_text("utf-8")
    for name in ("adaptive_max", "adaptive_avg", "simplenet"):
        kept = (ROOT / "docs" / "published" / f"{name}_torch.txt").read_text("utf-8")
        for line in kept.splitlines():
            assert re.sub("<[^>]+>", "", text).count(line) >= 1, line


TEXTS = [path.read_text("utf-8") for path in (ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))]
IN_LINES, IN_BLOCKS = r"`python -m (pytest [^`]*)`", r"^    python -m (pytest .*?)(?:  .*)?$"
PROMISES = sorted(
    {
        " ".join(command.split())
        for form in (IN_LINES, IN_BLOCKS)
        for text in TEXTS
        for command in re.findall(form, text, re.MULTILINE)
    }
)

LEVELS = {*re.findall(r"^    (\w+): ", (ROOT / "setup.cfg").read_text("utf-8"), re.MULTILINE)}

# Each command collects its tests, in one process, which imports their modules once.
COLLECT = """
import contextlib, glob, io, json, shlex, sys
import pytest

commands, found = json.load(sys.stdin), {}
for command in commands:
    words = [part for word in shlex.split(command)[1:] for part in (glob.glob(word) or [word])]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = pytest.main(["--collect-only", "-q", "-n0", "-p", "no:cacheprovider", *words])
    found[command] = None if code == 0 else said.getvalue()[-2000:]
json.dump(found, sys.stdout)
"""


def test_a_promise_names_tests_that_are_there():
    """The command that measures a promise again finds at least one test; those that name no file are of levels."""
    named = [command for command in PROMISES if "tests/" in command]
    assert len(named) > 20
    for command in {*PROMISES} - {*named}:
        assert {*re.findall(r"-m (\w+)", command)} <= LEVELS, command
    command = [sys.executable, "-c", COLLECT]
    ended = subprocess.run(command, cwd=ROOT, input=json.dumps(named), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-4000:]
    assert {command: said for command, said in json.loads(ended.stdout).items() if said is not None} == {}
