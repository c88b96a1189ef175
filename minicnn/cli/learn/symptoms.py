"""minicnn learn symptoms: ten training runs in which something is wrong, to be diagnosed from their curves."""

import shutil
from pathlib import Path
from textwrap import fill

import click
from rich.console import Console
from rich.table import Table

from minicnn.classify.plots import import_matplotlib, save_figure
from minicnn.cli.files import OutputFile
from minicnn.learn.symptoms import CAUSES, MEASURES, NUMBERS, check, complaint, draw, explain, healthy, run
from minicnn.learn.symptoms.cases import Run
from minicnn.learn.symptoms.curves import compile_kernels
from minicnn.training.progress import reporter


@click.command(short_help="Diagnose broken training runs from their curves.")
@click.argument("number", type=click.IntRange(min(NUMBERS), max(NUMBERS)), required=False)
@click.option("--answer", type=click.Choice(list(CAUSES)), metavar="CAUSE", help="What you think is wrong.")
@click.option("--reveal", is_flag=True, help="Say what is wrong.")
@click.option("--fixed", is_flag=True, help="Run it without its fault.")
@click.option("-o", "--output", type=OutputFile(".png"), help="The picture.  [default: symptom-NUMBER.png]")
@click.pass_context
def symptoms(
    context: click.Context, number: int | None, answer: str | None, reveal: bool, fixed: bool, output: Path | None
) -> None:
    """Train the network of case NUMBER, in which one thing is wrong, and draw its curves beside a healthy run's.

    Without NUMBER, list the cases. The same curves come each time, in a few seconds; nothing is stored but the
    picture. With --answer they are held against your diagnosis; where they contradict it, it is said which of its
    predictions fails, and the exit code is 1.

    \b
    Examples:
      minicnn learn symptoms
      minicnn learn symptoms 4
      minicnn learn symptoms 4 --answer dead-relu
    """
    if number is None:
        if answer or reveal or fixed or output:
            raise click.UsageError("expected the NUMBER of a case with an option.", context)
        _list_cases()
        return
    if (answer is not None) + reveal + fixed > 1:
        raise click.UsageError("--answer, --reveal and --fixed exclude each other.", context)
    if output and (answer or reveal):
        raise click.UsageError("--output goes with the picture, which --answer and --reveal do not draw.", context)
    if answer or reveal:
        _judge(context, number, answer)
        return
    output = output or OutputFile(".png").convert(f"symptom-{number}{'-fixed' if fixed else ''}.png", None, context)
    _show(number, fixed, output)


def _list_cases() -> None:
    click.echo("Ten runs, each with one thing wrong. What their owners say:\n")
    for number in NUMBERS:
        click.echo(_wrapped(f"{number:3}  {complaint(number)}", 5))
    click.echo("\nLook at one: minicnn learn symptoms 1")


def _show(number: int, fixed: bool, output: Path) -> None:
    import_matplotlib()  # fail now rather than after the work
    case, well = _run_both(number, fixed)
    save_figure(draw(case, well), output)
    click.echo(_wrapped(f'case {number}: "{complaint(number)}"') + "\n")
    table = Table("", box=None, pad_edge=False)
    table.add_column("this run", justify="right")
    table.add_column("healthy run", justify="right")
    for measure in MEASURES:
        table.add_row(measure.what, measure.text(case.curves), measure.text(well.curves))
    Console(markup=False, emoji=False, highlight=False).print(table)
    click.echo(f"\npicture: {click.format_filename(output)}")
    if fixed:
        click.echo("without its fault the run is the healthy one, number by number")
        return
    click.echo("\nWhat can be wrong:")
    for cause in CAUSES.values():
        click.echo(_wrapped(f"  {cause.name:20}{cause.title}", 22))
    click.echo(f"\nYour diagnosis: minicnn learn symptoms {number} --answer CAUSE")


def _wrapped(text: str, indent: int = 0) -> str:
    """The text in lines that fit the terminal, all but the first indented."""
    return fill(text, shutil.get_terminal_size().columns - 1, subsequent_indent=" " * indent)


def _run_both(number: int, fixed: bool = False) -> tuple[Run, Run]:
    """The run of a case, and the healthy one."""
    with reporter() as report:
        compile_kernels(report.compiling)
    return run(number, fixed=fixed), healthy()


def _judge(context: click.Context, number: int, answer: str | None) -> None:
    case, well = _run_both(number)
    if answer is None:
        click.echo(explain(case, well))
        return
    right, said = check(case, answer, well)
    click.echo(said)
    if not right:
        context.exit(1)
