"""Items of as many steps as have room, evenly spread over a run of any length."""

from typing import Generic, TypeVar

Item = TypeVar("Item")


class Thinned(Generic[Item]):
    """Items by their steps: every `interval`-th from the first one on, and never more than `most`."""

    def __init__(self, most: int) -> None:
        self.most, self.interval = most, 1
        self.kept: dict[int, Item] = {}

    def is_due(self, step: int) -> bool:
        return (step - next(iter(self.kept), step)) % self.interval == 0

    def keep(self, step: int, item: Item) -> None:
        self.kept[step] = item
        if len(self.kept) > self.most:
            self.interval *= 2
            self.kept = {step: item for step, item in self.kept.items() if self.is_due(step)}
