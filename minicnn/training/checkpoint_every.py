"""CheckpointEvery: a callback that saves the run within its epochs, where these are long."""

from pathlib import Path
from typing import Any

from minicnn.checks import as_int
from minicnn.io.files import require_writable
from minicnn.training.callbacks import with_state


class CheckpointEvery:
    """Saves the run after every so many steps, to go on from there to the same bits with `Trainer.load(path, batches)`.

    Args:
        path: of the checkpoint, which is replaced each time, whole or not at all.
        batches: the `Batches` or `Loader` that `fit` is given.
        steps: at least 1.

    In `Trainer(callbacks=[…])` it stands behind those that have a state, as EMA has, since these take a step into
    account when they are called.

    Raises OSError where the file cannot be written; ValueError, at the first step, where it stands before such a one.
    """

    def __init__(self, path: str | Path, batches: Any, steps: int) -> None:
        self.path, self.batches = Path(path), batches
        self.steps = as_int(steps, "CheckpointEvery: steps", 1)
        require_writable(path)

    def __call__(self, trainer: Any, event: str, values: dict[str, Any]) -> None:
        if event != "step":
            return
        late = with_state(trainer.callbacks[trainer.callbacks.index(self) + 1 :])
        if late:
            raise ValueError(
                f"CheckpointEvery: expected callbacks with a state before it, got {type(late[0]).__name__} after it, "
                "which has not seen this step; put CheckpointEvery last"
            )
        if values["step"] % self.steps == 0:
            trainer.save(self.path, self.batches)
