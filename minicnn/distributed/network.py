"""DataParallel: a network whose batches are shared out among the ranks."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple, cast

import numpy as np

from minicnn.distributed.batchnorm import across_ranks
from minicnn.distributed.gradients import GradientSums
from minicnn.distributed.ranks import Ranks
from minicnn.distributed.shares import Share, share_of_batch
from minicnn.fusion import ConvBlocks
from minicnn.layers import Dropout, Layer
from minicnn.network import Sequential
from minicnn.plain import Array


class _Memory(NamedTuple):
    share: Share
    rows: tuple[int, ...]  # the shape of the outputs of the images that were computed
    counts: dict[int, tuple[Array, int]]  # of batchnorm


class DataParallel:
    """The network as it is for the loss: a batch goes in, the outputs of all its images come out, on every rank.

        forward(batch)    the rank's share through the network, then the outputs of all ranks, in the batch's order
        backward(dy)      the rows of dy that are the rank's through the network; then `grads` are sums over all ranks

    All ranks must call each of them, since each waits for the others'. A batch is the whole of it, the same on every
    rank, or the `Share` that `MPIGroup.batches` has drawn.

    Args:
        network: whose layers, on every rank, have the same weights.
        ranks: the ranks.
        synchronise_batchnorm, bucket_bytes: as in `MPIGroup`.
    """

    def __init__(self, network: Sequential, ranks: Ranks, synchronise_batchnorm: bool, bucket_bytes: int) -> None:
        self.network, self.ranks = network, ranks
        self.synchronise_batchnorm, self.bucket_bytes = synchronise_batchnorm, bucket_bytes
        self.ops, self.operations, self.children = network.ops, network.operations, network.children
        self._memory: _Memory | None = None

    def predict(self, x: Any) -> Array:
        share = share_of_batch(x, self.ranks)
        return self._outputs_of_all(self.network.predict(share.x), share)

    def forward(self, x: Any) -> Array:
        share = share_of_batch(x, self.ranks)
        counts: dict[int, tuple[Array, int]] = {}
        with self._batchnorm(share, counts), _images_from(self.network, share.rows.start):
            output = self.network.forward(share.x)
        self._memory = _Memory(share, output.shape, counts)
        return self._outputs_of_all(output, share)

    def backward(self, dy: Array, need_dx: bool = True) -> None:
        """Assigns `grads`. Returns None: a rank has no images but its own."""
        if self._memory is None:
            raise RuntimeError("DataParallel: backward needs a forward first, and each forward serves one backward")
        (share, shape, counts), self._memory = self._memory, None
        ops, ranks = self.network.ops, self.ranks
        own = ops.to_numpy(dy)[share.rows] if share.n_images else np.zeros(shape, dy.dtype)
        with GradientSums(ranks, self.bucket_bytes) as sums:
            with self._batchnorm(share, counts):
                _backward(self.network, ops.asarray(own), False, sums.add)
            sums.finish()
        if not self.synchronise_batchnorm:
            self._average_running_statistics(share)
        ranks.commit()  # from here on nothing needs another rank

    def _batchnorm(self, share: Share, counts: dict[int, tuple[Array, int]]) -> AbstractContextManager[None]:
        """A context in which batchnorm has the statistics that it is to have."""
        if not self.synchronise_batchnorm:
            return nullcontext()
        return across_ranks(self.network, self.ranks, share.n_images > 0, counts)

    def _outputs_of_all(self, output: Array, share: Share) -> Array:
        """(N, …) from this rank's (n, …), or from the output of an image that is not its own."""
        ops = self.network.ops
        own = ops.to_numpy(output)[: share.n_images]
        return ops.asarray(self.ranks.joined(own, share.counts))

    def _average_running_statistics(self, share: Share) -> None:
        """Every rank has moved them towards its own batch's: their mean, weighted by images, is the same on all."""
        weight = share.n_images / sum(share.counts)
        for _, layer in self.network.named_layers():
            for key, array in layer.state.items():
                host = layer.ops.to_numpy(array)
                if host.dtype.kind == "f":
                    mean = self.ranks.summed(host.astype(np.float64) * weight)
                    layer.state[key] = layer.ops.asarray(mean.astype(host.dtype))


@contextmanager
def _images_from(network: Sequential, first: int) -> Iterator[None]:
    """Meanwhile the images that the network is given are those of the batch from the place `first` on: each gets the
    dropout that it would get from one process."""
    dropouts = [layer for _, layer in network.named_layers() if isinstance(layer, Dropout)]
    try:
        for dropout in dropouts:
            dropout.first_image = first
        yield
    finally:
        for dropout in dropouts:
            del dropout.first_image


def _backward(child: Layer, dy: Any, need_dx: bool, send: Callable[..., None]) -> Any:
    """child.backward(dy, need_dx); its layers' gradients are sent as soon as each is there, the last layer's first."""
    if type(child).backward is Sequential.backward:
        first, *later = cast(Sequential, child).children.values()
        for inner in reversed(later):
            dy = _backward(inner, dy, True, send)
        return _backward(first, dy, need_dx, send)
    if isinstance(child, ConvBlocks):
        child.after_block = send
        try:
            return child.backward(dy, need_dx)
        finally:
            child.after_block = None
    dx = child.backward(dy) if need_dx else child.backward(dy, need_dx=False)
    send(*(layer for _, layer in child.named_layers()) if isinstance(child, Sequential) else (child,))
    return dx
