"""Products of arrays of which a part is left out of the page."""

from collections.abc import Callable, Sequence

from minicnn.plain import Array


def left_out_products(product: Callable[[Array, Array], Array], dy: Sequence[Array], x: Sequence[Array]) -> Array:
    """The part of `product(dy, x)`, linear in both, without the products of two kept cells; dy, x: (kept, left out)."""
    dy_kept, dy_left_out = dy
    x_kept, x_left_out = x
    return product(dy_left_out, x_kept + x_left_out) + product(dy_kept, x_left_out)
