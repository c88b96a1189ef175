"""minicnn inspect: a page that shows the forward and the backward pass on one image."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from minicnn.classify.classifier import LARGEST_IMAGE, WHITE, Classifier
from minicnn.cli.files import OutputFile
from minicnn.data import load_digits, resize
from minicnn.data.decode import decode, to_unit_range
from minicnn.inspect import inspect as inspected
from minicnn.inspect.sample import decoded
from minicnn.network import SimpleNet
from minicnn.plain import Array

MAX_SIDE = 64  # pixels of an image for a new network, so that every number of it goes into the page
DIGIT_SIZE = (32, 32)


@click.command(short_help="Write a page that shows the backward pass, number by number.")
@click.argument("image", type=click.Path(path_type=Path), required=False)
@click.option("--model", type=click.Path(path_type=Path), help="What minicnn train wrote.  [default: a new SimpleNet]")
@click.option(
    "--digit",
    type=click.IntRange(0, 9),
    help="Instead of IMAGE: a handwritten digit of scikit-learn's, enlarged to 32 x 32.",
)
@click.option("--label", help="The true class, a name or a number.  [default: of IMAGE what the network predicts]")
@click.option(
    "-o", "--output", type=OutputFile(".html"), default="inspection.html", show_default=True, help="The page."
)
@click.option(
    "--max-side",
    type=click.IntRange(1),
    help=f"Shrink a larger image to this many pixels on the longer side.  [default: the model's, or {MAX_SIDE}]",
)
@click.option(
    "--train/--eval",
    "training",
    default=None,
    help="Whether batchnorm takes the statistics of the image, as a step of training would, or those that it kept, "
    "as predict does.  [default: --eval for a trained model, --train for a new network]",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of a new network's weights.")
@click.option(
    "--replay", type=click.Path(path_type=Path), help="A training run that Trainer(record=...) wrote, to replay."
)
@click.option("--open", "shown", is_flag=True, help="Open the page in the browser.")
@click.pass_context
def inspect(
    context: click.Context,
    image: Path | None,
    model: Path | None,
    digit: int | None,
    label: str | None,
    output: Path,
    max_side: int | None,
    training: bool | None,
    seed: int,
    replay: Path | None,
    shown: bool,
) -> None:
    """Run one forward and one backward pass on IMAGE and write a page that shows them, number by number.

    The page is one file that opens in any browser, also without a network. What the image teaches the network is
    seen in it layer by layer: each gradient, and the sums that it is made of. Nothing is learnt, the model stays as it
    is.

    \b
    Examples:
      minicnn inspect --digit 3
      minicnn inspect cat.jpg --model photos.safetensors --label cat --open
    """
    if (image is None) == (digit is None):
        raise click.UsageError("expected either IMAGE or --digit.", context)
    classifier = None if model is None else Classifier.load(model)
    classes: list[str] | None
    if classifier is not None:
        network, classes, channels = classifier.network, classifier.class_names, classifier.channels
    else:
        channels, classes = (3, None) if digit is None else (1, [str(n) for n in range(10)])
        network = SimpleNet(num_classes=10, in_channels=channels, rng=seed)
    if digit is not None:
        pixels, what = _digit(digit, channels), f"a handwritten {digit}"
        label = str(digit) if label is None and str(digit) in (classes or ()) else label
    else:
        largest = max_side or (classifier.max_side if classifier else MAX_SIDE)
        assert image is not None  # or there is a digit
        pixels, what = _pixels_of(image, channels, largest), image.name
    x = pixels if classifier is None else classifier.as_input(pixels)
    inspection = inspected(
        network,
        x,
        None if label is None else _class(label, classes, network["fc"].out_features, context),
        path=output,
        training=training,
        classes=classes,
        replay=replay,
        title=f"{'a new SimpleNet' if model is None else model.name} on {what}",
    )
    record = inspection.record
    click.echo(f"{_answer(record, classes)}    loss: {record['loss']['value']:.4f}")
    click.echo(record["mode_note"])
    if record["left_out"]:
        click.echo("it is too large for a page: some arrays are shown in part, and the page says which")
    click.echo(f"page: {click.format_filename(output)}")
    if shown:
        inspection.open()


def _answer(record: dict[str, Any], classes: list[str] | None) -> str:
    """The true class, and beside it what the network takes the image for, with its probability."""
    (k,), p = record["labels"], record["loss_view"]["p"]

    def name(k: int) -> str | int:
        return k if classes is None else classes[k]

    if record["labels_are_predicted"]:
        return f"class: {name(k)} (as the network predicts)"
    if p["kept"] is not None:  # of very many classes the page has some, and perhaps not the likeliest
        return f"true class: {name(k)}"
    (p,) = decoded(p)
    return f"true class: {name(k)}    the network says: {name(p.argmax())} ({p.max():.2f})"


def _digit(digit: int, channels: int) -> Array:
    """The first of scikit-learn's test digits that is this one, (channels, 32, 32) from 0 to 1."""
    test = load_digits().test
    image = test.images[np.flatnonzero(test.labels == digit)[0]]
    return np.repeat(resize(image, DIGIT_SIZE), channels, axis=0)


def _pixels_of(path: Path, channels: int, max_side: int | None) -> Array:
    """The image in a file, (channels, H, W) from 0 to 1. Raises ClickException, which names the file."""
    try:
        return to_unit_range(decode(path, channels, WHITE, LARGEST_IMAGE, max_side))
    except ValueError as error:
        raise click.ClickException(f"{click.format_filename(path)}: {error}") from error


def _class(label: str, classes: list[str] | None, n_classes: int, context: click.Context) -> int:
    """The class that a name or a number means."""
    if classes is not None and label in classes:
        return classes.index(label)
    if label.isdecimal() and int(label) < n_classes:
        return int(label)
    names = "" if classes is None else f" ({', '.join(classes)})"
    raise click.UsageError(
        f"--label: expected one of {n_classes} classes{names} or its number from 0, got {label!r}.", context
    )
