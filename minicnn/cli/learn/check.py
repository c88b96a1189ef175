"""minicnn learn check: grade what was written."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from minicnn.learn.exercises import TASKS
from minicnn.learn.grader import check as graded
from minicnn.learn.grader.grading import Verdict
from minicnn.learn.grader.running import SECONDS
from minicnn.learn.practice.folder import tasks_called

MARKS = {"passed": ("✓", "green"), "blank": ("·", None), "wrong": ("✗", "red"), "broken": ("✗", "red")}


@click.command(short_help="Grade what was written.")
@click.argument("names", nargs=-1)
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    help="Where the exercises are.  [default: here]",
)
@click.option("--seconds", type=click.FloatRange(1), default=SECONDS, show_default=True, help="Time limit of a task.")
@click.option("--json", "as_json", is_flag=True, help="Print the verdicts as JSON, for other programs.")
@click.pass_context
def check(context: click.Context, names: tuple[str, ...], folder: Path, seconds: float, as_json: bool) -> None:
    """Grade the exercises or tasks called NAMES, or all. Exit code 0 where all of them are right.

    Of what is not right, the first is shown number by number. Your code runs in a process of its own, for SECONDS at
    most; your files are only read.

    \b
    Examples:
      minicnn learn check linear
      minicnn learn check conv2d_input_gradient
    """
    tasks = tasks_called(names)
    files = {task: folder / TASKS[task][0].file for task in tasks}
    if not any(file.exists() for file in files.values()):
        raise click.UsageError(
            f"there is no exercise in {click.format_filename(folder.resolve())}; go to the folder that "
            "minicnn learn start wrote, or name it with --folder.",
            context,
        )
    with ThreadPoolExecutor(2) as pool:
        verdicts = list(pool.map(lambda task: graded(files[task], task, seconds), tasks))
    if as_json:
        click.echo(json.dumps([verdict.as_dict() for verdict in verdicts], indent=2))
    else:
        _say(verdicts)
    if not all(verdict.passed for verdict in verdicts):
        context.exit(1)


def _wrapped(paragraph: str) -> str:
    """A paragraph in lines that fit the terminal; one that has lines of its own keeps them."""
    return paragraph if "\n" in paragraph else click.wrap_text(paragraph, shutil.get_terminal_size().columns - 1)


def _say(verdicts: list[Verdict]) -> None:
    """A line a task under each exercise's name, then the first that is wrong in full."""
    exercise = None
    for verdict in verdicts:
        if verdict.exercise != exercise:
            exercise = verdict.exercise
            click.echo(TASKS[verdict.task][0].file)
        mark, colour = MARKS[verdict.status]
        click.echo(f"  {click.style(mark, fg=colour)} {verdict.task:28}{verdict.headline}")
    wrong = [verdict for verdict in verdicts if verdict.status in ("wrong", "broken")]
    shown = wrong[:1] or (verdicts if len(verdicts) == 1 else [])
    for verdict in shown:
        if verdict.details:
            click.echo()
            click.echo(click.style(verdict.task, bold=True))
            click.echo("\n\n".join(map(_wrapped, verdict.details)))
        if verdict.printed.strip():
            click.echo(f"\nYour code printed:\n{verdict.printed.rstrip()}")
    if len(verdicts) > 1:
        passed = sum(verdict.passed for verdict in verdicts)
        click.echo(f"\n{passed} of {len(verdicts)} tasks are right")
