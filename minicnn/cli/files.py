"""What the sub-commands check of the files they will write, before the work that would be lost."""

from __future__ import annotations

import os
from pathlib import Path

import click

from minicnn.io.files import require_writable


class OutputFile(click.Path):
    """A file to be written: its folder must exist and take files, and it must not be a folder itself."""

    def __init__(self, suffix: str | None = None) -> None:
        super().__init__(dir_okay=False, writable=True)
        self.suffix = suffix

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not path.resolve().parent.is_dir():
            self.fail(f"there is no folder {str(path.resolve().parent)!r}.", param, ctx)
        try:
            require_writable(path)
        except OSError as error:
            self.fail(f"{error}.", param, ctx)
        if self.suffix and path.suffix.lower() != self.suffix:
            self.fail(f"expected a name that ends in {self.suffix}, got {str(path)!r}.", param, ctx)
        return path
