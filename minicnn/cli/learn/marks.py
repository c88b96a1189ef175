"""minicnn learn marks: the marks of many submissions."""

import json
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import track

from minicnn.cli.learn.export import named
from minicnn.io.files import write_whole
from minicnn.learn.classroom.marks import as_csv
from minicnn.learn.classroom.marks import marks as marked
from minicnn.learn.exercises import TASKS
from minicnn.learn.exercises.exercise import Exercise
from minicnn.learn.grader.running import SECONDS
from minicnn.learn.practice.folder import tasks_called

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(short_help="Mark many submissions, for teachers.")
@click.argument("submissions", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--only", default="", help="Exercises or tasks, with commas between them.  [default: all]")
@click.option("--seconds", type=click.FloatRange(1), default=SECONDS, show_default=True, help="Time limit of a task.")
@click.option("--json", "json_file", type=FILE, help="Write there what the grader says of each task.")
@click.option("--csv", "csv_file", type=FILE, help="Write there a table for spreadsheets: 1 for what is right.")
@click.pass_context
def marks(
    context: click.Context,
    submissions: tuple[Path, ...],
    only: str,
    seconds: float,
    json_file: Path | None,
    csv_file: Path | None,
) -> None:
    """Grade what was handed in, a folder for each of the SUBMISSIONS: how many tasks of each exercise are right.

    Each task runs in a process of its own; what one submission does to it does not stop the others.

    \b
    Example:
      minicnn learn marks submissions/* --only linear,relu --json marks.json --csv marks.csv
    """
    tasks = tasks_called(named(only))
    folders = [path for path in submissions if path.is_dir()]
    for path in submissions:
        if path not in folders:
            click.echo(f"left out, since it is no folder: {click.format_filename(path)}", err=True)
    width = max((len(str(folder)) for folder in folders), default=0)
    exercises = {TASKS[task][0].name: TASKS[task][0] for task in tasks}.values()
    for folder in folders:
        if not _holds_any(folder, exercises) and any(_holds_any(inner, exercises) for inner in folder.iterdir()):
            name = click.format_filename(folder)
            raise click.UsageError(f"there is no exercise in {name}; did you mean {name}/*?", context)
    click.echo("  ".join([" " * width, " passed", *(f"{exercise.number:>3}" for exercise in exercises)]))
    found = []
    for mark in _with_progress(marked(folders, tasks, seconds), len(folders)):
        found.append(mark)
        click.echo(
            "  ".join([mark["submission"].ljust(width), f"{mark['passed']}/{mark['of']}".rjust(7), *_shares(mark)])
        )
    click.echo(f"\n{_legend(exercises)}")
    if json_file:
        write_whole(json_file, (json.dumps(found, indent=2) + "\n").encode())
    if csv_file:
        write_whole(csv_file, as_csv(found).encode())


def _holds_any(folder: Path, exercises: Iterable[Exercise]) -> bool:
    return any((folder / exercise.file).exists() for exercise in exercises)


def _with_progress(found: Iterable[dict[str, Any]], many: int) -> Iterator[dict[str, Any]]:
    """The marks, as they come; a bar meanwhile, or where the table or the messages go elsewhere a line for each."""
    if sys.stdout.isatty() and sys.stderr.isatty():
        yield from track(found, "graded", many, transient=True, console=Console(stderr=True))
        return
    for number, mark in enumerate(found, start=1):
        click.echo(f"{number}/{many} graded: {mark['submission']}", err=True)
        yield mark


def _shares(mark: dict[str, Any]) -> list[str]:
    """How many tasks of each exercise are right, as in "2/3", or "-" where its file was not handed in."""
    of_exercise: dict[str, list[dict[str, Any]]] = {}
    for verdict in mark["verdicts"]:
        of_exercise.setdefault(verdict["exercise"], []).append(verdict)
    return [
        f"{sum(verdict['status'] == 'passed' for verdict in verdicts)}/{len(verdicts)}"
        if (Path(mark["submission"]) / TASKS[verdicts[0]["task"]][0].file).exists()
        else "  -"
        for verdicts in of_exercise.values()
    ]


def _legend(exercises: Iterable[Exercise]) -> str:
    """What the columns of the table are."""
    names = ", ".join(f"{exercise.number} {exercise.name}" for exercise in exercises)
    return click.wrap_text(
        f"columns: {names}; - where the file was not handed in", shutil.get_terminal_size().columns - 1
    )
