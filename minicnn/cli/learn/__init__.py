"""minicnn learn: the course on the command line, one file for each of its sub-commands."""

import click

from minicnn.cli.learn.lessons import lessons


@click.group(short_help="Learn backpropagation by writing it.")
def learn():
    """Learn how backpropagation works by writing it yourself."""


learn.add_command(lessons)
