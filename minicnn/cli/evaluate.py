"""minicnn evaluate: a model measured on a folder of labelled images."""

import math
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from minicnn.classify.classifier import Classifier
from minicnn.classify.evaluate import evaluate as evaluated
from minicnn.classify.plots import draw_confusion, draw_mistakes, draw_reliability, import_matplotlib, save_figure
from minicnn.classify.reliability import reliability
from minicnn.cli.files import OutputFile
from minicnn.data import ImageFolder


@click.command(short_help="Measure a model on images whose classes are known.")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--mirror",
    is_flag=True,
    help="Look at each image mirrored, too, and take the mean of both; for models trained with --augment.",
)
@click.option("--confusion", type=OutputFile(".png"), help="Write a figure of which classes are taken for which.")
@click.option("--mistakes", type=OutputFile(".png"), help="Write a figure of the mistakes it was surest of.")
@click.option(
    "--reliability",
    "reliability_figure",
    type=OutputFile(".png"),
    help="Write a figure of how often it is right where it is how sure.",
)
def evaluate(
    model: Path,
    folder: Path,
    mirror: bool,
    confusion: Path | None,
    mistakes: Path | None,
    reliability_figure: Path | None,
) -> None:
    """Measure MODEL on the images of FOLDER, which has a sub-folder for each class.

    Use images that the model was not trained on. Precision: of the images taken for this class, the share that
    are of it. Recall: of the images of this class, the share that are recognised. F1: their harmonic mean.

    \b
    Example:
      minicnn evaluate photos.safetensors photos/test --mistakes mistakes.png
    """
    if confusion or mistakes or reliability_figure:
        import_matplotlib()  # fail now rather than after the work
    classifier = Classifier.load(model)
    image_folder = ImageFolder(folder, channels=classifier.channels, max_side=classifier.max_side)
    result = evaluated(classifier, image_folder, mirror)

    table = Table("class", box=None, pad_edge=False)
    for heading in ("images", "precision", "recall", "F1"):
        table.add_column(heading, justify="right")
    counts = result.confusion.sum(axis=1)
    for name, count, *shares in zip(
        result.class_names, counts, result.precision, result.recall, result.f1, strict=True
    ):
        table.add_row(name, str(count), *map(_number, shares))
    Console(markup=False, emoji=False, highlight=False).print(table)
    click.echo(
        f"accuracy: {result.accuracy:.4f} on {len(result.labels)} images    "
        f"(always saying the largest class: {result.largest_share:.4f})"
    )
    click.echo(f"mean over classes: recall {result.macro_recall:.4f}, F1 {result.macro_f1:.4f}")
    how_sure = reliability(result)
    click.echo(f"calibration error: {how_sure.error:.4f} (how far being sure and being right are apart)")
    if reliability_figure:
        save_figure(draw_reliability(how_sure), reliability_figure)
        click.echo(f"reliability diagram: {reliability_figure}")
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
