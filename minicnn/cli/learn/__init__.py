"""minicnn learn: the course on the command line, one file for each of its sub-commands."""

import click

from minicnn.cli.learn.check import check
from minicnn.cli.learn.export import export
from minicnn.cli.learn.lessons import lessons
from minicnn.cli.learn.marks import marks
from minicnn.cli.learn.show import solution, stub
from minicnn.cli.learn.start import start
from minicnn.cli.learn.symptoms import symptoms
from minicnn.cli.learn.train import train
from minicnn.cli.learn.worksheet import worksheet


@click.group(short_help="Learn backpropagation by writing it.")
def learn() -> None:
    """Learn how backpropagation works by writing it yourself.

    \b
    Lessons to read, exercises to write, and a grader that names the mistake:
      minicnn learn start backprop
      cd backprop
      minicnn learn check linear
    """


for command in (start, check, stub, solution, train, lessons, symptoms, worksheet, export, marks):
    learn.add_command(command)
