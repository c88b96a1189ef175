"""Decoded images kept in memory, within a budget."""

import threading


class PixelCache:
    """Arrays by key, of at most `budget` bytes together; any thread may use it.

    What comes first is kept, and nothing is ever thrown out. Training goes through all images again and again: a cache
    that throws out what was used longest ago throws out each image just before it is wanted, and with room for
    nine images of ten has none of them; one that keeps the first nine has nine.

    >>> import numpy as np
    >>> cache = PixelCache(budget=100)
    >>> for key in "abc":
    ...     cache.keep(key, np.zeros(40, np.uint8))
    >>> cache.get("b") is None, cache.get("c") is None, cache.bytes
    (False, True, 80)
    """

    def __init__(self, budget):
        self.budget, self.bytes = budget, 0
        self._arrays = {}
        self._lock = threading.Lock()

    def get(self, key):
        """The array, or None."""
        return self._arrays.get(key)

    def keep(self, key, array):
        """Keep `array`, which must own its memory and is not to be written from here on, if there is room for it."""
        with self._lock:
            if key not in self._arrays and self.bytes + array.nbytes <= self.budget:
                self._arrays[key] = array
                self.bytes += array.nbytes
