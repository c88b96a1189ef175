"""minicnn learn export: a class set for teachers."""

from pathlib import Path

import click

from minicnn.learn.classroom.export import export as exported


def named(only: str) -> list[str]:
    """The names in an option like --only linear,relu."""
    return [name for name in map(str.strip, only.split(",")) if name]


@click.command(short_help="Write a class set, for teachers.")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--only", default="", help="Exercises or tasks, with commas between them.  [default: all]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the worksheets' numbers.")
def export(folder: Path, only: str, seed: int) -> None:
    """Write a class set into FOLDER, which must be new or empty: exercises for the students, worksheets to print, the
    answers to both apart, and tests for pytest. Its README says how to mark what is handed in.

    \b
    Examples:
      minicnn learn export class
      minicnn learn export week1 --only linear,relu --seed 7
    """
    tasks = exported(folder, named(only), seed)
    many = "1 task" if len(tasks) == 1 else f"{len(tasks)} tasks"
    click.echo(f"{many} written to {click.format_filename(folder)}; read its README.md")
