"""Convolution, batchnorm and relu as one block: other sources and sinks for the kernels of `convolution`.

An activation is stored as the convolution's raw output y, LANES channels side by side (see `places`), with a few
numbers for each channel, the *coefficients*. With scale = weight / sqrt(var + eps) of batchnorm:

    forward     a = relu(z),  z = scale * (y - mean) + shift        by the source of the next convolution, as it reads y
    backward    g = da where z > 0, else 0                          by the sink of the next one's input gradient
                dy = scale * g - c1 - c2 * (y - mean)               by the source of this one's two gradients
                c1 = scale * mean(g),  c2 = scale * mean(g * (y - mean)) / (var + eps)

So a block costs, forward, one read and one write, and backward, a write and two reads of g and three reads of y. The
sums behind mean, var, c1 and c2 are taken by the sinks while a piece of at most 1024 pixels is in the cache, and the
pieces' sums are joined in float64 in the order of the pieces: the same bits for any number of threads.

The mean is float64, as in `batchnorm`, and y - mean must not lose it: coefficients hold the mean rounded to y's dtype,
and what was rounded off goes into `shift` and c1.

Who owns what: as in the kernels; a sink writes its window of the output and its own record of sums.

    forward.py       a block in training: the sinks that store y and take the moments
    backward.py      its gradients: the sources of dy and the sink of g
    prediction.py    blocks in evaluation, or the global maximum of their output alone
    prepared.py      their weights as kernels read them, kept from one prediction to the next
    maximum.py       the global maximum of an activation, forward and backward
    output.py        an activation as an ordinary batch, forward and backward
    block.py         the convolution of a block, and the source that reads the activation below
    places.py        where its pixels lie
    channels.py      the numbers of the channels: coefficients, and the pieces' sums added up
"""

from minicnn.backends.cpu.fused.backward import fused_conv_backward
from minicnn.backends.cpu.fused.forward import fused_conv_forward, fused_renormalised
from minicnn.backends.cpu.fused.maximum import fused_max, fused_max_backward
from minicnn.backends.cpu.fused.output import fused_output, fused_output_backward
from minicnn.backends.cpu.fused.prediction import fused_predict

__all__ = [
    "fused_conv_backward",
    "fused_conv_forward",
    "fused_max",
    "fused_max_backward",
    "fused_output",
    "fused_output_backward",
    "fused_predict",
    "fused_renormalised",
]
