"""Rung 3, the register tile: direct convolution of any kernel size, stride and padding.

    y[n, f, p, q]  = bias[f] + sum over c, i, j of  x[n, c, p * sh - ph + i, q * sw - pw + j] * weight[f, c, i, j]
    dx[n, c, r, s] = sum over f, i, j of  dy[n, f, (r + ph - i) / sh, (s + pw - j) / sw] * weight[f, c, i, j]
                     over those i and j for which both divide
    dweight        = sum over n, p, q of  x[n, c, p * sh - ph + i, q * sw - pw + j] * dy[n, f, p, q]

All three are `gather_gemm` on a zero-padded patch of the image: a pixel has an address, a tap (c, i, j) has an offset,
and the sum over taps (or, for dweight, over pixels) is a matrix product that is never laid out in memory. ROWS pixels
times two vectors of filters stay in registers over the whole sum.

The input gradient is cut into sh * sw phases. The pixels of dx with r modulo sh = a and s modulo sw = b meet the same
taps, so that each phase is a forward convolution of dy, with stride 1 and those taps alone: no zero is multiplied.

Who owns what: a worker of the forward kernel owns the output of its blocks. A worker of the weight gradient owns one of
several partial sums; their number depends on the shapes only, and they are added in order.

Cost: C * KH * KW * F multiply-adds for each output pixel, in each pass.

    plan.py               how the output is cut into pieces, and which taps the pixels of a phase meet
    weights.py            the weights of a phase, laid out for `gather_gemm`
    forward.py            the forward convolution, which is also the input gradient
    weight_gradient.py    the weight gradient
    patch.py              the padded patch that both read
"""

from minicnn.backends.cpu.convolution.tile.forward import forward_launch, run
from minicnn.backends.cpu.convolution.tile.plan import forward_taps, plan_forward, plan_input_gradient
from minicnn.backends.cpu.convolution.tile.weight_gradient import run_weight_gradient
from minicnn.backends.cpu.convolution.tile.weights import Packed, packed_weight

__all__ = [
    "Packed",
    "forward_launch",
    "forward_taps",
    "packed_weight",
    "plan_forward",
    "plan_input_gradient",
    "run",
    "run_weight_gradient",
]
