"""MPIGroup: what a Trainer asks of the ranks of an MPI job."""

import atexit
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minicnn import fusion
from minicnn.distributed import agreement
from minicnn.distributed.faults import RankLostError
from minicnn.distributed.network import DataParallel
from minicnn.distributed.ranks import Ranks
from minicnn.distributed.shares import drawn_shares, taking_part
from minicnn.network import Sequential
from minicnn.plain import Array, as_plain_array
from minicnn.training.group import Group, Result
from minicnn.training.interrupt import Stop

if TYPE_CHECKING:
    from typing_extensions import Self

NO_MORE = "no more batches"
GRACE = 1.0  # seconds from a rank's last words to the end of the job


class _Drawn(NamedTuple):
    """What a rank says of the batch that it has drawn its share of."""

    labels: Any
    n_images: int
    kind: str | None  # dtype and channels, which must be the same on all ranks
    stop: bool
    problem: str | None  # NO_MORE, or what went wrong


class MPIGroup(Group):
    """The ranks of an MPI communicator. `minicnn.distributed.world` makes one of all ranks of the job.

    As a context it ends the whole job where one rank meets an error, since the others would wait for it.

    Args:
        comm: a communicator of mpi4py; it is duplicated.
        synchronise_batchnorm: batchnorm has the statistics of the whole batch. With False it has those of the rank's
            own share, which saves two messages a layer and is another computation: normalised by fewer images,
            noisier, and different for each number of ranks. The running statistics are then the means of the ranks'.
        bucket_bytes: how much gradient is collected before its sum begins.
        survives: whether a lost rank leaves the others at work; it needs `mpiexec --with-ft ulfm` of Open MPI.

    Attributes:
        rank, size: the number of this process, and how many there are now.
        ranks: their messages.
    """

    def __init__(
        self, comm: Any, *, synchronise_batchnorm: bool = True, bucket_bytes: int = 2**22, survives: bool = False
    ) -> None:
        self.ranks = Ranks(comm, survives)
        self.settings: dict[str, Any] = {"synchronise_batchnorm": synchronise_batchnorm, "bucket_bytes": bucket_bytes}
        self._stopping = self._has_lost = False
        self._before_batch: Any = None  # where the batches stood before the one under way

    @property
    def rank(self) -> int:  # type: ignore[override]  # both change where a rank is lost
        """The number of this process, from 0."""
        return self.ranks.rank

    @property
    def size(self) -> int:  # type: ignore[override]
        """How many processes train together."""
        return self.ranks.size

    def spread(self, network: Sequential, fuse: bool) -> DataParallel:
        # The readable backend writes a block out with the plain operations; there is nothing to fuse.
        is_plain = network.ops.__name__.endswith("reference")
        return DataParallel(fusion.fuse(network) if fuse and not is_plain else network, self.ranks, **self.settings)

    def begin_equal(self, trainer: Any) -> None:
        agreement.require_equal_arguments(self.ranks, trainer, self.settings)
        agreement.send_weights(self.ranks, trainer)

    def require_equal(self, trainer: Any, train: Any, validation: Any, epochs: int) -> None:
        agreement.require_equal_data(self.ranks, train, validation, epochs)
        agreement.require_equal_weights(self.ranks, trainer.network)

    def batches(self, ops: Any, batches: Iterable[Any], stop: Stop | None = None) -> Iterator[Any]:
        """(this rank's `Share`, the labels of the whole batch), for each batch.

        Raises on every rank what one of them met as it read its share; ValueError for images of different kinds.
        """
        own = drawn_shares(batches, self.rank, self.size)
        while True:
            self._before_batch = batches.state_dict() if hasattr(batches, "state_dict") else None
            x, drawn, error = _draw(own, stop)
            of_all: list[_Drawn] = self.ranks.exchanged(drawn)
            if stop is not None:
                self._stopping = any(each.stop for each in of_all)
            if error is not None:
                raise error
            if all(each.problem == NO_MORE for each in of_all):
                return
            agreement.require_equal_batches(of_all)
            counts = [each.n_images for each in of_all]
            if any(counts):
                labels = np.concatenate([each.labels for each in of_all if each.n_images])
                yield taking_part(x, counts, self.ranks), labels

    def stopping(self, stop: Stop) -> bool:
        return self._stopping

    def persist(self, work: Callable[[], Result], batches: Any = None) -> Result:
        while True:
            try:
                result = work()
                self.ranks.commit()
                return result
            except Exception as error:
                if not self.ranks.survives:
                    raise
                self._go_on_without_the_lost(error, batches)

    def exchanged(self, value: Any) -> list[Any]:
        return self.ranks.exchanged(value)

    def summed(self, numbers: Array) -> Array:
        return self.ranks.summed(numbers)

    def first(self, work: Callable[[], Result]) -> Result:
        answer, error, problem = _tried(work) if self.rank == 0 else (None, None, None)
        answer, problem = self.ranks.sent((answer, problem))
        _raise_any([problem], error)
        return answer

    def all(self, work: Callable[[], Result]) -> Result:
        answer, error, problem = _tried(work)
        _raise_any(self.ranks.exchanged(problem), error)
        return answer  # type: ignore[return-value]  # where there is no problem, there is an answer

    def _go_on_without_the_lost(self, error: Exception, batches: Any) -> None:
        """Put `batches` back to before the batch under way, which those that are left share anew.

        Where nobody is lost, the error is one that a rank has met: all raise it.
        """
        n_lost = self.ranks.shrink()
        if not n_lost:
            own = None if isinstance(error, RankLostError) else error
            _raise_any(self.ranks.exchanged(own and _said(own)), own)
            raise error
        if not self._has_lost:
            self._has_lost = True
            atexit.register(_leave)
        if batches is not None:
            if self._before_batch is None or not hasattr(batches, "load_state_dict"):
                raise RuntimeError(
                    f"{n_lost} ranks were lost, and those that are left cannot go back to the batch under way, since "
                    "the batches are no Batches or Loader; start again from the last checkpoint"
                )
            batches.load_state_dict(self._before_batch)
        if self.rank == 0:
            text = f"{n_lost} of {self.size + n_lost} ranks were lost; {self.size} go on from the last whole step"
            print(text, flush=True)

    def __reduce__(self) -> str:
        raise TypeError(
            "MPIGroup: the ranks of a job can be neither copied nor pickled, and so cannot a Trainer that has them; "
            "make another Trainer, without group=, for what is tried on a copy, as lr_find does"
        )

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        alone = self.size == 1 and not self._has_lost
        if error is None or alone or (isinstance(error, SystemExit) and not error.code):
            return
        if isinstance(error, SystemExit):
            print(f"rank {self.rank} of {self.size}: {error.code}", file=sys.stderr, flush=True)
        else:
            traceback.print_exception(kind, error, trace)
        status = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1
        if self.size == 1:  # the last that is left: Open MPI would report its abort as a success
            _leave(status)
        time.sleep(GRACE)  # where the others meet the same error, they may say so
        self.ranks.comm.Abort(status)


def _leave(status: int = 0) -> None:
    """End the process without MPI_Finalize, in which Open MPI 5 may wait for a lost rank for ever."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _draw(own: Iterator[tuple[Any, Any]], stop: Stop | None) -> tuple[Any, _Drawn, Exception | None]:
    """(images, what is said of them, the error where there was one)."""
    nothing = np.zeros(0, np.int64)

    def stopping() -> bool:
        return stop is not None and stop.is_set()

    try:
        x, labels = next(own)
        labels = as_plain_array(labels)
        if x is None:
            return None, _Drawn(labels, 0, None, stopping(), None), None
        if len(x) != len(labels):
            raise ValueError(f"expected {len(x)} labels, one an image, got {len(labels)}")
        return x, _Drawn(labels, len(x), f"{x.dtype} of {x.shape[1]} channels", stopping(), None), None
    except StopIteration:
        return None, _Drawn(nothing, 0, None, stopping(), NO_MORE), None
    except Exception as error:
        return None, _Drawn(nothing, 0, None, stopping(), _said(error)), error


def _said(error: Exception) -> str:
    """An error in a line, for the other ranks."""
    return f"{type(error).__name__}: {error}"


def _tried(work: Callable[[], Result]) -> tuple[Result | None, Exception | None, str | None]:
    """(result, error, what is said of the error)."""
    try:
        return work(), None, None
    except RankLostError:  # which all others learn of
        raise
    except Exception as error:
        return None, error, _said(error)


def _raise_any(problems: list[str | None], own: Exception | None) -> None:
    """Raise this rank's error, or RuntimeError for the first of another's."""
    if own is not None:
        raise own
    for rank, problem in enumerate(problems):
        if problem is not None:
            raise RuntimeError(f"rank {rank} could not do its part: {problem}")
