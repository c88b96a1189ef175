"""The inspector's page and its file: whole or not there at all."""

import configparser
import errno
import html
import json
import os
import re
import webbrowser
from pathlib import Path

import pytest

import minicnn
from minicnn.inspect import inspect, page
from tests.records import (
    LABEL,
    VECTOR,
    Wrong,
    fail,
    made,
    record_in,
    relus,
)

pytestmark = pytest.mark.quick

ROOT = Path(minicnn.__file__).parent.parent


def paths_that_cannot_be_written(folder):
    (folder / "folder").mkdir()
    return {
        IsADirectoryError: folder / "folder",
        FileNotFoundError: folder / "nowhere" / "page.html",
    }


@pytest.mark.parametrize("error", [IsADirectoryError, FileNotFoundError])
def test_paths_that_cannot_be_written(error, tmp_path):
    path = paths_that_cannot_be_written(tmp_path)[error]
    before = sorted(tmp_path.rglob("*"))
    network = relus(wrong=Wrong(y=fail))  # the path is looked at first
    with pytest.raises(error) as raised:
        inspect(network, VECTOR, LABEL, path=path)
    assert str(path) in str(raised.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["ENOSPC", "EACCES", "EROFS"])
def test_a_disk_that_cannot_be_written_keeps_the_old_page(name, tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(number, os.strerror(number), str(tmp_path / ".page.html.123"))

    path, number = tmp_path / "page.html", getattr(errno, name)
    inspect(relus(), VECTOR, LABEL, path=path)
    old = path.read_text()
    monkeypatch.setattr(os, "fsync", refused)
    with pytest.raises(OSError, match=f"cannot be written: {os.strerror(number)}: ") as raised:
        inspect(relus(), 2 * VECTOR, LABEL, path=path)
    assert (raised.value.errno, raised.value.filename) == (number, str(path))
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
    assert path.read_text() == old


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_ctrl_c_leaves_no_file(name, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        inspect(relus(), VECTOR, LABEL, path=tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_in_a_layer_is_not_taken_for_a_failure():
    def interrupted(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        inspect(relus(wrong=Wrong(y=interrupted)), VECTOR, LABEL)


def test_the_page_holds_the_record_and_nothing_ends_it_early(tmp_path):
    title = "</script><script>alert(1)</script> <!-- & \ud800 record.js"
    names = ["</SCRIPT>", "<!--", 'é"\u2028']
    network, x, y = made("own")
    inspection = network.inspect(x, y, path=tmp_path / "page.html", title=title, classes=names)
    text = (tmp_path / "page.html").read_text("utf-8")
    assert record_in(text) == inspection.record
    assert "alert(1)</script>" not in text
    assert "<title>&lt;/script&gt;" in text
    assert json.loads(json.dumps(inspection.record, allow_nan=False)) == inspection.record


def test_everything_is_in_the_page():
    """Nothing is named that a browser would have to get."""
    network, x, y = made("own")
    text = page.assembled(inspect(network, x, y).record)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    assert not re.search(r"<(link|img|iframe|script)[^>]*\b(src|href)=", text)


def test_style_scripts_and_licences_are_filled_in(tmp_path, monkeypatch):
    (tmp_path / "vendor").mkdir()
    for name, text in {
        "index.html": '<title>x</title>\n<link rel="stylesheet" href="a.css">\n<script src="record.js"></script>\n'
        '<script src="vendor/d.min.js"></script>\n<script src="own.js"></script>\n',
        "a.css": "p {}",
        "own.js": 'use(RECORD, "<title>\\1</title>");',
        "vendor/d.min.js": "d = 1;",
        "vendor/d.LICENSE": "Do what you like -- really -->",
    }.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(page, "FOLDER", tmp_path)
    assert page.assembled({"title": "t"}).splitlines() == [
        "<title>t – minicnn</title>",
        *("<style>", "p {}</style>"),
        '<script type="application/json" id="record">{"title":"t"}</script>',
        f"<script>{page.READ_RECORD}</script>",
        *("<!--", "Do what you like - - really - ->-->", "<script>", "d = 1;</script>"),
        *("<script>", 'use(RECORD, "<title>\\1</title>");</script>'),
    ]
    (tmp_path / "own.js").unlink()
    with pytest.raises(FileNotFoundError, match=r"own\.js"):
        page.assembled({"title": "t"})


def test_the_parts_of_the_page_are_installed():
    """setup.cfg names them; a package is not installed with files that nobody names."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    folder = ROOT / "minicnn" / "inspect"
    named = {
        file
        for pattern in config["options.package_data"]["minicnn.inspect"].split()
        for file in folder.glob(pattern)
        if file.is_file()
    }
    assert named == {file for file in (folder / "page").rglob("*") if file.is_file()}
    assert folder / "page" / "index.html" in named


def test_an_inspection_in_a_notebook_and_in_a_browser(tmp_path, monkeypatch):
    network, x, y = made("own")
    inspection = network.inspect(x, y)
    assert isinstance(inspection, minicnn.Inspection)
    assert inspection.path is None
    assert re.fullmatch(
        r"Inspection\(Sequential, 5 layers, input \(2, 3, 17, 23\), CrossEntropyLoss [\d.]+, not saved\)",
        repr(inspection),
    )
    frame = inspection._repr_html_()
    assert frame.startswith('<iframe srcdoc="')
    assert record_in(html.unescape(frame)) == inspection.record

    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert inspection.open() is inspection
    assert inspection.path.parent.parent == tmp_path
    assert opened == [inspection.path.as_uri()]
    assert record_in(inspection.path.read_text("utf-8")) == inspection.record

    assert inspection.save(str(tmp_path / "page.html")) is inspection
    assert inspection.path == tmp_path / "page.html"
    inspection.open()
    assert opened[1:] == [(tmp_path / "page.html").as_uri()]
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    with pytest.raises(RuntimeError, match=r"no browser.*page\.html"):
        inspection.open()
    with pytest.raises(FileNotFoundError):
        inspection.save(tmp_path / "nowhere" / "page.html")
    assert inspection.path == tmp_path / "page.html"  # where the last page is
