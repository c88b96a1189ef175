"""Lessons as notebooks of Jupyter's, with their outputs."""

import base64
import itertools
from pathlib import Path
from typing import Any

from minicnn.io.files import write_whole
from minicnn.learn.lessons.figures import as_png
from minicnn.learn.lessons.run import Code, Picture, Printed, Text, needing_lesson_packages, read_lesson

KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def notebook_of(path: Path, cells: list[Text | Code]) -> Any:
    """The lesson in a file as an nbformat notebook, with the outputs of `cells`, which `run_lesson` made of it.

    Raises ImportError where a package is missing.
    """
    notebook = read_lesson(path)
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    executed = itertools.count(1)
    for number, (cell, ran) in enumerate(zip(notebook.cells, cells, strict=True), start=1):
        cell.id = f"cell-{number}"  # not a random one, so that the same lesson gives the same file
        if isinstance(ran, Code):
            cell.execution_count = next(executed)
            cell.outputs = [output for made in ran.outputs for output in _outputs(made)]
    return notebook


def write_notebook(path: Path, cells: list[Text | Code], destination: str | Path) -> None:
    """Write `notebook_of` a lesson as .ipynb. Raises ImportError, and OSError."""
    with needing_lesson_packages("write_notebook"):
        import nbformat
    notebook = notebook_of(path, cells)
    nbformat.validate(notebook)
    write_whole(destination, (nbformat.writes(notebook) + "\n").encode())


def _outputs(made: Printed | Picture) -> list[Any]:
    """One of `Code.outputs` as nbformat has it, as if it came from the lesson in Jupyter."""
    from nbformat.v4 import new_output

    if not isinstance(made, Picture):
        return [new_output("stream", name="stdout", text=made.text)]
    image = {"image/png": base64.b64encode(as_png(made.figure)).decode(), "text/plain": made.caption}
    return [new_output("display_data", data=image), new_output("stream", name="stdout", text=made.caption + "\n")]
