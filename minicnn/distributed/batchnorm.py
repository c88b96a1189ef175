"""Batchnorm over the images of all ranks: the statistics of the whole batch, forward and backward.

A rank has n values of a channel, their mean, and m2, the sum of their squared distances from it. Those of all ranks
together are (Chan, Golub and LeVeque, 1979)

    N = sum of n,    mean = sum of n * mean_r / N,    M2 = sum of m2 + n * (mean_r - mean)²,    var = M2 / N

which loses no digits, as a sum of squares would. Backward, y depends on x also through these statistics, and so on
every image of every rank:

    dx = weight / sqrt(var + eps) * (dy  -  S1 / N  -  x_hat * S2 / N)        S1 = sum of dy,  S2 = sum of dy * x_hat

with both sums over all ranks. The gradients of weight and bias, S2 and S1, stay the rank's own here: they are added up
with all the other gradients.

Values are pixels, so a rank with more or larger images weighs more. A layer takes one message forward, 2 C + 1 numbers
from each rank, and one backward, a sum of 2 C numbers; both in float64.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minicnn.backends.contract import Activation, Gradient, Norm
from minicnn.backends.protocol import Operations
from minicnn.distributed.ranks import Ranks
from minicnn.images import Images
from minicnn.layers import BatchNorm2d
from minicnn.network import Sequential
from minicnn.plain import Array


class AcrossRanks:
    """The operations of a backend, but batchnorm's statistics and their gradients are those of all ranks.

    A layer holds it as its `ops` during a step, and does not know.
    """

    def __init__(
        self, backend: Operations, ranks: Ranks, has_images: bool, counts: dict[int, tuple[Array, int]]
    ) -> None:
        self.backend, self.ranks, self.has_images = backend, ranks, has_images
        # By the identity of each mean, which is kept alive: how many values it is the mean of.
        self._counts = counts

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # which `copy` and `pickle` ask for before there is a backend
            raise AttributeError(name)
        return getattr(self.backend, name)

    def batchnorm2d_statistics(self, x: Array | Images) -> tuple[Array, Array]:
        """mean and var (C,) of the whole batch, of which x are this rank's images."""
        return self._joined(*self.backend.batchnorm2d_statistics(x), self._pixels(x.shape))

    def batchnorm2d_train_backward(
        self, dy: Any, x: Any, weight: Array, mean: Array, var: Array, eps: float
    ) -> tuple[Any, Array, Array]:
        """dx for this rank's images; dweight and dbias are sums over these alone."""
        ops, count = self.backend, self._count(mean)
        dx, dweight, dbias = ops.batchnorm2d_eval_backward(dy, x, weight, mean, var, eps)
        of_all_x_hat, of_all = self._sum(dweight, dbias)
        if self.has_images:
            scale = ops.to_numpy(weight) / np.sqrt(ops.to_numpy(var) + eps) / count
            # What batchnorm's forward makes of such a weight and bias: scale * (S2 * x_hat + S1).
            through_statistics = ops.batchnorm2d_forward(
                x, self._as(weight, scale * of_all_x_hat), self._as(weight, scale * of_all), mean, var, eps
            )
            _subtract(ops, dx, through_statistics)
        return dx, dweight, dbias

    def update_running_statistics_(
        self, running_mean: Array, running_var: Array, mean: Array, var: Array, count: int, momentum: float
    ) -> None:
        """Towards the statistics of the whole batch, whose count is taken."""
        self.backend.update_running_statistics_(running_mean, running_var, mean, var, self._count(mean), momentum)

    def fused_conv_forward(
        self, below: Any, weight: Array, bias: Array | None, norm: Norm, stride: Any, padding: Any
    ) -> Activation:
        """The activation of this rank's images, normalised by the statistics of the whole batch."""
        activation = self.backend.fused_conv_forward(below, weight, bias, norm, stride, padding)
        if not activation.from_batch or activation.norm is None:
            return activation
        own = activation.norm
        mean, var = self._joined(own.mean, own.var, self._pixels(activation.y.shape))
        return self.backend.fused_renormalised(activation, own._replace(mean=mean, var=var))

    def fused_conv_backward(
        self,
        gradient: Gradient,
        activation: Activation,
        below: Any,
        weight: Array,
        stride: Any,
        padding: Any,
        need_below: bool,
    ) -> tuple[tuple[Array, Array], tuple[Array, Array], Any]:
        """As the backend's, dy being formed with the sums over all ranks."""
        ops, norm = self.backend, activation.norm
        if activation.from_batch and norm is not None:
            own = ops.to_numpy(gradient.sum_g), ops.to_numpy(gradient.sum_g_distance)
            # The backend divides by the rank's own n, so it is handed the n of N of each sum that are its due.
            due = self._pixels(activation.y.shape) / self._count(norm.mean)
            of_all = (self._as(gradient.sum_g, sums * due) for sums in self._sum(*own))
            gradient = gradient._replace(**dict(zip(("sum_g", "sum_g_distance"), of_all, strict=True)))
        d_conv, d_norm, d_below = ops.fused_conv_backward(
            gradient, activation, below, weight, stride, padding, need_below
        )
        if activation.from_batch and norm is not None:
            of_g, of_g_distance = own
            x_hat_sums = of_g_distance / np.sqrt(ops.to_numpy(norm.var) + norm.eps)
            d_norm = self._as(weight, x_hat_sums), self._as(weight, of_g)
        return d_conv, d_norm, d_below

    def _joined(self, mean: Array, var: Array, count: int) -> tuple[Array, Array]:
        """Chan's formula over all ranks."""
        own_mean, own_var = (self.backend.to_numpy(array).astype(np.float64) for array in (mean, var))
        message = np.concatenate([[count], own_mean, own_var * count]) if count else np.zeros(1 + 2 * len(own_mean))
        records = self.ranks.gathered(message)
        counts, (means, m2s) = records[:, :1], np.split(records[:, 1:], 2, axis=1)
        n = int(counts.sum())
        if n == 1:
            raise ValueError(
                "BatchNorm2d: expected more than one value per channel in training, got one image of one pixel on all "
                "ranks together; use a larger batch or image, or eval()"
            )
        of_all = (counts * means).sum(axis=0) / n
        m2 = (m2s + counts * (means - of_all) ** 2).sum(axis=0)
        joined = self._as(mean, of_all), self._as(var, m2 / n)
        self._counts[id(joined[0])] = joined[0], n
        return joined

    def _sum(self, *channel_sums: Array) -> Array:
        """Each of the arrays (C,), added up over the ranks in float64."""
        own = np.stack([self.backend.to_numpy(array).astype(np.float64) for array in channel_sums])
        return self.ranks.summed(own if self.has_images else np.zeros_like(own))

    def _count(self, mean: Array) -> int:
        return self._counts[id(mean)][1]

    def _pixels(self, shape: tuple[Any, ...]) -> int:
        """How many values a channel of this rank's images has, an array's or `Images` of this shape."""
        n_images, _, height, width = shape
        if not self.has_images:
            return 0
        return (
            sum(h * w for h, w in zip(height, width, strict=True))
            if isinstance(height, tuple)
            else (n_images * height * width)
        )

    def _as(self, like: Array, numbers: Array) -> Array:
        """`numbers` as an array of the backend, of the dtype of `like`."""
        return self.backend.asarray(numbers.astype(like.dtype))


def _subtract(ops: Operations, dx: Array | Images, other: Array | Images) -> None:
    """dx -= other, by the operation of every backend that does this: a step of SGD with a learning rate of 1."""
    a, b = (part.data if isinstance(part, Images) else part for part in (dx, other))
    velocity = ops.asarray(np.zeros(a.shape, a.dtype))
    ops.sgd_step_(a, velocity, b, 1.0, 0.0, False, 0.0)


@contextmanager
def across_ranks(
    network: Sequential, ranks: Ranks, has_images: bool, counts: dict[int, tuple[Array, int]]
) -> Iterator[None]:
    """Meanwhile batchnorm in `network` has the statistics of all ranks. `counts` is kept from forward to backward."""
    layers: list[Any] = [layer for _, layer in network.named_layers()]
    norms = [layer for layer in layers if isinstance(layer, BatchNorm2d)]
    before = [layer.ops for layer in layers]
    try:
        for layer in layers:
            layer._ops = AcrossRanks(layer.ops, ranks, has_images, counts)
        for norm in norms:
            norm.has_whole_batch = False
        yield
    finally:
        for layer, ops in zip(layers, before, strict=True):
            layer._ops = ops
        for norm in norms:
            del norm.has_whole_batch
