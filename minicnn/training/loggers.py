"""Loggers: callbacks of a `Trainer` that write down what happens, for a spreadsheet, a program or TensorBoard.

Trainer(…, callbacks=[CSVLogger("run.csv"), JSONLinesLogger("run.jsonl"), TensorBoardLogger("runs/first")])
"""

import csv
import io
import json
from pathlib import Path
from typing import Any

from minicnn.checks import as_plain
from minicnn.io.files import require_writable, write_whole

FLUSH_SECONDS = 5  # after which TensorBoard can show what was logged


class CSVLogger:
    """The history as a table, a row for each epoch, with the columns that any of its rows has.

    The file is written anew after each epoch, whole or not at all, so that a run that is gone on with has all of it.

    Args:
        path: of the file.

    Raises OSError where it cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        require_writable(path)
        self.path = Path(path)

    def __call__(self, trainer: Any, event: str, values: dict[str, Any]) -> None:
        if event != "epoch":
            return
        text = io.StringIO()
        columns = dict.fromkeys(name for row in trainer.history for name in row)
        table = csv.DictWriter(text, list(columns), lineterminator="\n")
        table.writeheader()
        table.writerows(trainer.history)
        write_whole(self.path, text.getvalue().encode())


class JSONLinesLogger:
    """A JSON object a line for each epoch, and with `steps` for each step: {"event": "epoch", "step": 40, "loss": …}.

    Lines are added at the end of the file, and are whole when the next step begins. A number that is not finite is
    null, which every reader of JSON takes.

    Args:
        path: of the file.
        steps: whether each step has a line.

    Raises OSError where it cannot be written.
    """

    def __init__(self, path: str | Path, steps: bool = False) -> None:
        require_writable(path)
        self.path, self.steps = Path(path), bool(steps)

    def __call__(self, trainer: Any, event: str, values: dict[str, Any]) -> None:
        if event == "epoch" or self.steps:
            line = json.dumps({"event": event} | {name: _as_json(value) for name, value in values.items()})
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(f"{line}\n")


class TensorBoardLogger:
    """Event files for TensorBoard: "step/loss" and "step/lr" of each step, "epoch/…" of each epoch's columns.

    All curves are over the number of steps, and on disk after some seconds. tensorboardX writes them (`pip install
    'minicnn-numba[tensorboard]'`); TensorBoard itself, which shows them (`tensorboard --logdir FOLDER`), is not needed
    for it.

    Args:
        folder: where they go; it is made.

    Raises ImportError where tensorboardX is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from tensorboardX import SummaryWriter  # here: it imports PyTorch where that is installed
        except ImportError as error:
            raise ImportError(
                "TensorBoardLogger: event files are written by tensorboardX, which is not installed; get it with: "
                "pip install 'minicnn-numba[tensorboard]'"
            ) from error
        self._writer = SummaryWriter(str(folder), flush_secs=FLUSH_SECONDS)

    def __call__(self, trainer: Any, event: str, values: dict[str, Any]) -> None:
        for name, value in values.items():
            if name not in ("step", "epoch"):
                self._writer.add_scalar(f"{event}/{name}", value, values["step"])

    def close(self) -> None:
        """Finish the files, which the end of the program does as well."""
        self._writer.close()


def _as_json(value: Any) -> Any:
    value = as_plain(value)
    return None if isinstance(value, float) and value - value != 0 else value
