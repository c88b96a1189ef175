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
from minicnn.classify.explain import Winners
from minicnn.classify.explain import winners as winners_of
from minicnn.classify.grad_cam import grad_cam, saliency
from minicnn.classify.plot_explanation import draw_explanation
from minicnn.classify.plots import draw_winners, import_matplotlib, save_figure, shortened
from minicnn.data.walk import image_files
from minicnn.io.files import require_writable
from minicnn.network import Sequential
from minicnn.plain import Array

Ranked: TypeAlias = list[tuple[str, float]]  # (class, probability), the likeliest first
SayBad: TypeAlias = Callable[[str | Path, str], None]  # notes a file that is not predicted, and why


@click.command(short_help="Say of which class images are.")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option(
    "--top", type=click.IntRange(1), default=3, show_default=True, help="How many classes to name, likeliest first."
)
@click.option(
    "--mirror",
    is_flag=True,
    help="Look at each image mirrored, too, and take the mean of both; for models trained with --augment.",
)
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line for each image, with all probabilities.")
@click.option(
    "--winners",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write a figure for each image into DIR: which pixels the decision rests on, where max pooling decides.",
)
@click.option(
    "--explain",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write a figure for each image into DIR: where the network looked (Grad-CAM), and its saliency.",
)
@click.pass_context
def predict(
    context: click.Context,
    model: Path,
    images: tuple[str, ...],
    top: int,
    mirror: bool,
    as_json: bool,
    winners: Path | None,
    explain: Path | None,
) -> None:
    """Say of which class images are, with the model's probability for it.

    IMAGE is a file, a folder (with all images below it), or a pattern in quotes such as "photos/*.jpg". Images may
    have any size. Files that cannot be read are named on standard error, and the exit code is 1 then.

    A terminal gets a table, a file or another program a line for each image: path, class, probability, class, ...,
    separated by tabs.

    With --winners you see why: circles mark the pixels that won the network's max pooling, the larger the more they
    counted for (orange) or against (blue) the class; beside it, how far each pixel can change the answer. With
    --explain you see it of any network: what its features say for the class, laid over the image.

    \b
    Examples:
      minicnn predict photos.safetensors photos/test/cat/cat-01.jpg
      minicnn predict photos.safetensors photos/test --json > answers.jsonl
    """
    classifier = Classifier.load(model)
    bad: list[str | Path] = []

    def say_bad(path: str | Path, reason: str) -> None:
        bad.append(path)
        click.echo(f"{click.format_filename(path)}: {reason}", err=True)

    rows: list[tuple[Path, Ranked]] = []
    figures = _Figures(classifier, winners, explain)
    for path, image, probabilities in _predicted(classifier, images, mirror, say_bad):
        ranked = _ranked(classifier, probabilities)
        drawn = figures.write(path, image, probabilities)
        if as_json:
            click.echo(_json_line(path, ranked, drawn))
        elif sys.stdout.isatty():
            rows.append((path, ranked[:top]))
        else:
            click.echo(_tabbed_line(path, ranked[:top]))
    if rows:
        _print_table(rows)
    if not as_json:  # which has them
        for sentence in figures.in_words():
            click.echo(sentence, err=True)  # standard output has a line an image, for other programs
    if bad:
        context.exit(1)


def _predicted(
    classifier: Classifier, images: Sequence[str], mirror: bool, say_bad: SayBad
) -> Iterator[tuple[Path, Array, Array]]:
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
            yield from _together(classifier, waiting, mirror)
            waiting, pixels = [], 0
        waiting.append((path, image))
        pixels += area
    yield from _together(classifier, waiting, mirror)


def _together(
    classifier: Classifier, waiting: list[tuple[Path, Array]], mirror: bool
) -> Iterator[tuple[Path, Array, Array]]:
    probabilities = classifier.predict([image for _, image in waiting], mirror=mirror)
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


def _json_line(path: Path, ranked: Ranked, drawn: dict[str, Path]) -> str:
    answer = {"path": str(path), "class": ranked[0][0], "probabilities": dict(ranked)}
    return json.dumps(answer | {kind: str(figure) for kind, figure in drawn.items()})


def _tabbed_line(path: Path, ranked: Ranked) -> str:
    """For other programs: path, class, probability, class, probability, …"""
    return "\t".join([click.format_filename(path), *(f"{name}\t{share:.4f}" for name, share in ranked)])


def _print_table(rows: list[tuple[Path, Ranked]]) -> None:
    table = Table("image", "class", "", "or else", box=None, pad_edge=False)
    for path, ((name, share), *others) in rows:
        rest = ", ".join(f"{other} {share:.1%}" for other, share in others)
        table.add_row(click.format_filename(path), name, f"{share:.1%}", rest)
    Console(markup=False, emoji=False, highlight=False).print(table)


class _Figures:
    """Writes the figures that were asked for, each image's in files of their own names, and says where they are."""

    def __init__(self, classifier: Classifier, winners: Path | None, explain: Path | None) -> None:
        self.classifier, self.folders = classifier, {"winners": winners, "explain": explain}
        self.taken: set[Path] = set()
        self.written: dict[str, list[Path]] = {"winners": [], "explain": []}
        for kind, folder in self.folders.items():
            if folder is not None:
                import_matplotlib()  # fail now rather than after the work
                folder.mkdir(parents=True, exist_ok=True)
                require_writable(folder / f"{kind}.png")

    def write(self, path: Path, image: Array, probabilities: Array) -> dict[str, Path]:
        """The figures of what the likeliest class rests on, by kind."""
        k = int(probabilities.argmax())
        x = self.classifier.as_input(image)
        title = f"{shortened(path.name, 40)}: {shortened(self.classifier.class_names[k])} ({probabilities[k]:.1%})"
        network, written = self.classifier.network, {}
        for kind, folder in self.folders.items():
            if folder is None:
                continue
            if kind == "winners":
                figure = draw_winners(image, _winners(network, x, k), title)
            else:
                figure = draw_explanation(image, grad_cam(network, x, k), saliency(network, x, k), title)
            written[kind] = folder / self._name(path, kind, folder)
            save_figure(figure, written[kind])
            self.written[kind].append(written[kind])
        return written

    def in_words(self) -> Iterator[str]:
        """Where the figures are, a line for each kind."""
        for kind, paths in self.written.items():
            if paths:
                where = paths[0] if len(paths) == 1 else f"{len(paths)} figures in {paths[0].parent}"
                yield f"{kind}: {click.format_filename(str(where))}"

    def _name(self, path: Path, kind: str, folder: Path) -> str:
        name, number = f"{path.stem}-{kind}.png", 1
        while folder / name in self.taken:  # two images of one name, from two folders
            number += 1
            name = f"{path.stem}-{number}-{kind}.png"
        self.taken.add(folder / name)
        return name


def _winners(network: Sequential, x: Array, k: int) -> Winners:
    try:
        return winners_of(network, x, k)
    except TypeError as error:
        raise click.ClickException(f"{error}; --explain draws any network") from error
