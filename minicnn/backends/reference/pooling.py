"""Pooling: one output cell for each window of an image.

Fixed and adaptive pooling are one family: they differ in where the windows lie, and that is what the tables
`rows` and `columns` say (see `minicnn.geometry`). The window of output (p, q) is the rectangle
rows[p] × columns[q].

    max   y = the largest cell; backward gives dy to that cell alone, the window's winner
    avg   y = the mean; backward gives dy / area to every cell

Windows may overlap (adaptive pooling with sizes that do not divide, or stride < kernel), so a cell can belong
to several outputs, and backward must ADD what each sends back.

`Images` of different sizes are taken one by one, each as a batch of its own and with its own tables.
"""

import numpy as np

from minicnn.images import Images


def max_pool2d_forward(x, rows, columns):
    """The winner is the first maximum in reading order; a NaN beats every number, the last NaN the others."""
    if isinstance(x, Images):
        results = [max_pool2d_forward(image[None], *tables) for image, *tables in zip(x, rows, columns, strict=True)]
        return Images([y[0] for y, _ in results]), Images([argmax[0] for _, argmax in results])
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


def max_pool2d_backward(dy, argmax, rows, columns, input_size):
    if isinstance(dy, Images):
        quintuples = zip(dy, argmax, rows, columns, input_size.tolist(), strict=True)
        return Images([max_pool2d_backward(d[None], winners[None], *rest)[0] for d, winners, *rest in quintuples])
    n_images, n_channels, out_h, out_w = dy.shape
    height, width = input_size
    dx = np.zeros((n_images, n_channels, height * width), dy.dtype)
    n, c = np.ogrid[:n_images, :n_channels]
    for p in range(out_h):
        for q in range(out_w):
            # learn: the winner of this window gets its gradient
            dx[n, c, argmax[:, :, p, q]] += dy[:, :, p, q]
    return dx.reshape(n_images, n_channels, height, width)


def avg_pool2d_forward(x, rows, columns):
    if isinstance(x, Images):
        return Images(
            [avg_pool2d_forward(image[None], *tables)[0] for image, *tables in zip(x, rows, columns, strict=True)]
        )
    n_images, n_channels = x.shape[:2]
    y = np.empty((n_images, n_channels, len(rows), len(columns)), x.dtype)
    for p, (top, bottom, extent_h) in enumerate(rows):
        for q, (left, right, extent_w) in enumerate(columns):
            window_sum = x[:, :, top:bottom, left:right].sum(axis=(2, 3))
            # learn: a mean over the extents, which count padding too
            y[:, :, p, q] = window_sum / x.dtype.type(extent_h * extent_w)
    return y


def avg_pool2d_backward(dy, rows, columns, input_size):
    if isinstance(dy, Images):
        quadruples = zip(dy, rows, columns, input_size.tolist(), strict=True)
        return Images([avg_pool2d_backward(d[None], *tables_and_size)[0] for d, *tables_and_size in quadruples])
    n_images, n_channels = dy.shape[:2]
    dx = np.zeros((n_images, n_channels, *input_size), dy.dtype)
    for p, (top, bottom, extent_h) in enumerate(rows):
        for q, (left, right, extent_w) in enumerate(columns):
            # learn: what one cell of this window is worth
            share = dy[:, :, p, q] / dy.dtype.type(extent_h * extent_w)
            # learn: every cell of the window gets it
            dx[:, :, top:bottom, left:right] += share[:, :, None, None]
    return dx


def _first_maximum_or_last_nan(window):
    """(N, C, cells) -> (N, C). NumPy's argmax stops at the first NaN; PyTorch goes on to the last."""
    is_nan = np.isnan(window)
    last_nan = window.shape[2] - 1 - is_nan[:, :, ::-1].argmax(axis=2)
    return np.where(is_nan.any(axis=2), last_nan, window.argmax(axis=2))
