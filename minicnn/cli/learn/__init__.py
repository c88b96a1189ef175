"""minicnn learn: the course on the command line, one file for each of its sub-commands."""

import click


@click.group(short_help="Learn backpropagation by writing it.")
def learn():
    """Learn how backpropagation works by writing it yourself."""
