"""minicnn learn stub and minicnn learn solution: a task's text, as it was given and as the framework has it."""

from collections.abc import Iterable

import click

from minicnn.learn.exercises import TASKS
from minicnn.learn.practice.folder import tasks_called


@click.command(short_help="Show a task as it was given.")
@click.argument("name")
def stub(name: str) -> None:
    """Show the task or exercise NAME as it was given, to begin anew."""
    _echo([TASKS[task][1].stub() for task in tasks_called([name])])


@click.command(short_help="Show the framework's own code for a task.")
@click.argument("name")
def solution(name: str) -> None:
    """Show the framework's own code for the task or exercise NAME, its answer."""
    _echo([TASKS[task][1].solution() for task in tasks_called([name])])


def _echo(texts: Iterable[str]) -> None:
    click.echo("\n\n".join(texts).rstrip())
