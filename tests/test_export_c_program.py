"""A classifier as a C program, from `minicnn export --c`: what it says of image files, and of files that are none."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import minicnn
from minicnn.cli.program import program
from minicnn.interop.c import export_c
from tests.c_models import SANITIZERS, WARNINGS, gcc, needs_gcc

pytestmark = needs_gcc

ROOT = Path(minicnn.__file__).parent.parent

NAMES = ["cat", 'a "dog" */ ??/', "größe\n\\"]


def classifier(channels, max_side=None):
    rng = np.random.default_rng(channels)
    network = minicnn.SimpleNet(num_classes=3, in_channels=channels, rng=rng)
    return minicnn.Classifier(
        network, NAMES, rng.uniform(0.3, 0.6, channels), rng.uniform(0.2, 0.3, channels), max_side
    )


def compiled(source):
    gcc(*WARNINGS, "-O1", *SANITIZERS, "-DMINICNN_MAIN", source, "-lm", "-o", source.with_suffix(""))
    return source.with_suffix("")


def call(*arguments):
    return CliRunner().invoke(program, list(map(str, arguments)))


def run(*command):
    return subprocess.run(list(map(str, command)), capture_output=True)


@pytest.fixture(scope="module", params=[1, 3], ids=["grey", "colour"])
def made(request, tmp_path_factory):
    """(classifier, its C program), by way of the command line."""
    folder, model = tmp_path_factory.mktemp("c"), classifier(request.param)
    model.save(folder / "model.safetensors")
    sizes = ["--max-height", 20, "--max-width", 30]
    result = call("export", folder / "model.safetensors", "--c", folder / "model.c", *sizes)
    assert (result.exit_code, result.output) == (0, f"C file: {folder / 'model.c'}\n")
    return model, compiled(folder / "model.c")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Image files of both kinds, as Pillow writes them, and with a comment in the head, as GIMP writes them."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name, shape in {"a.ppm": (20, 30, 3), "b.ppm": (1, 1, 3), "c.pgm": (7, 30), "d.pgm": (20, 3)}.items():
        Image.fromarray(rng.integers(0, 256, shape).astype(np.uint8)).save(folder / name)
    pixels = rng.integers(0, 256, (2, 4, 3)).astype(np.uint8).tobytes()
    (folder / "e.ppm").write_bytes(b"P6\n# CREATOR: 7 8\n#\n4 # 9\n 2\n255\n" + pixels)
    return sorted(folder.iterdir())


def test_it_says_what_minicnn_says(made, images):
    model, exported = made
    for path in images:
        result = run(exported, path)
        assert (result.returncode, result.stderr) == (0, b"")
        (expected,) = model.predict([model.read(path)])
        text = result.stdout.decode()
        assert text.startswith(NAMES[expected.argmax()] + "\n")
        lines = text.removeprefix(NAMES[expected.argmax()] + "\n")
        for name, probability in zip(NAMES, expected, strict=True):
            number, _, lines = lines.partition(f"  {name}\n")
            assert abs(float(number) - np.log(probability)) < 1e-5
        assert lines == ""


BAD = {
    "a text": (b"P3\n1 1\n255\n1 2 3\n", b"no binary PGM or PPM"),
    "nothing": (b"", b"no binary PGM or PPM"),
    "16 bits": (b"P5\n1 1\n65535\n\0\0", b"no binary PGM or PPM"),
    "no size": (b"P5\n", b"no binary PGM or PPM"),
    "an unended comment": (b"P5 #", b"no binary PGM or PPM"),
    "a negative size": (b"P5\n-1 1\n255\n\0", b"no binary PGM or PPM"),
    "no pixels": (b"P5\n0 5\n255\n", b"no binary PGM or PPM"),
    "one row too many": (b"P5\n30 21\n255\n" + bytes(630), b"larger than 20 x 30"),
    "one column too many": (b"P5\n31 20\n255\n" + bytes(620), b"larger than 20 x 30"),
    "a size of many digits": (b"P5\n99999999999999999999 1\n255\n", b"no binary PGM or PPM"),
    "cut": (b"P6\n2 2\n255\n" + bytes(11), b"ends before its last pixel"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(made, tmp_path, case):
    content, message = BAD[case]
    (tmp_path / "image").write_bytes(content)
    result = run(made[1], tmp_path / "image")
    assert (result.returncode, result.stdout) == (1, b"")
    assert message in result.stderr
    assert b"Sanitizer" not in result.stderr


def test_no_file(made, tmp_path):
    for arguments in ([], [tmp_path / "none"], ["a", "b"], [tmp_path]):
        result = run(made[1], *arguments)
        assert (result.returncode, result.stdout) == (1, b"")
        assert result.stderr.startswith(b"error: ")


@pytest.mark.quick
def test_the_largest_side_of_the_training_is_that_of_the_images(tmp_path):
    classifier(1, max_side=9).save(tmp_path / "model.safetensors")
    path = tmp_path / "model.c"
    assert call("export", tmp_path / "model.safetensors", "--c", path).exit_code == 0
    assert "MAX_HEIGHT = 9, MAX_WIDTH = 9," in path.read_text()
    assert "shrunk to 9 pixels on its longer side" in path.read_text()
    before = path.read_bytes()
    result = call("export", tmp_path / "model.safetensors", "--c", path, "--max-width", 10)
    assert result.exit_code == 1
    assert "at most 9 pixels a side" in result.output
    assert path.read_bytes() == before


@pytest.mark.quick
def test_wrong_usage(tmp_path):
    classifier(1).save(tmp_path / "model.safetensors")
    model, path = tmp_path / "model.safetensors", tmp_path / "model.c"
    for arguments, message in (
        ([], "name the file to write: --onnx PATH or --c PATH"),
        (["--c", path], "say how large the images may be: --max-height and --max-width"),
        (["--c", path, "--max-height", 5], "say how large"),
        (["--c", tmp_path], "is a directory"),
        (["--c", tmp_path / "model.txt"], "a name that ends in .c"),
        (["--c", tmp_path / "no" / "model.c"], "there is no folder"),
        (["--c", path, "--max-height", 0], "0 is not in the range"),
    ):
        result = call("export", model, *arguments)
        assert result.exit_code == 2
        assert message in result.output
    result = call("export", tmp_path / "none", "--c", path, "--max-height", 5, "--max-width", 5)
    assert result.exit_code == 1
    assert list(tmp_path.iterdir()) == [model]


@pytest.mark.quick
@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [("class_names", ["a"], "3 different class names"), ("mean", np.float32([np.nan]), "finite numbers")],
)
def test_a_classifier_that_was_changed_is_checked(tmp_path, attribute, value, message):
    model = classifier(1)
    setattr(model, attribute, value)
    with pytest.raises(ValueError, match=message):
        export_c(model, tmp_path / "model.c", 9, 9)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.quick
def test_names_that_c_cannot_hold(tmp_path):
    model = classifier(1)
    model.class_names = ["a", "b", "x" * 4096]
    with pytest.raises(ValueError, match="names of at most 4095 bytes"):
        export_c(model, tmp_path / "model.c", 9, 9)
    model.class_names = ["a", "\udcff", "x" * 4095]
    export_c(model, tmp_path / "model.c", 9, 9)
    compiled(tmp_path / "model.c")


def test_the_example_and_what_the_page_shows_of_it(tmp_path):
    """The page's C is the example's, and of a layer that it names. The example's numbers differ a little from machine
    to machine; the page has them in the same form."""
    result = subprocess.run(
        [sys.executable, ROOT / "examples" / "export_c.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, "")
    found = re.search(r"largest difference to Python: (\S+)$", result.stdout)
    assert float(found[1]) < 1e-5
    page, made = (ROOT / "docs" / "c.md").read_text(), (tmp_path / "digits.c").read_text()
    (named,) = re.findall(r"^`(Conv2d\(.*\))`", page, re.MULTILINE)
    layer = eval(named, {"Conv2d": minicnn.Conv2d})
    minicnn.Sequential(conv1=layer, flatten=minicnn.Flatten()).export_c(tmp_path / "layer.c", 9, 9)
    made += (tmp_path / "layer.c").read_text()
    shown = re.findall(r"^```c\n(.*?)```$", page, re.MULTILINE | re.DOTALL)
    assert len(shown) == 4
    for part in shown:
        assert part in made
    (printed,) = re.findall(r"^```text\n(.*?)```$", page, re.MULTILINE | re.DOTALL)

    def form(text):
        return re.sub(r"-?\d+\.\d+(e-\d+)?", "number", re.sub(" +", " ", text.strip()))

    assert form(result.stdout[result.stdout.index("$ ") :]) == form(printed)
