"""minicnn learn worksheet: small cases on paper, and their keys."""

from pathlib import Path

import click

from minicnn.io.files import write_whole
from minicnn.learn.worksheets import WORKSHEETS, as_markdown, as_page
from minicnn.learn.worksheets import worksheet as drawn


@click.command(short_help="A small case to compute with a pencil, or its key.")
@click.argument("name", required=False)
@click.option("--answers", is_flag=True, help="The key, with every sum written out, in place of the sheet.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["markdown", "html"]),
    help="A page to print, or text to edit.  [default: html for a FILE that ends so, else markdown]",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Other numbers for each seed.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write it there, not to the screen."
)
def worksheet(name: str | None, answers: bool, form: str | None, seed: int, output: Path | None) -> None:
    """Write the worksheet NAME: one page of small integers, forward and backward, to be done by hand.

    Without a name they are listed. The numbers are those of the framework's layers, so the key agrees with the code.

    \b
    Examples:
      minicnn learn worksheet convolution -o sheet.html
      minicnn learn worksheet convolution --answers -o key.html
    """
    if name is None:
        for each in WORKSHEETS:
            click.echo(f"{each:22}{drawn(each).title}")
        return
    if form is None:
        form = "html" if output is not None and output.suffix.lower() in (".html", ".htm") else "markdown"
    text = (as_page if form == "html" else as_markdown)(name, seed, answers)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_whole(output, text.encode())
        click.echo(click.format_filename(output))
