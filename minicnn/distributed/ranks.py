"""The ranks of an MPI communicator, and the messages they exchange: all of MPI that the other modules use."""

from collections.abc import Callable
from typing import Any

import numpy as np

from minicnn.distributed.faults import RankLostError
from minicnn.plain import Array


class Ranks:
    """Messages in which all ranks take part, each in the same order.

    Args:
        comm: a communicator of mpi4py; it is duplicated.
        survives: whether the others go on where a rank is lost (see `faults`).

    Attributes:
        serve_threads: whether several threads may call MPI at once.
    """

    def __init__(self, comm: Any, survives: bool = False) -> None:
        from mpi4py import MPI  # here, since it need not be installed, and importing it starts MPI

        self._mpi, self.comm, self.survives = MPI, comm.Dup(), survives
        self.abandoned: list[Any] = []  # requests nobody waited for, and their arrays, which MPI may still write to
        self.serve_threads = MPI.Query_thread() == MPI.THREAD_MULTIPLE
        self._agreed_on_loss = False

    @property
    def rank(self) -> int:
        """The number of this one, from 0."""
        return self.comm.Get_rank()

    @property
    def size(self) -> int:
        """How many there are."""
        return self.comm.Get_size()

    def exchanged(self, value: Any) -> list[Any]:
        """What every rank has, in their order; any object that pickle takes."""
        return self.call(self.comm.allgather, value)

    def sent(self, value: Any, giver: int = 0) -> Any:
        """What the rank `giver` has."""
        return self.call(self.comm.bcast, value, giver)

    def gathered(self, numbers: Array) -> Array:
        """(size, …): the numbers of every rank, arrays of one shape."""
        of_all = np.empty((self.size, *numbers.shape), numbers.dtype)
        self.call(self.comm.Allgather, np.ascontiguousarray(numbers), of_all)
        return of_all

    def joined(self, rows: Array, counts: list[int]) -> Array:
        """The rows of every rank one after another; `counts` says how many each has."""
        of_all = np.empty((sum(counts), *rows.shape[1:]), rows.dtype)
        width = of_all.size // len(of_all)
        self.call(self.comm.Allgatherv, np.ascontiguousarray(rows), (of_all, [count * width for count in counts]))
        return of_all

    def summed(self, numbers: Array) -> Array:
        """The sum over the ranks of arrays of one shape."""
        of_all = np.empty_like(numbers, order="C")
        self.call(self.comm.Allreduce, np.ascontiguousarray(numbers), of_all)
        return of_all

    def start_sum(self, numbers: Array) -> Any:
        """Begin to replace `numbers` by their sum over the ranks. Returns the request to wait for."""
        return self.call(self.comm.Iallreduce, self._mpi.IN_PLACE, numbers)

    def call(self, operation: Callable[..., Any], *arguments: Any) -> Any:
        """operation(*arguments), in which messages are exchanged. Raises RankLostError where a rank is lost."""
        try:
            return operation(*arguments)
        except self._mpi.Exception as error:
            if not self.survives:
                raise
            raise RankLostError(f"messages were lost, as they are with a rank: {error}") from error

    def commit(self) -> None:
        """All ranks have come this far, or RankLostError is raised on all that are left."""
        if self.survives and not self._agree(True):
            self._agreed_on_loss = True
            raise RankLostError("a rank was lost before all had come this far")

    def shrink(self) -> int:
        """After an error on any rank: go on with the ranks that are left. Returns how many were lost, maybe none."""
        self.comm.Revoke()  # so that no rank waits for what will not come
        if not self._agreed_on_loss:
            self._agree(False)
        self._agreed_on_loss = False
        before = self.size
        self.comm = self.comm.Shrink()
        return before - self.size

    def _agree(self, fine: bool) -> bool:
        """Whether all ranks are left, and all say that it is fine; the same answer on all that are left."""
        try:
            return bool(self.comm.Agree(int(fine)))
        except self._mpi.Exception:  # of a lost rank, which is raised on all or none
            return False
