"""The gradients of all ranks, added up while earlier layers are still computing theirs.

Backward goes from the last layer to the first, so the last layers' gradients are there first. They are collected in a
*bucket*, and when it is full its sum over the ranks begins (MPI_Iallreduce) and backward goes on. Only what is still
under way at the end is waited for:

    compute        | backward fc | backward conv3 | backward conv2 | backward conv1 | wait |
    messages                     | fc ---------------------> | conv3, conv2 ---------> |

A few large messages, since each costs a latency however short it is.

MPI moves a message only while the process is inside MPI, and kernels are not. So while any is under way, a thread calls
MPI_Test every PAUSE seconds. Kernels run without Python's lock, so it has its turn, and takes next to nothing of the
cores. It may call MPI while the main thread does, for batchnorm say, which MPI must allow (MPI_THREAD_MULTIPLE); where
it does not, messages move in the exchanges of the main thread alone.

The sum has the same bits on every rank, and in every run with as many ranks, by the algorithms that Open MPI and MPICH
choose by size; the standard recommends it and does not promise it, so `agreement` compares the weights of the ranks.
"""

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.distributed.ranks import Ranks
from minicnn.layers import Layer
from minicnn.plain import Array

if TYPE_CHECKING:
    from typing_extensions import Self

PAUSE = 0.001  # seconds


class GradientSums:
    """Sums over the ranks of the gradients of one backward pass; a context, which its thread does not outlive.

    Args:
        ranks: the ranks.
        bucket_bytes: how much is sent at once.
    """

    def __init__(self, ranks: Ranks, bucket_bytes: int) -> None:
        self._ranks, self._bucket_bytes = ranks, bucket_bytes
        self._waiting: list[tuple[Layer, str]] = []  # gradients that are there, in the bucket that is not full yet
        self._sent: list[tuple[list[tuple[Layer, str]], Array, Any]] = []
        self._thread: threading.Thread | None = None
        self._computed = threading.Event()
        self._error: Exception | None = None  # that the thread met

    def add(self, *layers: Layer) -> None:
        """The gradients of `layers` are there: send them with the bucket that they fill."""
        for member in ((layer, key) for layer in layers for key in layer.params if key in layer.grads):
            if self._waiting and _dtype(self._waiting[0]) != _dtype(member):
                self._send()
            self._waiting.append(member)
        if sum(map(_nbytes, self._waiting)) >= self._bucket_bytes:
            self._send()
            if self._thread is None and self._ranks.serve_threads:
                self._thread = threading.Thread(target=self._let_messages_move, daemon=True)
                self._thread.start()

    def finish(self) -> None:
        """Wait for all sums, and make them the layers' `grads`. Raises what `Ranks.call` does."""
        if self._waiting:
            self._send()
        self._end_thread()
        if self._error is not None:
            raise self._error
        for _, _, request in self._sent:
            self._ranks.call(request.Wait)
        for members, bucket, _ in self._sent:
            start = 0
            for layer, key in members:
                grad = layer.grads[key]
                of_all = bucket[start : start + grad.size].reshape(grad.shape)
                start += grad.size
                layer.grads[key] = layer.ops.asarray(of_all.copy())
        self._sent = []

    def _send(self) -> None:
        host = [layer.ops.to_numpy(layer.grads[key]).reshape(-1) for layer, key in self._waiting]
        bucket = np.concatenate(host).astype(_dtype(self._waiting[0]), copy=False)
        self._sent.append((self._waiting, bucket, self._ranks.start_sum(bucket)))
        self._waiting = []

    def _let_messages_move(self) -> None:
        try:
            while not self._computed.wait(PAUSE):
                for _, _, request in tuple(self._sent):
                    self._ranks.call(request.Test)
        except Exception as error:
            self._error = error

    def _end_thread(self) -> None:
        self._computed.set()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *error: object) -> None:
        self._end_thread()
        self._ranks.abandoned += self._sent


def _nbytes(member: tuple[Layer, str]) -> int:
    """Of its gradient, as it is sent; an array of a device does not say how many."""
    layer, key = member
    return layer.grads[key].size * _dtype(member).itemsize


def _dtype(member: tuple[Layer, str]) -> np.dtype[Any]:
    """The parameter's: a gradient of another is converted, as the optimiser does."""
    layer, key = member
    return layer.params[key].dtype
