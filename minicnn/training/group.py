"""The processes that train a network together. Here there is one; `minicnn.distributed` has those of an MPI job."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from minicnn import fusion
from minicnn.backends.protocol import Operations
from minicnn.network import Sequential
from minicnn.plain import Array
from minicnn.training.interrupt import Stop

Result = TypeVar("Result")


class Group:
    """What a Trainer asks of the processes that train with it, answered for a process on its own.

    Attributes:
        rank: the number of this process, from 0.
        size: how many there are.
    """

    rank, size = 0, 1

    def spread(self, network: Sequential, fuse: bool) -> Any:
        """The network that steps are computed with: it is given a batch, and answers with the batch's output."""
        return fusion.fuse(network) if fuse else network

    def begin_equal(self, trainer: Any) -> None:
        """All start from the weights of the first. Raises ValueError where a `Trainer` has other arguments than the
        first process's."""

    def require_equal(self, trainer: Any, train: Any, validation: Any, epochs: int) -> None:
        """Raise ValueError where a process has other weights than the first, or other data to `fit`."""

    def batches(self, ops: Operations, batches: Iterable[Any], stop: Stop | None = None) -> Iterable[Any]:
        """The batches, for a network on the backend `ops`. Where any process is to `stop`, all learn of it."""
        return ops.prefetch(batches)

    def stopping(self, stop: Stop) -> bool:
        """Whether any process was to stop when the last batch came."""
        return stop.is_set()

    def persist(self, work: Callable[[], Result], batches: Any = None) -> Result:
        """work(), which all do together, going through `batches`; where a process is lost, what is left of the work."""
        return work()

    def exchanged(self, value: Any) -> list[Any]:
        """What every process has, in the order of their numbers."""
        return [value]

    def summed(self, numbers: Array) -> Array:
        """The sum over the processes of arrays of one shape."""
        return numbers

    def first(self, work: Callable[[], Result]) -> Result:
        """work(), done by the first process; all have the result, or the error."""
        return work()

    def all(self, work: Callable[[], Result]) -> Result:
        """work(), done by each; where one of them fails, all do."""
        return work()
