"""What computes on a backend holds a module, and Python neither copies nor pickles modules. Their names, it does."""

import importlib
from types import ModuleType
from typing import Any, NamedTuple


class _Module(NamedTuple):
    name: str


class Copyable:
    """Base of layers and losses: `copy.deepcopy` and `pickle` keep each module that an attribute holds by its name.

    >>> import copy, pickle
    >>> from minicnn import Linear
    >>> layer = Linear(2, 1, rng=0)
    >>> all(other.ops is layer.ops for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))))
    True
    """

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: _Module(value.__name__) if isinstance(value, ModuleType) else value
            for name, value in vars(self).items()
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            vars(self)[name] = importlib.import_module(value.name) if isinstance(value, _Module) else value
