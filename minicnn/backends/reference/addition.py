"""Addition, where two paths of a network meet, and where the gradients of both meet on the way back.

y = x + other            of the gradient dy of a sum, each of its terms is handed the whole
"""

from minicnn.plain import Array


def add(x: Array, other: Array) -> Array:
    """y, the sum of x and other, of any shape, which is the same of both."""
    return x + other
