"""The inspector: a page that shows the forward and the backward pass of a network, number by number.

passes.py      one forward and one backward pass on a copy of the network, layer by layer
arguments.py   what `inspect` is given, checked
mode.py        whether batchnorm takes the statistics of the batch
loss.py        the loss, its gradient, and the view of both
reports/       what the page has of each kind of layer: what it keeps and why, what it costs, what its view needs
record.py      all of that in a record that JSON can hold
sample.py      what of large arrays goes into the page
left_out.py    what does not, in sentences
page.py        HTML, style, scripts and data in one file
page/          the page itself; d3 by Mike Bostock draws, with its licence beside it

And of a whole training run, which the page can replay:

recording/     what `Trainer(record=…)` writes down of the steps, and its file
replay.py      what of it goes into the page
"""

import json
import tempfile
import webbrowser
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from minicnn.inspect import page
from minicnn.inspect.record import recorded
from minicnn.inspect.recording import Recorder, Recording, load_recording
from minicnn.inspect.replay import replay_data
from minicnn.io.files import require_writable, write_whole
from minicnn.network import Sequential
from minicnn.plain import Array

__all__ = ["Inspection", "Recorder", "Recording", "inspect", "load_recording", "replay_data"]

MAX_BYTES = 8_000_000  # of numbers; with scripts and style a page is below 10 MB


class Inspection:
    """A forward and a backward pass that was recorded, and its page. In a notebook it shows itself.

    Attributes:
        record: the record, a dict that JSON can hold; `minicnn.inspect.sample.decoded` gives the arrays in it.
        path: where the page was written last, or None.
    """

    def __init__(self, record: dict[str, Any]) -> None:
        self.record = record
        self.path: Path | None = None

    def save(self, path: str | Path) -> "Inspection":
        """Write the page, whole or not at all. Returns the Inspection. Raises OSError where it cannot be written."""
        path = Path(path)
        # Half a character may come from a file's name.
        write_whole(path, page.assembled(self.record).encode("utf-8", "replace"))
        self.path = path
        return self

    def open(self) -> "Inspection":
        """Show the page in the browser; one that was not saved goes to a temporary folder. Returns the Inspection.

        Raises RuntimeError where no browser can be started.
        """
        path = self.path or Path(tempfile.mkdtemp(prefix="minicnn-")) / "inspection.html"
        if self.path is None:
            self.save(path)
        if not webbrowser.open(path.resolve().as_uri()):
            raise RuntimeError(f"Inspection.open: found no browser to start; open the file yourself: {path}")
        return self

    def _repr_html_(self) -> str:
        return page.in_a_frame(page.assembled(self.record))

    def __repr__(self) -> str:
        loss = self.record["loss"]
        judged = f", {loss['name']} {loss['value']:.4g}" if loss else ""
        shape, layers = tuple(self.record["input_shape"]), len(self.record["layers"])
        return f"Inspection({self.record['title']}, {layers} layers, input {shape}{judged}, {self.path or 'not saved'})"


def inspect(
    network: Sequential,
    x: Array,
    y: ArrayLike | None = None,
    *,
    loss: Any = None,
    dy: Array | None = None,
    path: str | Path | None = None,
    training: bool | None = None,
    backend: str = "reference",
    title: str | None = None,
    classes: Iterable[str] | None = None,
    lr: float = 0.01,
    replay: Recording | str | Path | None = None,
    max_bytes: int = MAX_BYTES,
) -> Inspection:
    """Run one forward and one backward pass, and make a page that shows them.

    The passes are run on a copy: parameters, gradients, running statistics and memory of `network` stay as they are.
    The page is one HTML file that opens in any browser, without a network. Arrays that are too large for it are cut,
    and the page says how.

    Args:
        network: a `Sequential`. A network with a forward of its own, and a layer of your own, is shown by its maps.
        x: images (N, C, H, W), one image (C, H, W), or vectors (N, D), of the network's dtype.
        y: the labels (N,), of one image an int; unless given, the classes that the network predicts, and the page
            says so.
        loss: a loss object, `CrossEntropyLoss()` unless given.
        dy: in place of y and loss, the gradient with respect to the output, for outputs that are not (N, K).
        path: where the page is written; unless given it is not, see `Inspection`.
        training: whether batchnorm takes its statistics from the batch, as in a step of training, or those that it
            kept, as `predict` does. Unless given, those that it kept where x is a single image and the network is a
            trained one: one image is no batch, and its own statistics would tell of another answer than that of
            `predict`. Page and `record["mode_note"]` say which it is.
        backend: what computes; "reference" can be read.
        title: of the page, the name of the network's class unless given.
        classes: the names of the K classes.
        lr: the learning rate of a plain SGD step, for the ratio of each update to its weights.
        replay: a training run to be shown step by step: a `Recording`, or the path of one.
        max_bytes: the most that the arrays may take in the page; of these the replay takes half at most.

    Returns:
        `Inspection`.

    Raises:
        TypeError: not a Sequential, x of another dtype, labels that are not integers, y together with dy.
        ValueError: x of another rank, empty or not finite; a layer's output or gradient that is not finite (the first
            one is named); labels or class names that do not fit.
        RuntimeError: a layer's forward or backward failed (it is named, and the error is the cause).
        ValueError, FileNotFoundError: no recording in the file `replay`.
        OSError: the page cannot be written to `path`; then there is no part of it, and a page that was there stays.

    >>> import numpy as np, minicnn
    >>> inspect(minicnn.SimpleNet(rng=0), np.zeros((3, 17, 23), np.float32), 7)
    Inspection(SimpleNet, 13 layers, input (1, 3, 17, 23), CrossEntropyLoss 2.324, not saved)
    """
    if path is not None:
        require_writable(path)  # rather now than after the work
    if replay is not None:
        recording = replay if isinstance(replay, Recording) else load_recording(replay)
        replayed = replay_data(recording, max_bytes // 2)
        max_bytes -= len(json.dumps(replayed))
    record = recorded(
        network,
        x,
        y,
        loss=loss,
        dy=dy,
        training=training,
        backend=backend,
        title=title,
        classes=classes,
        lr=lr,
        max_bytes=max_bytes,
    )
    if replay is not None:
        record["replay"] = replayed
    inspection = Inspection(record)
    return inspection if path is None else inspection.save(path)
