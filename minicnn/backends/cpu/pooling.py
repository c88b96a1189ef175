"""Pooling: one output cell for each window of an image.

The window of output (p, q) is the rectangle rows[p] × columns[q] of the tables from `minicnn.geometry`; fixed
and adaptive pooling differ in those tables only.

    max   y = the largest cell; backward adds dy to that cell alone, the window's winner
    avg   y = the mean; backward adds dy / area to every cell

Windows may overlap, so backward ADDS what each sends back.

Who owns what: each worker owns one plane, channel c of image n, in y or in dx; since windows never reach into
another plane, adding needs no atomics. Cost: each cell is read once for each window that covers it.
"""

import numpy as np
from numba import prange

from minicnn.backends.cpu.jit import parallel, serial, serial_sum, unravel


def max_pool2d_forward(x, rows, columns):
    """The winner is the first maximum in reading order; a NaN beats every number, the last NaN the others."""
    y = np.empty((*x.shape[:2], len(rows), len(columns)), x.dtype)
    argmax = np.empty(y.shape, np.int32)
    _max_forward(x, rows, columns, y, argmax)
    return y, argmax


def max_pool2d_backward(dy, argmax, input_size):
    dx = np.zeros((*dy.shape[:2], *input_size), dy.dtype)
    _max_backward(dy, argmax, dx.reshape(*dy.shape[:2], -1))
    return dx


def avg_pool2d_forward(x, rows, columns):
    y = np.empty((*x.shape[:2], len(rows), len(columns)), x.dtype)
    _avg_forward(x, rows, columns, y)
    return y


def avg_pool2d_backward(dy, rows, columns, input_size):
    dx = np.zeros((*dy.shape[:2], *input_size), dy.dtype)
    _avg_backward(dy, rows, columns, dx)
    return dx


@parallel
def _max_forward(x, rows, columns, y, argmax):
    n_images, n_channels = x.shape[:2]
    for item in prange(n_images * n_channels):
        n, c = unravel(item, n_channels)
        _max_forward_plane(x[n, c], rows, columns, y[n, c], argmax[n, c])


@serial
def _max_forward_plane(x, rows, columns, y, argmax):
    for p in range(len(rows)):
        for q in range(len(columns)):
            top, left = rows[p, 0], columns[q, 0]
            best, winner = x[top, left], top * x.shape[1] + left
            for r in range(top, rows[p, 1]):
                for s in range(left, columns[q, 1]):
                    cell = x[r, s]
                    if cell > best or cell != cell:
                        best, winner = cell, r * x.shape[1] + s
            y[p, q] = best
            argmax[p, q] = winner


@parallel
def _max_backward(dy, argmax, dx):
    n_images, n_channels = dx.shape[:2]
    for item in prange(n_images * n_channels):
        n, c = unravel(item, n_channels)
        _max_backward_plane(dy[n, c], argmax[n, c], dx[n, c])


@serial
def _max_backward_plane(dy, argmax, dx):
    for p in range(dy.shape[0]):
        for q in range(dy.shape[1]):
            dx[argmax[p, q]] += dy[p, q]


@parallel
def _avg_forward(x, rows, columns, y):
    n_images, n_channels = x.shape[:2]
    for item in prange(n_images * n_channels):
        n, c = unravel(item, n_channels)
        _avg_forward_plane(x[n, c], rows, columns, y[n, c])


@serial_sum
def _avg_forward_plane(x, rows, columns, y):
    for p in range(len(rows)):
        for q in range(len(columns)):
            window_sum = 0.0  # float64: windows may be whole images
            for r in range(rows[p, 0], rows[p, 1]):
                row_sum = x.dtype.type(0)
                for s in range(columns[q, 0], columns[q, 1]):
                    row_sum += x[r, s]
                window_sum += row_sum
            y[p, q] = window_sum / (rows[p, 2] * columns[q, 2])


@parallel
def _avg_backward(dy, rows, columns, dx):
    n_images, n_channels = dx.shape[:2]
    for item in prange(n_images * n_channels):
        n, c = unravel(item, n_channels)
        _avg_backward_plane(dy[n, c], rows, columns, dx[n, c])


@serial
def _avg_backward_plane(dy, rows, columns, dx):
    for p in range(len(rows)):
        for q in range(len(columns)):
            share = dx.dtype.type(dy[p, q] / (rows[p, 2] * columns[q, 2]))
            for r in range(rows[p, 0], rows[p, 1]):
                for s in range(columns[q, 0], columns[q, 1]):
                    dx[r, s] += share
