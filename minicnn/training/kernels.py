"""Which of the backend's kernels a run needs."""

from typing import Any

from minicnn.backends.protocol import Report
from minicnn.network import Sequential


def compile_for(network: Sequential, computed: Sequential, clips: bool, recorder: Any, report: Report | None) -> None:
    """Make ready what it takes to train `network` through `computed`; `clips` says whether gradients are clipped."""
    dtypes = (layer.params[key].dtype for _, layer, key in network.named_params())
    files = {*computed.operations, "log_softmax", "losses", "optim"}
    if clips:
        files.add("arrays")
    if recorder is not None and recorder.image is not None:
        files.update(network.operations)  # the image passes through every layer on its own
    network.ops.compile_kernels(next(dtypes, "float32"), report, files)
