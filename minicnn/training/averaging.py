"""EMA: a second network whose weights are a running mean of those of the one that is trained."""

import copy
from collections.abc import Mapping
from typing import Any

from minicnn.checks import as_count, as_number, require_entries
from minicnn.network import Sequential
from minicnn.plain import Array
from minicnn.training.checkpoint import require_state


class EMA:
    """A callback that keeps an exponential moving average of the weights (Polyak and Juditsky, 1992).

        average = decay * average + (1 - decay) * weights            after each step; after the first, the weights

    Weights late in a run circle around a good place, and their mean is nearer to it than any of them: `ema.network` is
    often a little better than the network that is trained. Running statistics are averaged alike, counters copied.

    Args:
        network: the network that is trained.
        decay: from 0 to 1; 0.999 averages over about a thousand steps.

    Raises ValueError for a decay out of range.

    Attributes:
        network: a network of its own, on "cpu"; predict, save or inspect it.
        updates: how many steps it has seen. Both, and the decay, are part of the trainer's checkpoints.

    Raises TypeError or ValueError for a decay that is no number from 0 to 1.

    >>> from minicnn.layers import Linear
    >>> trained = Sequential(fc=Linear(1, 1, rng=0))
    >>> ema = EMA(trained, decay=0.75)
    >>> for value in (4.0, 8.0):
    ...     trained["fc"].params["weight"][:] = value
    ...     ema.update(trained)
    >>> ema.network["fc"].params["weight"].item()            # 0.75 * 4 + 0.25 * 8
    5.0
    """

    def __init__(self, network: Sequential, decay: float = 0.999) -> None:
        self.decay = as_number(decay, "EMA: decay", 0, 1)
        self.network = copy.deepcopy(network).to("cpu")
        self.updates = 0

    def __call__(self, trainer: Any, event: str, values: dict[str, Any]) -> None:
        if event == "step":
            self.update(trainer.network)

    def update(self, network: Sequential) -> None:
        """Take the present weights of `network` into the mean."""
        theirs = network.named_layers()
        for (_, mine), (_, layer) in zip(self.network.named_layers(), theirs, strict=True):
            for averages, arrays in ((mine.params, layer.params), (mine.state, layer.state)):
                for key, average in averages.items():
                    array = layer.ops.to_numpy(arrays[key])
                    if self.updates and average.dtype.kind == "f":
                        average *= self.decay
                        average += (1 - self.decay) * array
                    else:
                        average[...] = array
        self.updates += 1

    def state_dict(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """What a run is resumed with: (the averages by name, a dict of numbers that JSON can hold)."""
        return self.network.state_dict(), {"decay": self.decay, "updates": self.updates}

    def checked_state(self, arrays: Mapping[str, Array], numbers: Any) -> tuple[float, int]:
        """(decay, updates) as `load_state_dict` takes them over.

        Raises ValueError where the state is damaged, or of another network.
        """
        what = "EMA.load_state_dict"
        require_entries(numbers, ("decay", "updates"), what)
        require_state(self.network, arrays, what)
        try:
            return as_number(numbers["decay"], f"{what}: decay", 0, 1), as_count(numbers["updates"], f"{what}: updates")
        except TypeError as error:
            raise ValueError(str(error)) from error

    def load_state_dict(self, arrays: Mapping[str, Array], numbers: Any) -> None:
        """Go on where `state_dict` was taken. Raises ValueError, and changes nothing, as `checked_state` does."""
        self.decay, self.updates = self.checked_state(arrays, numbers)
        self.network.load_state_dict(arrays)
