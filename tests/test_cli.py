"""The program minicnn: as a person runs it, in processes of its own, and each way in which it can be used wrongly."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import minicnn
from minicnn.classify.train import train_classifier
from minicnn.cli.program import program
from minicnn.data import ImageFolder
from minicnn.io.safetensors import read_safetensors
from minicnn.training.checkpoint import load_run, save_run
from tests.shapes import write_shapes

ROOT = Path(minicnn.__file__).parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
EPOCHS = 6


def run(*arguments, folder):
    """In a process of its own."""
    command = [sys.executable, "-m", "minicnn", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)


def call(*arguments):
    """In this process, which is faster."""
    return CliRunner().invoke(program, list(map(str, arguments)))


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with images to train on, others, a bad file, and the model that `minicnn train` makes of them."""
    here = tmp_path_factory.mktemp("cli")
    write_shapes(here / "shapes", 60, seed=0)
    write_shapes(here / "others", 20, seed=1)
    (here / "shapes" / "bar" / "bad.png").write_bytes(b"junk")
    result = run("train", "shapes", "--output", "model.safetensors", "--epochs", EPOCHS, folder=here)
    (here / "output").write_text(result.stdout)
    (here / "errors").write_text(result.stderr)
    assert result.returncode == 0, result.stderr
    return here


@pytest.mark.quick
def test_training_says_what_it_does_and_how_well(here):
    output, errors = ((here / name).read_text() for name in ("output", "errors"))
    assert "96 images to train, 24 to validate, of 2 classes: bar, disc" in output
    assert re.findall(r"^epoch (\d+) ", output, re.MULTILINE) == [str(n + 1) for n in range(EPOCHS)]
    assert "kept the weights of epoch" in output
    found = re.search(r"validation accuracy: (\S+) +\(always saying (bar|disc), the largest class: (\S+)\)", output)
    assert float(found[1]) > 0.9
    assert 0.5 <= float(found[3]) < 0.8
    named, summary = errors.splitlines()
    assert "shapes/bar/bad.png is left out: it is no image" in named
    assert "1 of 121 image files could not be read (bar/bad.png: it is no image" in summary
    assert sorted(path.name for path in here.glob("model*")) == ["model.safetensors"]  # no run is left


@pytest.mark.quick
def test_evaluating(here, tmp_path):
    result = run(
        "evaluate",
        here / "model.safetensors",
        here / "others",
        *("--confusion", "confusion.png", "--mistakes", "mistakes.png", "--reliability", "reliability.png"),
        folder=tmp_path,
    )
    assert (result.returncode, result.stderr) == (0, "")
    rows = dict(re.findall(r"^(bar|disc) +(20 +[\d.]+ +[\d.]+ +[\d.]+)$", result.stdout, re.MULTILINE))
    assert set(rows) == {"bar", "disc"}
    accuracy = re.search(r"accuracy: (\S+) on 40 images +\(always saying the largest class: 0.5000\)", result.stdout)
    assert float(accuracy[1]) > 0.9
    recalls = [float(row.split()[2]) for row in rows.values()]
    means = re.search(r"mean over classes: recall (\S+), F1 (\S+)", result.stdout)
    assert float(means[1]) == pytest.approx(np.mean(recalls), abs=1e-3)
    assert 0 <= float(re.search(r"calibration error: (\S+) ", result.stdout)[1]) < 0.5
    for name in ("confusion.png", "mistakes.png", "reliability.png"):
        with Image.open(tmp_path / name) as image:
            assert min(image.size) > 300
            assert np.ptp(np.asarray(image.convert("L"))) > 200  # something is drawn


@pytest.mark.quick
def test_predicting(here, tmp_path):
    """Files, folders and patterns; a bad file is named, and the others are predicted all the same."""
    (tmp_path / "bad.png").write_bytes(b"")
    result = run(
        "predict",
        here / "model.safetensors",
        *("others/bar/1.png", "others/disc", "others/*/0.png", tmp_path / "bad.png", "nowhere.png"),
        "--json",
        folder=here,
    )
    assert result.returncode == 1
    assert sorted(result.stderr.splitlines()) == [
        f"{tmp_path / 'bad.png'}: it is empty",
        "nowhere.png: there is no such file or folder",
    ]
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    discs = sorted(f"others/disc/{n}.png" for n in range(20))
    assert [answer["path"] for answer in answers] == ["others/bar/1.png", *discs, "others/bar/0.png"]  # each once
    for answer in answers:
        assert answer["class"] == max(answer["probabilities"], key=answer["probabilities"].get)
        assert abs(sum(answer["probabilities"].values()) - 1) < 1e-5
    right = [answer["class"] in answer["path"] for answer in answers]
    assert np.mean(right) > 0.9


def test_predicting_and_evaluating_with_mirrored_images(here):
    path = here / "others" / "bar" / "3.png"
    classifier = minicnn.Classifier.load(here / "model.safetensors")
    answers = []
    for options in ([], ["--mirror"]):
        output = call("predict", here / "model.safetensors", path, "--json", *options).output
        answers.append([json.loads(output)["probabilities"][name] for name in classifier.class_names])
        expected = classifier.predict([classifier.read(path)], mirror=bool(options))[0]
        np.testing.assert_allclose(answers[-1], expected, rtol=1e-5)
    assert answers[0] != answers[1]
    folder = ImageFolder(here / "others", channels=classifier.channels)
    output = call("evaluate", here / "model.safetensors", here / "others", "--mirror").output
    assert f"accuracy: {minicnn.evaluate(classifier, folder, mirror=True).accuracy:.4f}" in output


def test_predictions_for_other_programs_are_tabbed_lines(here):
    result = call("predict", here / "model.safetensors", here / "others" / "bar" / "3.png", "--top", 1)
    path, name, probability = result.output.rstrip("\n").split("\t")
    assert (path, name) == (str(here / "others" / "bar" / "3.png"), "bar")
    assert 0.5 < float(probability) <= 1


def test_predictions_on_a_terminal_are_a_table(here):
    """On a terminal of our own; names with what rich would take for markup are shown as they are."""
    image = here / "[bold] :smile:.png"
    shutil.copy(here / "others" / "bar" / "3.png", image)
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "minicnn", "predict", "model.safetensors", image.name]
    subprocess.run(command, cwd=here, env=ENVIRONMENT | {"COLUMNS": "100", "NO_COLOR": "1"}, stdout=end, check=True)
    os.close(end)
    lines = re.sub(r"\x1b\[\d*m", "", os.read(terminal, 10000).decode()).split("\r\n")
    os.close(terminal)
    assert lines[0].split() == ["image", "class", "or", "else"]
    assert re.fullmatch(r"\[bold\] :smile:\.png +bar +[\d.]+% +disc [\d.]+% *", lines[1])


def test_images_of_the_winners(here, tmp_path):
    """Of images down to one pixel, a strip, and two of one name."""
    rng = np.random.default_rng(0)
    for number, size in enumerate([(1, 1), (2, 150), (9, 7)]):
        Image.fromarray(rng.integers(0, 256, (*size, 3)).astype(np.uint8)).save(tmp_path / f"p{number}.png")
    (tmp_path / "other").mkdir()
    shutil.copy(here / "others" / "bar" / "0.png", tmp_path / "other" / "p0.png")
    model, out = here / "model.safetensors", tmp_path / "winners"
    result = call("predict", model, *sorted(tmp_path.glob("p?.png")), tmp_path / "other", "--winners", out, "--json")
    assert result.exit_code == 0, result.output
    names = [Path(json.loads(line)["winners"]).name for line in result.output.splitlines()]
    assert names == ["p0-winners.png", "p1-winners.png", "p2-winners.png", "p0-2-winners.png"]
    for name in names:
        with Image.open(out / name) as image:
            assert image.size[0] > image.size[1] > 300
            assert np.ptp(np.asarray(image.convert("L"))) > 200
    shutil.rmtree(out)
    said = call("predict", model, tmp_path / "p0.png", "--winners", out)
    assert said.stderr == f"winners: {out / 'p0-winners.png'}\n"
    said = call("predict", model, tmp_path / "p1.png", tmp_path / "p2.png", "--explain", out)
    assert said.stderr == f"explain: 2 figures in {out}\n"


def history(output):
    """The epochs' lines without their times."""
    return [line.rpartition(" - ")[0] for line in output.splitlines() if line.startswith("epoch ")]


def test_ctrl_c_keeps_what_was_learnt_and_resume_goes_on_to_the_same_model(here, tmp_path):
    arguments = ["train", str(here / "shapes"), "--output", "m", "--epochs", str(EPOCHS)]
    command = [sys.executable, "-m", "minicnn", *arguments]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    head = ""
    for line in process.stdout:
        head += line
        if line.startswith("epoch 2 "):
            process.send_signal(signal.SIGINT)
            break
    head += process.communicate()[0]
    assert process.returncode == 0
    assert "the same command with --resume goes on" in head
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "m.run"]
    assert minicnn.Classifier.load(tmp_path / "m").class_names == ["bar", "disc"]
    with pytest.raises(ValueError, match="--resume"):
        minicnn.Classifier.load(tmp_path / "m.run")

    tail = run(*arguments, "--resume", folder=tmp_path)
    assert history(head) + history(tail.stdout) == history((here / "output").read_text())
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    whole, resumed = (read_safetensors(path)[0] for path in (here / "model.safetensors", tmp_path / "m"))
    for name, array in whole.items():
        np.testing.assert_array_equal(resumed[name], array)


# What a run was begun with.


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A folder with images of three classes, others for validation, and a run on the first that Ctrl-C stopped."""
    stopped = tmp_path_factory.mktemp("stopped")
    write_shapes(stopped / "shapes", 12, seed=0, classes=("bar", "disc", "ring"))
    write_shapes(stopped / "others", 4, seed=1, classes=("bar", "disc", "ring"))
    command = [sys.executable, "-m", "minicnn", "train", "shapes", "-o", "m", "--epochs", "300"]
    process = subprocess.Popen(
        command, cwd=stopped, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    next(line for line in process.stdout if line.startswith("epoch 1 "))
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 0
    return stopped


def _exchange(one, other):
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


OTHER_RUNS = {  # what is changed: options, and a function of the folder; the names of the differences
    "another seed": (["--seed", 1], None, ["seed: expected 0, got 1", "images to train", "images to validate"]),
    "fewer epochs": (["--epochs", 299], None, ["epochs: expected 300, got 299"]),
    "more epochs": (["--epochs", 301], None, ["epochs: expected 300, got 301"]),
    "another learning rate": (["--lr", 0.001], None, ["lr: expected 0.004, got 0.001"]),
    "other batches": (["--batch-size", 16], None, ["order: expected ByPixels", "got ByCount(batch_size=16"]),
    "augmented": (["--augment"], None, ["augment: expected None, got default_augment"]),
    "grey": (["--grey"], None, ["channels: expected 3, got 1"]),
    "smaller": (["--max-side", 20], None, ["max_side: expected 256, got 20"]),
    "a larger share": (["--validation-share", 0.5], None, ["images to train: expected 29,", "got 18,"]),
    "a folder to validate": (["--validation", "others"], None, ["to train: expected 29,", "got 36,", "to validate"]),
    "two things": (["--lr", 1, "--epochs", 4], None, ["epochs: expected 300, got 4", "lr: expected 0.004, got 1.0"]),
    "a class renamed": (
        [],
        lambda here: (here / "shapes" / "bar").rename(here / "shapes" / "zebra"),
        ["classes: expected ['bar', 'disc', 'ring'], got ['disc', 'ring', 'zebra']"],
    ),
    "two classes exchanged": (
        [],
        lambda here: _exchange(here / "shapes" / "bar", here / "shapes" / "disc"),
        ["images to train: expected 29,", "got 29,", "images to validate"],
    ),
    "a class removed": ([], lambda here: shutil.rmtree(here / "shapes" / "ring"), ["classes: expected", "to train"]),
    "a class added": ([], lambda here: shutil.copytree(here / "others" / "bar", here / "shapes" / "x"), ["classes"]),
    "an image removed": ([], lambda here: (here / "shapes" / "bar" / "3.png").unlink(), ["images to train"]),
    "an image exchanged": (
        [],
        lambda here: [shutil.copy(path, here / "shapes" / "bar") for path in (here / "others" / "bar").iterdir()],
        ["images to"],
    ),
}


@pytest.mark.parametrize("name", OTHER_RUNS)
def test_a_run_is_resumed_only_with_what_it_was_begun_with(stopped, tmp_path, monkeypatch, name):
    """Every difference is named, before anything is changed."""
    options, change, messages = OTHER_RUNS[name]
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    if change is not None:
        change(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("m*")}
    result = call("train", "shapes", "-o", "m", "--epochs", 300, *options, "--resume")
    assert result.exit_code == 1, result.output
    assert "expected what the run in m.run was begun with" in result.stderr
    for message in messages:
        assert message in result.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.glob("m*")} == before


def test_pixels_behind_the_beginning_of_a_large_file_are_compared_too(stopped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("bar", "disc"):
        (tmp_path / "large" / name).mkdir(parents=True)
        for n in range(4):
            pixels = rng.integers(0, 256, (200, 200, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "large" / name / f"{n}.bmp")
    train, validation = ImageFolder("large", max_side=16).split(2, rng=0)
    train_classifier(train, validation, epochs=1, checkpoint="run")
    path = train.paths[0]
    content = path.read_bytes()
    path.write_bytes(content[:-50_000] + bytes(50_000))
    train, validation = ImageFolder("large", max_side=16).split(2, rng=0)
    with pytest.raises(ValueError, match="images to train: expected 6, with the digest"):
        train_classifier(train, validation, epochs=1, checkpoint="run", resume=True)


def test_a_moved_folder_is_the_same_folder(stopped, tmp_path, monkeypatch):
    """And so is one whose files were touched. The run goes on; to its end, so that few epochs are left."""
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    (tmp_path / "shapes").rename(tmp_path / "moved")
    (tmp_path / "moved" / "bar" / "1.png").touch()
    monkeypatch.chdir(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "minicnn", "train", "moved", "-o", "m", "--epochs", "300", "--resume"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )
    line = next(line for line in process.stdout if line.startswith("epoch "))
    process.kill()
    process.communicate()
    assert int(line.split()[1]) > 1


def test_a_run_of_an_older_version_is_refused_with_the_reason(stopped, tmp_path, monkeypatch):
    """It does not say what it was begun with."""
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    arrays, run = load_run("m.run")
    del run["settings"]
    save_run("m.run", arrays, run)
    result = call("train", "shapes", "-o", "m", "--epochs", 300, "--resume")
    assert result.exit_code == 1
    assert "expected a run that says what it was begun with, got m.run" in result.stderr


# What an earlier run left.


def test_nothing_of_an_earlier_run_is_overwritten_without_a_word(stopped, tmp_path, monkeypatch):
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("m*")}
    train = ("train", "shapes", "--epochs", 1, "-o")
    result = call(*train, "m")
    assert result.exit_code == 2
    assert "a run that was stopped is kept in m.run; go on with it by --resume, give another --output" in result.stderr
    (tmp_path / "m.run").rename(tmp_path / "n")
    result = call(*train, "m")
    assert result.exit_code == 2
    assert "there is m already; give another --output, or replace it by --overwrite" in result.stderr
    assert "images to train" not in result.stdout  # before the work
    (tmp_path / "n").rename(tmp_path / "m.run")
    assert {path.name: path.read_bytes() for path in tmp_path.glob("m*")} == before
    result = call(*train, "m", "--overwrite", "--seed", 1)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "m").read_bytes() != before["m"]
    assert not (tmp_path / "m.run").exists()


def test_a_checkpoint_that_is_there_is_gone_on_with_or_replaced_on_purpose(tmp_path):
    train, validation = ImageFolder(write_shapes(tmp_path / "s", 4, seed=0)).split(2, rng=0)
    path = tmp_path / "run"
    with pytest.raises(FileNotFoundError, match="nothing to resume, there is no file"):
        train_classifier(train, validation, epochs=1, checkpoint=path, resume=True)
    with pytest.raises(ValueError, match="the path of a checkpoint to resume, got none"):
        train_classifier(train, validation, epochs=1, resume=True)
    train_classifier(train, validation, epochs=1, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="go on with it by resume=True, replace it by overwrite=True"):
        train_classifier(train, validation, epochs=1, checkpoint=path)
    with pytest.raises(ValueError, match="expected resume or overwrite, got both"):
        train_classifier(train, validation, epochs=1, checkpoint=path, resume=True, overwrite=True)
    assert path.read_bytes() == before
    train_classifier(train, validation, epochs=1, checkpoint=path, overwrite=True, seed=1)
    assert path.read_bytes() != before


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder in which even root cannot make a file")
def test_a_place_where_nothing_can_be_written_is_said_before_the_work(here, tmp_path):
    for arguments in (
        ["train", here / "others", "-o", "/proc/m"],
        ["evaluate", here / "model.safetensors", here / "others", "--confusion", "/proc/c.png"],
        ["inspect", "--digit", 3, "-o", "/proc/page.html"],
    ):
        result = call(*arguments)
        assert result.exit_code == 2, result.output
        assert "cannot be written" in result.stderr
        assert result.stdout == ""
    folder = ImageFolder(here / "others")
    with pytest.raises(OSError, match="cannot be written"):
        train_classifier(folder, folder, checkpoint="/proc/run")


def test_every_class_is_learnt_and_measured(tmp_path):
    """Of ten classes of two images each a fifth would be four images; that a single one is not measured is said."""
    names = [f"class {n}" for n in range(10)]
    write_shapes(tmp_path / "s", 2, seed=0, classes=names)
    write_shapes(tmp_path / "s", 1, seed=0, classes=("single",))
    result = run("train", "s", "-o", "m", "--epochs", 1, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "11 images to train, 10 to validate, of 11 classes" in result.stdout
    assert "classes with a single image, which cannot be in both parts: single" in result.stderr


def test_train_and_val_side_by_side_are_not_learnt_as_classes(here, tmp_path):
    for part, source in (("train", "shapes"), ("val", "others")):
        shutil.copytree(here / source, tmp_path / "data" / part)
    wrong = run("train", "data", "-o", "m", folder=tmp_path)
    assert wrong.returncode == 1
    command = wrong.stderr.strip().rpartition("as in: ")[2]
    assert command == "minicnn train data/train --validation data/val"
    assert not (tmp_path / "m").exists()
    right = run(*command.split()[1:], "-o", "m", "--epochs", 1, folder=tmp_path)
    assert right.returncode == 0, right.stderr
    assert "120 images to train, 40 to validate, of 2 classes: bar, disc" in right.stdout


def test_every_option_of_training_works(here, tmp_path):
    common = ("train", here / "others", "-o", tmp_path / "m", "--epochs", 1, "--overwrite")
    for options in (
        ["--grey", "--augment", "--batch-size", 16, "--lr", 0.01, "--seed", 3, "--validation-share", 0.5],
        ["--batch-pixels", 5000, "--max-side", 9, "--validation", here / "shapes"],
    ):
        result = call(*common, *options)
        assert result.exit_code == 0, result.output
    assert "40 images to train, 120 to validate" in result.output
    call(*common, "--grey")
    assert minicnn.Classifier.load(tmp_path / "m").channels == 1
    assert call("evaluate", tmp_path / "m", here / "others").exit_code == 0  # images are read as the model needs


def test_a_folder_may_lack_classes_but_have_no_others(here, tmp_path):
    shutil.copytree(here / "others" / "disc", tmp_path / "part" / "disc")
    result = call("evaluate", here / "model.safetensors", tmp_path / "part")
    assert result.exit_code == 0
    assert re.search(r"^bar +0 +\S+ +– +–$", result.output, re.MULTILINE)
    (tmp_path / "part" / "disc").rename(tmp_path / "part" / "ring")
    result = call("evaluate", here / "model.safetensors", tmp_path / "part")
    assert result.exit_code == 1
    assert "folders named after the classes bar, disc, got images in ring" in result.output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "nowhere", "-o", "m"], 1, "no folder nowhere"),
        (["train", "empty", "-o", "m"], 1, "a folder for each class in empty, got none"),
        (["train", "no-images", "-o", "m"], 1, "at least one image below no-images, got none"),
        (["train", "one-class", "-o", "m"], 1, "two classes or more, got 1"),
        (["train", "one-image", "-o", "m"], 1, "a part of 1 to 0 images, got 1"),
        (["train", "shapes"], 2, "Missing option '-o' / '--output'"),
        (["train", "shapes", "-o", "nowhere/m"], 2, "there is no folder"),
        (["train", "shapes", "-o", "empty"], 2, "File 'empty' is a directory"),
        (["train", "shapes", "-o", "m", "--epochs", "0"], 2, "0 is not in the range x>=1"),
        (["train", "shapes", "-o", "m", "--lr", "0"], 2, "0.0 is not in the range x>0"),
        (["train", "shapes", "-o", "m", "--batch-size", "2", "--batch-pixels", "2"], 2, "exclude each other"),
        (["train", "shapes", "-o", "m", "--validation", "nowhere"], 1, "no folder nowhere"),
        (["train", "shapes", "-o", "m", "--validation", "one-class"], 1, "got images in ring"),
        (["train", "shapes", "-o", "m", "--resume"], 1, "no file m.run"),
        (["evaluate", "nowhere", "shapes"], 1, "no file nowhere"),
        (["evaluate", "junk", "shapes"], 1, "expected a safetensors file"),
        (["evaluate", "weights", "shapes"], 1, "without its class names"),
        (["evaluate", "model", "nowhere"], 1, "no folder nowhere"),
        (["evaluate", "model", "shapes", "--confusion", "c.jpg"], 2, "a name that ends in .png"),
        (["evaluate", "model", "shapes", "--mistakes", "nowhere/m.png"], 2, "there is no folder"),
        (["predict", "model"], 2, "Missing argument 'IMAGE...'"),
        (["predict", "junk", "shapes"], 1, "expected a safetensors file"),
        (["predict", "model", "empty"], 1, "empty: there is no image in this folder"),
        (["predict", "model", "nowhere/*.png"], 1, "nowhere/*.png: there is no such file or folder"),
        (["predict", "model", "junk"], 1, "junk: it is no image of a known format"),
        (["predict", "model", "shapes", "--winners", "junk"], 2, "Directory 'junk' is a file"),
        (["predict", "model", "shapes", "--top", "0"], 2, "0 is not in the range x>=1"),
        (["fly"], 2, "No such command 'fly'"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    write_shapes(tmp_path / "shapes", 3, seed=0)
    write_shapes(tmp_path / "one-class", 2, seed=0, classes=("ring",))
    write_shapes(tmp_path / "one-image", 1, seed=0, classes=("ring",))
    for name in ("empty", "no-images/bar"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "junk").write_bytes(b"junk")
    network = minicnn.SimpleNet(2, 3, rng=0)
    minicnn.save_weights(network, "weights")
    minicnn.Classifier(network, ["bar", "disc"], [0] * 3, [1] * 3).save("model")
    before = sorted(path.name for path in tmp_path.iterdir())
    result = call(*arguments)
    assert result.exit_code == code, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert isinstance(result.exception, SystemExit)
    assert sorted(path.name for path in tmp_path.iterdir()) == before  # nothing half done is left


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_a_run_that_explodes_says_so(here, tmp_path):
    result = call("train", here / "others", "-o", tmp_path / "m", "--lr", 1e30)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: Trainer: the loss is ")
    assert not (tmp_path / "m").exists()


def test_what_is_not_installed_is_said(here, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = call("evaluate", here / "model.safetensors", here / "others", "--confusion", here / "c.png")
    assert result.exit_code == 1
    assert "pip install matplotlib" in result.output
    monkeypatch.setitem(sys.modules, "PIL", None)
    result = call("train", here / "others", "-o", here / "m")
    assert result.exit_code == 1
    assert "pip install 'minicnn-numba[images]'" in result.output


def test_without_click_the_program_says_so(tmp_path):
    code = "import sys; sys.modules['click'] = None; from minicnn.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == "error: the program minicnn needs click, get it with: pip install 'minicnn-numba[images]'\n"


def test_help_needs_nothing_heavy():
    code = (
        "import sys; from minicnn.cli import main; sys.argv = ['minicnn', '--help']\n"
        "try: main()\n"
        "except SystemExit: print(*sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True)
    assert "minicnn train photos/train" in result.stdout
    assert not set(result.stdout.split()) & {"numba", "PIL", "matplotlib", "sklearn", "torch"}


@pytest.mark.parametrize("command", ["train", "evaluate", "predict"])
def test_help_has_an_example(command):
    result = call(command, "--help")
    assert result.exit_code == 0
    assert re.search(rf"Examples?:\n +minicnn {command} ", result.output)


def test_the_entry_point_is_declared():
    assert "minicnn = minicnn.cli:main" in (ROOT / "setup.cfg").read_text()
    assert call("--version").output == f"minicnn, version {minicnn.__version__}\n"
