"""minicnn learn lessons: the lessons listed, copied, and built as pages and notebooks."""

from pathlib import Path

import click

from minicnn.learn.lessons.files import copy_lessons, lesson_paths, title_of
from minicnn.learn.lessons.notebooks import write_notebook
from minicnn.learn.lessons.pages import write_index, write_page
from minicnn.learn.lessons.run import run_lesson

FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command(short_help="List, copy or build the lessons.")
@click.option("--copy", type=FOLDER, help="Copy the lessons there, Python files to read, run and change.")
@click.option("--html", type=FOLDER, help="Run the lessons and write each as a page there, and index.html.")
@click.option("--notebooks", type=FOLDER, help="Run the lessons and write each as a notebook there.")
def lessons(copy: Path | None, html: Path | None, notebooks: Path | None) -> None:
    """List the lessons; or copy them, or build them as pages or notebooks.

    A lesson is a Python file whose comments are the text. It runs as it is, and opens as a notebook in VS Code,
    PyCharm, Spyder and, with the package jupytext, in Jupyter. The pages open in any browser, also without a network.

    \b
    Examples:
      minicnn learn lessons --copy lessons
      minicnn learn lessons --html pages
    """
    if not (copy or html or notebooks):
        for path in lesson_paths():
            click.echo(f"{path.stem:28}{title_of(path)}")
    if copy:
        _copy(copy)
    if html or notebooks:
        _build(html, notebooks)


def _copy(folder: Path) -> None:
    written, kept = copy_lessons(folder)
    for path in kept:
        click.echo(f"kept, since it differs from the lesson: {click.format_filename(path)}")
    click.echo(f"{len(written)} lessons written to {click.format_filename(folder)}")


def _build(html: Path | None, notebooks: Path | None) -> None:
    """Run each lesson once, and write it in the forms that are asked for."""
    for folder in filter(None, (html, notebooks)):
        folder.mkdir(parents=True, exist_ok=True)
    paths = lesson_paths()
    click.echo(f"{len(paths)} lessons are run, which takes minutes")
    for number, path in enumerate(paths, start=1):
        click.echo(f"{number}/{len(paths)} {path.stem} …")
        cells = run_lesson(path)
        if html:
            write_page(path, cells, html / f"{path.stem}.html")
        if notebooks:
            write_notebook(path, cells, notebooks / f"{path.stem}.ipynb")
    if html:
        write_index(html / "index.html")
        click.echo(f"pages: {click.format_filename(html / 'index.html')}")
    if notebooks:
        click.echo(f"notebooks: {click.format_filename(notebooks)}")
