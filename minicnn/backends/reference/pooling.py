"""Pooling: one output cell for each window of an image.

Fixed and adaptive pooling are one family: they differ in where the windows lie, and that is what the tables
`rows` and `columns` say (see `minicnn.geometry`). The window of output (p, q) is the rectangle
rows[p] × columns[q].

    max   y = the largest cell; backward gives dy to that cell alone, the window's winner
    avg   y = the mean; backward gives dy / area to every cell

Windows may overlap (adaptive pooling with sizes that do not divide, or stride < kernel), so a cell can belong
to several outputs, and backward must ADD what each sends back.
"""

import numpy as np

from minicnn.plain import Array, Pair


def max_pool2d_forward(x: Array, rows: Array, columns: Array) -> tuple[Array, Array]:
    """y and argmax (N, C, OH, OW) for x (N, C, H, W), rows (OH, 3), columns (OW, 3).

    The winner is the first maximum in reading order; a NaN beats every number, the last NaN the others. argmax says
    where in its image it is, r * W + s.
    """
    n_images, n_channels, _, width = x.shape
    y = np.empty((n_images, n_channels, len(rows), len(columns)), x.dtype)
    argmax = np.empty(y.shape, np.int32)
    for p, (top, bottom, _) in enumerate(rows):
        for q, (left, right, _) in enumerate(columns):
            window = x[:, :, top:bottom, left:right].reshape(n_images, n_channels, -1)
            winner = _first_maximum_or_last_nan(window)
            y[:, :, p, q] = np.take_along_axis(window, winner[:, :, None], axis=2)[:, :, 0]
            r, s = np.divmod(winner, right - left)
            argmax[:, :, p, q] = (top + r) * width + (left + s)
    return y, argmax


def max_pool2d_backward(dy: Array, argmax: Array, rows: Array, columns: Array, input_size: Pair) -> Array:
    """dx (N, C, H, W) for dy and argmax (N, C, OH, OW), rows (OH, 3), columns (OW, 3), input_size (H, W).

    forward: y[n, c, p, q] = x[n, c, r, s]  with  r * W + s = argmax[n, c, p, q]
    """
    n_images, n_channels, out_h, out_w = dy.shape
    height, width = input_size
    dx = np.zeros((n_images, n_channels, height * width), dy.dtype)
    n, c = np.ogrid[:n_images, :n_channels]
    for p in range(out_h):
        for q in range(out_w):
            # learn: the winner of this window gets its gradient
            dx[n, c, argmax[:, :, p, q]] += dy[:, :, p, q]
    return dx.reshape(n_images, n_channels, height, width)


def avg_pool2d_forward(x: Array, rows: Array, columns: Array) -> Array:
    """y (N, C, OH, OW) for x (N, C, H, W), rows (OH, 3), columns (OW, 3)."""
    n_images, n_channels = x.shape[:2]
    y = np.empty((n_images, n_channels, len(rows), len(columns)), x.dtype)
    for p, (top, bottom, extent_h) in enumerate(rows):
        for q, (left, right, extent_w) in enumerate(columns):
            window_sum = x[:, :, top:bottom, left:right].sum(axis=(2, 3))
            # learn: a mean over the extents, which count padding too
            y[:, :, p, q] = window_sum / x.dtype.type(extent_h * extent_w)
    return y


def avg_pool2d_backward(dy: Array, rows: Array, columns: Array, input_size: Pair) -> Array:
    """dx (N, C, H, W) for dy (N, C, OH, OW), rows (OH, 3), columns (OW, 3), input_size (H, W).

    forward: y[n, c, p, q] += x[n, c, r, s] / (extent_h * extent_w)  for (r, s) in the window
    """
    n_images, n_channels = dy.shape[:2]
    dx = np.zeros((n_images, n_channels, *input_size), dy.dtype)
    for p, (top, bottom, extent_h) in enumerate(rows):
        for q, (left, right, extent_w) in enumerate(columns):
            # learn: what one cell of this window is worth
            share = dy[:, :, p, q] / dy.dtype.type(extent_h * extent_w)
            # learn: every cell of the window gets it
            dx[:, :, top:bottom, left:right] += share[:, :, None, None]
    return dx


def _first_maximum_or_last_nan(window: Array) -> Array:
    """(N, C, cells) -> (N, C). NumPy's argmax stops at the first NaN; PyTorch goes on to the last."""
    is_nan = np.isnan(window)
    last_nan = window.shape[2] - 1 - is_nan[:, :, ::-1].argmax(axis=2)
    return np.where(is_nan.any(axis=2), last_nan, window.argmax(axis=2))
