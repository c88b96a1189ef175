"""minicnn learn marks: the marks of many submissions."""

import json
from pathlib import Path

import click

from minicnn.checkpoint import write_whole
from minicnn.cli.learn.export import named
from minicnn.learn.exercises import TASKS
from minicnn.learn.folder import tasks_called
from minicnn.learn.grader.running import SECONDS
from minicnn.learn.marks import as_csv
from minicnn.learn.marks import marks as marked

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(short_help="Mark many submissions, for teachers.")
@click.argument("submissions", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--only", default="", help="Exercises or tasks, with commas between them.  [default: all]")
@click.option("--seconds", type=click.FloatRange(1), default=SECONDS, show_default=True, help="Time limit of a task.")
@click.option("--json", "json_file", type=FILE, help="Write there what the grader says of each task.")
@click.option("--csv", "csv_file", type=FILE, help="Write there a table for spreadsheets: 1 for what is right.")
def marks(submissions, only, seconds, json_file, csv_file):
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
    click.echo("  ".join([" " * width, " passed", *(f"{exercise.number:>3}" for exercise in exercises)]))
    found = []
    for mark in marked(folders, tasks, seconds):
        found.append(mark)
        click.echo(
            "  ".join([mark["submission"].ljust(width), f"{mark['passed']}/{mark['of']}".rjust(7), *_shares(mark)])
        )
    if json_file:
        write_whole(json_file, (json.dumps(found, indent=2) + "\n").encode())
    if csv_file:
        write_whole(csv_file, as_csv(found).encode())


def _shares(mark):
    """How many tasks of each exercise are right, as in "2/3"."""
    of_exercise = {}
    for verdict in mark["verdicts"]:
        of_exercise.setdefault(verdict["exercise"], []).append(verdict["status"] == "passed")
    return [f"{sum(passed)}/{len(passed)}" for passed in of_exercise.values()]
