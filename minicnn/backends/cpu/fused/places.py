"""Where the pixels of an activation lie: of each image an array (H, W, LANES) for every vector of channels.

A source or sink works on one vector of channels at a time. So it reads and writes whole rows of pixels without gaps,
which the processor fetches ahead by itself. With all channels of a pixel side by side it took 64 of every 256 bytes of
a block of 64 channels, and a step on 128 pictures of 32 × 32 took 1.12 times as long (2-core Xeon, AVX-512).
"""

from minicnn.backends.cpu.convolution.patches import Image
from minicnn.backends.cpu.convolution.registers import LANES
from minicnn.backends.cpu.runtime.jit import inlined


@inlined
def place_of(image: Image, channel: int, row: int, column: int) -> int:
    """Where LANES channels from `channel` on begin, of a pixel; its neighbour to the right lies LANES further."""
    return image.start + channel * image.height * image.width + (row * image.width + column) * LANES
