"""What is published: built twice to the same bytes, whole, and installed where there is nothing of this checkout.

Level `release`; needs build and twine (the extra `release`), git, and for the installation a registry.
"""

import email
import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import minicnn

ROOT = Path(__file__).parents[1]
BUILD = ROOT / ".ci" / "build.py"

pytestmark = [
    pytest.mark.release,
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("build", "twine"))),
        reason="build and twine are not installed; get them with: pip install -e '.[release]'",
    ),
    pytest.mark.skipif(
        not (ROOT / ".git").exists(), reason="this is no checkout of git, from which a release is built"
    ),
]

# Not in the sdist: what only a checkout uses.
LEFT_OUT = {".gitignore", ".pre-commit-config.yaml", ".ci/run", ".ci/build.py"}


def run(*command, **options):
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    assert ended.returncode == 0, f"{command}\n{ended.stdout[-4000:]}\n{ended.stderr[-4000:]}"
    return ended.stdout


def tracked():
    return set(run("git", "ls-tree", "-r", "--name-only", "HEAD", cwd=ROOT).split("\n")) - {""}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(sdist, wheel)."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, BUILD, folder)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    assert len(list(folder.iterdir())) == 2
    return sdist, wheel


@pytest.fixture(scope="module")
def metadata(built):
    with zipfile.ZipFile(built[1]) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_string(archive.read(name).decode())


def test_the_same_bytes_again(built, tmp_path):
    """By somebody with another mode for new files and another time zone, in another folder, from a clone in which one
    file was changed and another is new."""
    clone, folder = tmp_path / "clone", tmp_path / "dist"
    run("git", "clone", "--quiet", ROOT, clone)
    for name in ("minicnn/network.py", "minicnn/not_committed.py"):
        with (clone / name).open("a") as file:
            file.write("# not committed\n")
    run("git", "add", "minicnn", cwd=clone)
    build = clone / ".ci" / "build.py"
    run(sys.executable, build, folder, umask=0o077, cwd=tmp_path, env=os.environ | {"TZ": "Asia/Tokyo"})
    for path in built:
        assert (folder / path.name).read_bytes() == path.read_bytes(), path.name


def test_twine_finds_nothing_wrong(built):
    assert run(sys.executable, "-m", "twine", "--no-color", "check", "--strict", *built).count("PASSED") == 2


def test_the_wheel_has_the_package_and_nothing_else(built):
    """All that git knows below minicnn/: modules, py.typed, pages, lessons, licences; but for the linter's settings."""
    with zipfile.ZipFile(built[1]) as archive:
        names = set(archive.namelist())
        assert archive.testzip() is None
    package = {name for name in names if not name.split("/")[0].endswith(".dist-info")}
    expected = {name for name in tracked() if name.startswith("minicnn/") and not name.endswith("/ruff.toml")}
    assert package == expected
    assert {"minicnn/py.typed", "minicnn/inspect/page/index.html", "minicnn/learn/lessons/texts/01_linear.py"} < package


def test_the_sdist_has_what_git_has(built):
    with tarfile.open(built[0]) as archive:
        members = archive.getmembers()
        assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "", "")}
        files = {member.name.partition("/")[2] for member in members if member.isfile()}
    made = {name for name in files if name == "PKG-INFO" or name.startswith("minicnn_numba.egg-info/")}
    # setuptools writes its setup.cfg anew, with a section of its own.
    assert files - made == tracked() - LEFT_OUT


def test_every_licence_is_there(built, metadata):
    """Ours, that of each library that is copied into the package, and whose the photographs are."""
    vendored = {name for name in tracked() if name.endswith(".LICENSE")}
    scripts = {name for name in tracked() if "/vendor/" in name} - vendored
    assert {re.sub(r"\.min\.js$", ".LICENSE", name) for name in scripts} == vendored != set()
    photos = "minicnn/data/photos/CREDITS.md"
    assert set(metadata.get_all("License-File")) == {"LICENSE", photos, *vendored}
    assert metadata["License-Expression"] == "MIT AND ISC AND CC0-1.0"
    assert "ISC" not in (ROOT / "LICENSE").read_text()
    with zipfile.ZipFile(built[1]) as archive:
        folder = next(name for name in archive.namelist() if name.endswith("/METADATA")).removesuffix("METADATA")
        for name in ("LICENSE", photos, *vendored):
            assert archive.read(f"{folder}licenses/{name}") == (ROOT / name).read_bytes()


def test_the_version_stands_in_one_place(built, metadata):
    version = minicnn.__version__
    assert metadata["Version"] == version
    assert [path.name for path in built] == [
        f"minicnn_numba-{version}{end}" for end in (".tar.gz", "-py3-none-any.whl")
    ]
    stated = re.compile(rf"(?<![\d.]){re.escape(version)}(?![\d.])")
    code = [name for name in tracked() if name.startswith("minicnn/") and name.endswith((".py", ".js", ".html"))]
    said = {name for name in code if re.search(rf"version.*{stated.pattern}", _read(name))}
    assert said == {"minicnn/__init__.py"}
    assert not stated.search(_read("setup.cfg").partition("[options]")[0])
    newest, *_ = re.findall(r"^## (.*)$", _read("CHANGELOG.md"), re.MULTILINE)
    released, development, _ = version.partition(".dev")
    assert newest == (f"{released}, not released yet" if development else version)


def _read(name):
    return (ROOT / name).read_text("utf-8")


LESSON = """
import sys
from pathlib import Path
from minicnn.learn.lessons.files import lesson_paths
from minicnn.learn.lessons.pages import write_page
from minicnn.learn.lessons.run import run_lesson
import minicnn
assert Path(minicnn.__file__).is_relative_to(sys.prefix), minicnn.__file__
path = lesson_paths()[1]
write_page(path, run_lesson(path), "lesson.html")
"""


def test_installed_where_nothing_else_is(built, tmp_path):
    """A virtual environment, an empty home, an empty folder: without extras the package can be imported, and its
    program says what it lacks; with them the README's first network is trained, a page is written, the lessons are
    there and one is run."""
    home, folder = tmp_path / "home", tmp_path / "folder"
    home.mkdir()
    folder.mkdir()
    ours = ("PYTHON", "NUMBA", "MINICNN", "XDG", "VIRTUAL_ENV")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)} | {"HOME": str(home)}
    options = {"cwd": folder, "env": environment}
    run(sys.executable, "-m", "venv", tmp_path / "venv", **options)
    python, program = tmp_path / "venv" / "bin" / "python", tmp_path / "venv" / "bin" / "minicnn"
    run(python, "-m", "pip", "install", "--quiet", "--no-compile", built[1], **options)
    run(python, "-m", "pip", "check", **options)
    assert run(python, "-c", "import minicnn; print(len(minicnn.SimpleNet(rng=0)))", **options) == "13\n"
    refused = subprocess.run([program, "--version"], capture_output=True, text=True, **options)
    assert refused.returncode == 1
    assert "pip install" in refused.stderr
    run(python, "-m", "pip", "install", "--quiet", "--no-compile", f"{built[1]}[examples,learn]", **options)
    run(python, "-m", "pip", "check", **options)
    assert run(program, "--version", **options).split()[-1] == minicnn.__version__

    (lines,) = re.findall(r"^## Twenty lines\n\n```python\n(.*?)^```$", _read("README.md"), re.MULTILINE | re.DOTALL)
    (folder / "twenty_lines.py").write_text(lines)
    *_, guessed, shape = run(python, "twenty_lines.py", **options).splitlines()
    assert re.fullmatch(r"(\d) \1", guessed)
    assert shape == "(16, 1, 3, 3)"

    run(program, "inspect", "--digit", 3, "--output", "page.html", **options)
    page = (folder / "page.html").read_text("utf-8")
    for name in tracked():
        if name.startswith("minicnn/inspect/page/") and name.endswith((".js", ".css")):
            assert _read(name)[-60:].strip() in page, name
    lessons = run(program, "learn", "lessons", **options).splitlines()
    assert len(lessons) == sum(bool(re.match(r"minicnn/learn/lessons/texts/\d", name)) for name in tracked())
    run(python, "-c", LESSON, **options)
    assert "<math" in (folder / "lesson.html").read_text("utf-8")
    assert run(program, "learn", "worksheet", "convolution", "--format", "html", **options).startswith(
        "<!doctype html>"
    )


def test_a_script_beside_a_clone_finds_the_editable_install(tmp_path):
    """And not the clone's own folder, which has the package's name, and which Python would take for a namespace."""
    run("git", "clone", "--quiet", ROOT, tmp_path / "minicnn")
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--editable", tmp_path / "minicnn")
    script = tmp_path / "script.py"
    script.write_text("import importlib.util\nprint(importlib.util.find_spec('minicnn').origin)\n")
    assert run(python, script, cwd=tmp_path).strip() == str(tmp_path / "minicnn" / "minicnn" / "__init__.py")
