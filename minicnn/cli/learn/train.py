"""minicnn learn train: the learner's own functions in SimpleNet, beside the framework's."""

import shutil
from pathlib import Path

import click
from rich.console import Console
from rich.table import Column, Table

from minicnn.learn.exercises import TASKS
from minicnn.learn.grader import check
from minicnn.learn.practice.comparison import TrainingComparison, load, operations_among
from minicnn.learn.practice.comparison import train as trained
from minicnn.learn.practice.folder import tasks_called


@click.command(short_help="Train SimpleNet with your own functions in it.")
@click.argument("names", nargs=-1)
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=".",
    help="Where the exercises are.  [default: here]",
)
@click.option("--epochs", type=click.IntRange(1), default=3, show_default=True, help="Passes over the digits.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of weights and order.")
@click.pass_context
def train(context: click.Context, names: tuple[str, ...], folder: Path, epochs: int, seed: int) -> None:
    """Train SimpleNet on handwritten digits with your own functions in it, and beside it with the framework's.

    Both runs begin with the same weights and see the same batches. Used are your functions that are right; or those
    called NAMES as they are, right or wrong: a wrong gradient is worth seeing in action.

    \b
    Examples:
      minicnn learn train
      minicnn learn train conv2d_input_gradient
    """
    tasks = operations_among(tasks_called(names))
    click.echo("checking which of your functions are right …", err=True)
    wrong = {}
    for number, task in enumerate(tasks, start=1):
        verdict = check(folder / TASKS[task][0].file, task)
        click.echo(f"{number} of {len(tasks)} checked", err=True)
        if not verdict.passed:
            wrong[task] = verdict
    if names:
        for task, verdict in wrong.items():
            _say(f"{task}: {verdict.headline}; it is used as it is")
    else:
        tasks = [task for task in tasks if task not in wrong]
        there = [task for task in wrong if (folder / TASKS[task][0].file).exists()]
        left_out = [task for task in there if wrong[task].status != "blank"]
        if left_out:
            _say(f"left out, since not right: {', '.join(left_out)}")
    if not tasks:
        raise click.UsageError(
            "there is no function of yours that is right and an operation of the network; "
            "see minicnn learn check, or name one.",
            context,
        )
    comparison = trained(load(folder, tasks), epochs, seed, click.echo)
    console = Console(highlight=False)
    console.print(_epochs(comparison))
    if comparison.operations:
        console.print(_operations(comparison))
    unused = [task for task in tasks if task not in comparison.operations]
    if unused:
        _say(f"not called in training a SimpleNet: {', '.join(unused)}")


def _say(text: str) -> None:
    """A sentence in lines that fit the terminal."""
    click.echo(click.wrap_text(text, shutil.get_terminal_size().columns - 1))


def _epochs(comparison: TrainingComparison) -> Table:
    table = Table("epoch", "", "loss", "validation accuracy", "seconds", box=None, pad_edge=False)
    for pair in zip(comparison.yours, comparison.ours, strict=True):
        for who, row in zip(("yours", "the framework's"), pair, strict=True):
            numbers = f"{row['loss']:.6f}", f"{row['val_accuracy']:.4f}", f"{row['seconds']:.2f}"
            table.add_row(str(row["epoch"]), who, *numbers)
    return table


def _operations(comparison: TrainingComparison) -> Table:
    numbers = "calls", "yours, ms a call", "the framework's", "times the framework's"
    table = Table(Column("operation", no_wrap=True), *numbers, box=None, pad_edge=False)
    for name, (calls, yours, ours) in comparison.operations.items():
        each = [1e3 * seconds / calls for seconds in (yours, ours)]
        table.add_row(name, str(calls), f"{each[0]:.3f}", f"{each[1]:.3f}", _two_digits(yours / ours))
    return table


def _two_digits(ratio: float) -> str:
    """Rounded to two significant digits.

    >>> [_two_digits(ratio) for ratio in (0.0123, 0.98, 1.02, 47.3, 1234)]
    ['0.012', '0.98', '1.0', '47', '1200']
    """
    rounded = float(f"{ratio:.2g}")
    return f"{rounded:.1f}" if 1 <= rounded < 10 else f"{rounded:g}"
