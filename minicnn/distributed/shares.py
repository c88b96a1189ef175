"""A rank's share of a batch, and how it is drawn."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from minicnn.data.order import share_of
from minicnn.distributed.ranks import Ranks


class Share(NamedTuple):
    """A rank's share of a batch.

    Attributes:
        x: its images; where it has none, one image of another rank, so that it can take part. It counts for nothing.
        counts: how many images each rank has, in the order of the ranks.
        rank: whose share it is.
    """

    x: Any
    counts: list[int]
    rank: int

    @property
    def n_images(self) -> int:
        """How many images of the batch are its own."""
        return self.counts[self.rank]

    @property
    def rows(self) -> slice:
        """Where they stand in the batch.

        >>> Share(None, counts=[2, 3, 1], rank=1).rows
        slice(2, 5, None)
        """
        start = sum(self.counts[: self.rank])
        return slice(start, start + self.n_images)


def drawn_shares(batches: Iterable[Any], rank: int, size: int) -> Iterator[tuple[Any, Any]]:
    """(images, labels) of each batch that are the rank's, (None, no labels) where none are.

    What has a method `share`, as `Batches` and `Loader` do, reads no other images.
    """
    if hasattr(batches, "share"):
        yield from batches.share(rank, size)
        return
    for x, y in batches:
        labels = share_of(y, rank, size)
        yield share_of(x, rank, size) if len(labels) else None, labels


def share_of_batch(batch: Any, ranks: Ranks) -> Share:
    """This rank's share of a batch that all ranks have; one that was drawn is taken as it is."""
    if isinstance(batch, Share):
        return batch
    counts = [len(share_of(range(len(batch)), rank, ranks.size)) for rank in range(ranks.size)]
    return taking_part(share_of(batch, ranks.rank, ranks.size) if counts[ranks.rank] else None, counts, ranks)


def taking_part(x: Any, counts: list[int], ranks: Ranks) -> Share:
    """The share of the images x; a rank that has none is sent one by the first that has any."""
    rank = ranks.rank
    if 0 in counts:
        giver = next(other for other, count in enumerate(counts) if count)
        image = ranks.sent(x[:1] if rank == giver else None, giver)
        x = x if counts[rank] else image
    return Share(x, counts, rank)
