"""Recordings: safetensors files of arrays and a description, whose form and version are checked when they are read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from minicnn.checks import shortened
from minicnn.io.safetensors import WRONG_CONTENT, description_in, read_safetensors
from minicnn.plain import Array

Made = TypeVar("Made")


class RecordingForm(NamedTuple):
    """A form of recordings.

    name, version: as they stand in the file. key: under which its description does, a dict as JSON.
    writer: what wrote it, in words.
    """

    name: str
    version: int
    key: str
    writer: str

    def metadata(self, description: dict[str, Any]) -> dict[str, str]:
        """What a file of this form has beside its arrays."""
        return {"format": f"{self.name} {self.version}", self.key: json.dumps(description)}

    def read(self, path: str | Path, make: Callable[[dict[str, Array], dict[str, Any]], Made]) -> Made:
        """What `make` makes of the arrays and the description of a file; it may raise anything in WRONG_CONTENT.

        Raises FileNotFoundError; ValueError, which names the file, where it is damaged, is something else, or comes
        from a newer version.
        """
        arrays, metadata = read_safetensors(path)
        name, _, version = metadata.get("format", "").rpartition(" ")
        if name != self.name:
            raise ValueError(
                f"{path}: expected a recording that {self.writer} wrote, got a safetensors file that is none"
            )
        if version != str(self.version):
            raise ValueError(
                f"{path}: expected a recording of format {self.version}, got format {shortened(version)}; install the "
                "newest minicnn, or record again"
            )
        description = description_in(path, metadata, self.key)
        try:
            return make(arrays, description)
        except WRONG_CONTENT as error:
            raise ValueError(
                f"{path}: the recording is damaged ({type(error).__name__}: {shortened(error)}); record again"
            ) from error
