"""The lessons as files: which there are, what they are called, and copies of them to work on.

A lesson is a Python script in the percent format: a line `# %% [markdown]` begins a cell of text, in comment lines, and
`# %%` a cell of code. Jupyter (by way of jupytext), VS Code, PyCharm and Spyder show such a file as a notebook, and
Python runs it as it is.

Two tags say how a page shows a cell: `# %% [markdown] tags=["answer"]` answers the question above it and is folded
away, and of `# %% tags=["picture"]` the picture is shown and the code folded away. A question is a quotation that
begins with `**Question.**`. What the text claims, the code asserts.
"""

from pathlib import Path

from minicnn.io.files import write_whole

FOLDER = Path(__file__).parent / "texts"


def lesson_paths() -> list[Path]:
    """The files of the lessons, in their order."""
    return sorted(FOLDER.glob("[0-9][0-9]_*.py"))


def title_of(path: Path) -> str:
    """The first heading of a lesson's text.

    >>> title_of(lesson_paths()[0])
    '1 · Linear: sums, and the way back'
    """
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("# # "):
            return line.removeprefix("# # ")
    raise ValueError(f"{path.name}: expected a first heading, a line that begins with '# # ', got none")


def copy_lessons(folder: str | Path) -> tuple[list[Path], list[Path]]:
    """Write the lessons into `folder`, which is made if need be; returns (written, kept), two lists of paths.

    A file that is there already and differs is somebody's work, and is kept as it is.

    Raises OSError where the folder cannot be made or written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written, kept = [], []
    for path in lesson_paths():
        content, copy = path.read_bytes(), folder / path.name
        if not copy.exists():
            write_whole(copy, content)
            written.append(copy)
        elif not copy.is_file() or copy.read_bytes() != content:
            kept.append(copy)
    return written, kept
