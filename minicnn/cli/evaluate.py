"""minicnn evaluate: a model measured on a folder of labelled images."""

import math
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from minicnn.classify.classifier import Classifier
from minicnn.classify.evaluate import evaluate as evaluated
from minicnn.classify.plots import draw_confusion, draw_mistakes, import_matplotlib, save_figure
from minicnn.cli.files import OutputFile
from minicnn.data import ImageFolder


@click.command(short_help="Measure a model on images whose classes are known.")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--confusion", type=OutputFile(".png"), help="Write a figure of which classes are taken for which.")
@click.option("--mistakes", type=OutputFile(".png"), help="Write a figure of the mistakes it was surest of.")
def evaluate(model: Path, folder: Path, confusion: Path | None, mistakes: Path | None) -> None:
    """Measure MODEL on the images of FOLDER, which has a sub-folder for each class.

    Use images that the model was not trained on. Precision: of the images taken for this class, the share that
    are of it. Recall: of the images of this class, the share that are recognised.

    \b
    Example:
      minicnn evaluate pets.safetensors other-pets --mistakes mistakes.png
    """
    if confusion or mistakes:
        import_matplotlib()  # fail now rather than after the work
    classifier = Classifier.load(model)
    image_folder = ImageFolder(folder, channels=classifier.channels, max_side=classifier.max_side)
    result = evaluated(classifier, image_folder)

    table = Table("class", box=None, pad_edge=False)
    for heading in ("images", "precision", "recall"):
        table.add_column(heading, justify="right")
    rows = zip(result.class_names, result.confusion.sum(axis=1), result.precision, result.recall, strict=True)
    for name, count, precision, recall in rows:
        table.add_row(name, str(count), _number(precision), _number(recall))
    Console(markup=False, emoji=False, highlight=False).print(table)
    click.echo(
        f"accuracy: {result.accuracy:.4f} on {len(result.labels)} images    "
        f"(always saying the largest class: {result.largest_share:.4f})"
    )
    if confusion:
        save_figure(draw_confusion(result), confusion)
        click.echo(f"confusion matrix: {confusion}")
    if mistakes:
        save_figure(draw_mistakes(result, classifier.read), mistakes)
        click.echo(f"mistakes: {mistakes}")
    if image_folder.problems:
        click.echo(f"{image_folder.path}: {image_folder.summary()}", err=True)


def _number(share: float) -> str:
    return "–" if math.isnan(share) else f"{share:.3f}"
