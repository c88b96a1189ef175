"""minicnn sample: a small folder of real pictures to begin with."""

from pathlib import Path

import click

from minicnn.data.folder import ImageFolder
from minicnn.data.sample import CREDITS, write_sample


@click.command(short_help="Write a small folder of real pictures to begin with.")
@click.argument("folder", type=click.Path(path_type=Path))
def sample(folder: Path) -> None:
    """Write pictures to train on and to be tested with into FOLDER, which must be new or empty.

    They are pieces of photographs that come with minicnn, one photograph for each class. CREDITS.md in FOLDER says
    whose they are.

    \b
    Example:
      minicnn sample photos
      minicnn train photos/train --output photos.safetensors
      minicnn evaluate photos.safetensors photos/test
    """
    train, test = write_sample(folder)
    training, testing = ImageFolder(train), ImageFolder(test)
    click.echo(
        f"{len(training)} pictures to train on, {len(testing)} to be tested with: {click.format_filename(folder)}"
    )
    click.echo(f"classes: {', '.join(training.class_names)}")
    click.echo(f"whose pictures they are: {click.format_filename(folder / CREDITS)}")
