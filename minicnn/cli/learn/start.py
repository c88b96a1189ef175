"""minicnn learn start: the exercises and lessons in a folder of one's own."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click

from minicnn.learn.practice.folder import start as started


@click.command(short_help="Write the exercises and lessons into a folder.")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def start(folder: Path) -> None:
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
    click.echo(f"next: {go}read lessons/01_linear.py, fill in 01_linear.py, then: {_program()} learn check linear")


def _program() -> str:
    """What to type for this program in any folder: `minicnn` if a terminal finds it under that name, else its path."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py" and called.parent.name == "minicnn":
        return f"{_typed(sys.executable)} -m minicnn"
    found = shutil.which("minicnn")
    if called.stem != "minicnn" or (found and os.path.samefile(Path(found).parent, called.parent)):
        return "minicnn"
    return _typed(os.path.abspath(called))


def _typed(path: str) -> str:
    """The path as it is typed in a terminal, in quotes where it has blanks."""
    return subprocess.list2cmdline([path]) if os.name == "nt" else shlex.quote(path)
