"""minicnn predict: what a model says of images."""

import glob
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import click
from rich.console import Console
from rich.table import Table

from minicnn.classify.classifier import MAX_PIXELS, Classifier
from minicnn.classify.explain import winners as find_winners
from minicnn.classify.plots import draw_winners, import_matplotlib, save_figure, shortened
from minicnn.data.walk import image_files
from minicnn.io.files import require_writable
from minicnn.plain import Array

Ranked: TypeAlias = list[tuple[str, float]]  # (class, probability), the likeliest first
SayBad: TypeAlias = Callable[[str | Path, str], None]  # notes a file that is not predicted, and why


@click.command(short_help="Say of which class images are.")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option(
    "--top", type=click.IntRange(1), default=3, show_default=True, help="How many classes to name, likeliest first."
)
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line for each image, with all probabilities.")
@click.option(
    "--winners",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write a figure for each image into DIR: which pixels the decision rests on.",
)
@click.pass_context
def predict(
    context: click.Context, model: Path, images: tuple[str, ...], top: int, as_json: bool, winners: Path | None
) -> None:
    """Say of which class images are, with the model's probability for it.

    IMAGE is a file, a folder (with all images below it), or a pattern in quotes such as "photos/*.jpg". Images may
    have any size. Files that cannot be read are named on standard error, and the exit code is 1 then.

    A terminal gets a table, a file or another program a line for each image: path, class, probability, class, ...,
    separated by tabs.

    With --winners you see why: circles mark the pixels that won the network's max pooling, the larger the more they
    counted for (orange) or against (blue) the class; beside it, how far each pixel can change the answer.

    \b
    Examples:
      minicnn predict pets.safetensors cat.jpg dog.png
      minicnn predict pets.safetensors photos --json > answers.jsonl
    """
    if winners is not None:
        import_matplotlib()  # fail now rather than after the work
        winners.mkdir(parents=True, exist_ok=True)
        require_writable(winners / "winners.png")
    classifier = Classifier.load(model)
    bad: list[str | Path] = []

    def say_bad(path: str | Path, reason: str) -> None:
        bad.append(path)
        click.echo(f"{click.format_filename(path)}: {reason}", err=True)

    rows: list[tuple[Path, Ranked]] = []
    taken: set[str] = set()
    for path, image, probabilities in _predicted(classifier, images, say_bad):
        ranked = _ranked(classifier, probabilities)
        drawn = None if winners is None else _write_winners(classifier, path, image, probabilities, winners, taken)
        if as_json:
            click.echo(_json_line(path, ranked, drawn))
        elif sys.stdout.isatty():
            rows.append((path, ranked[:top]))
        else:
            click.echo(_tabbed_line(path, ranked[:top]))
    if rows:
        _print_table(rows)
    if bad:
        context.exit(1)


def _predicted(classifier: Classifier, images: Sequence[str], say_bad: SayBad) -> Iterator[tuple[Path, Array, Array]]:
    """(path, image, probabilities) of each image, so many at once as the classifier computes at once."""
    waiting: list[tuple[Path, Array]] = []
    pixels = 0
    for path in dict.fromkeys(_files(images, say_bad)):
        try:
            image = classifier.read(path)
        except ValueError as error:
            say_bad(path, str(error))
            continue
        area = image[0].size
        if waiting and pixels + area > MAX_PIXELS:
            yield from _together(classifier, waiting)
            waiting, pixels = [], 0
        waiting.append((path, image))
        pixels += area
    yield from _together(classifier, waiting)


def _together(classifier: Classifier, waiting: list[tuple[Path, Array]]) -> Iterator[tuple[Path, Array, Array]]:
    probabilities = classifier.predict([image for _, image in waiting])
    for (path, image), row in zip(waiting, probabilities, strict=True):
        yield path, image, row


def _files(images: Sequence[str], say_bad: SayBad) -> Iterator[Path]:
    """The files that the arguments mean, in their order."""
    for text in images:
        path = Path(text)
        matches = [path] if path.exists() else [Path(match) for match in sorted(glob.glob(text, recursive=True))]
        if not matches:
            say_bad(text, "there is no such file or folder")
        for match in matches:
            if not match.is_dir():
                yield match
                continue
            files, unreadable = image_files(match)
            for place, reason in unreadable:
                say_bad(place, reason)
            if not files and not unreadable:
                say_bad(match, "there is no image in this folder")
            yield from files


def _ranked(classifier: Classifier, probabilities: Array) -> Ranked:
    order = (-probabilities).argsort(kind="stable").tolist()
    return [(classifier.class_names[k], float(probabilities[k])) for k in order]


def _json_line(path: Path, ranked: Ranked, drawn: Path | None) -> str:
    answer = {"path": str(path), "class": ranked[0][0], "probabilities": dict(ranked)}
    return json.dumps(answer | ({"winners": str(drawn)} if drawn else {}))


def _tabbed_line(path: Path, ranked: Ranked) -> str:
    """For other programs: path, class, probability, class, probability, …"""
    return "\t".join([click.format_filename(path), *(f"{name}\t{share:.4f}" for name, share in ranked)])


def _print_table(rows: list[tuple[Path, Ranked]]) -> None:
    table = Table("image", "class", "", "or else", box=None, pad_edge=False)
    for path, ((name, share), *others) in rows:
        rest = ", ".join(f"{other} {share:.1%}" for other, share in others)
        table.add_row(click.format_filename(path), name, f"{share:.1%}", rest)
    Console(markup=False, emoji=False, highlight=False).print(table)


def _write_winners(
    classifier: Classifier, path: Path, image: Array, probabilities: Array, folder: Path, taken: set[str]
) -> Path:
    """Draw what the likeliest class rests on, in a file of its own name; returns its path."""
    k = int(probabilities.argmax())
    found = find_winners(classifier.network, classifier.as_input(image), k)
    name, number = f"{path.stem}-winners.png", 1
    while name in taken:  # two images of one name, from two folders
        number += 1
        name = f"{path.stem}-{number}-winners.png"
    taken.add(name)
    title = f"{shortened(path.name, 40)}: {shortened(classifier.class_names[k])} ({probabilities[k]:.1%})"
    save_figure(draw_winners(image, found, title), folder / name)
    return folder / name
