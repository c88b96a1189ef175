"""minicnn learn start: the exercises and lessons in a folder of one's own."""

from pathlib import Path

import click

from minicnn.learn.folder import start as started


@click.command(short_help="Write the exercises and lessons into a folder.")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def start(folder):
    """Write the exercises and lessons into FOLDER. Files that are there stay as they are.

    \b
    Example:
      minicnn learn start backprop
      cd backprop
      minicnn learn check
    """
    written = started(folder)
    name = click.format_filename(folder)
    if not written:
        click.echo(f"nothing to write: {name} has every file already")
        return
    click.echo(f"{len(written)} files written to {name}")
    go = "" if folder.resolve() == Path.cwd() else f"cd {name}, "
    click.echo(f"next: {go}read lessons/01_linear.py, fill in 01_linear.py, then: minicnn learn check linear")
