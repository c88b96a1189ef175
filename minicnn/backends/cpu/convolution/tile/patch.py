"""The patch of the input that the forward kernel and that of the weight gradient read: all channels, padded."""

from minicnn.backends.cpu.convolution.patches import Image, Window, plane_source
from minicnn.backends.cpu.convolution.pieces import View
from minicnn.backends.cpu.convolution.registers import LANES
from minicnn.backends.cpu.runtime.jit import inlined
from minicnn.backends.cpu.runtime.launch import call
from minicnn.plain import Array


def group_of(x: View) -> int:
    """How many channels lie side by side in the patch: 1 where the source gives planes."""
    return 1 if x.access is plane_source else LANES


@inlined
def fill_patch(source: int, arrays: tuple[Array, ...], image: Image, window: Window, group: int, patch: Array) -> None:
    """The patch (C / group, rows, columns, group) of all channels."""
    for c in range(0, image.channels, group):
        part = Window(c, window.row, window.column, window.rows, window.columns)
        call(source, (arrays, image, part, patch[c * window.rows * window.columns :]))
