"""What one step of training did to the weights."""

from collections.abc import Iterator
from typing import Any

from minicnn.inspect.finite import norm
from minicnn.inspect.recording.activations import activations, weights_in
from minicnn.inspect.recording.file import NORMS, SAMPLES
from minicnn.inspect.recording.kept_cells import KeptCells
from minicnn.network import Sequential
from minicnn.plain import Array


class TrainingStep:
    """One step of the optimiser: the weights before it, and where the gradients and the weights after it are."""

    def __init__(
        self, network: Sequential, before: dict[str, Array], number: int, epoch: int, lr: float, loss: float
    ) -> None:
        self.network, self.number = network, number
        self.epoch, self.lr, self.loss = epoch, lr, loss
        self._before = before
        # Layers assign their gradients, so these remain this step's; the weights do until the optimiser's next step.
        self._params = [
            (name, layer.ops, layer.params[key], layer.grads[key]) for name, layer, key in network.named_params()
        ]

    def numbers(self) -> dict[str, Any]:
        """What `Recording` has a row for: epoch, lr, loss, and the three norms of each parameter."""
        norms = [[norm(array) for array in arrays] for _, *arrays in self._on_host()]
        by_kind = zip(*norms, strict=True) if norms else [()] * len(NORMS)
        return {"epoch": self.epoch, "lr": self.lr, "loss": self.loss, **dict(zip(NORMS, by_kind, strict=True))}

    def arrays(self, cells: KeptCells) -> dict[str, Array]:
        """What `Recording` has arrays (m, …) of: the cells that are kept, by "weight/conv1.weight" and so on."""
        kept = {}
        for name, *arrays in self._on_host():
            for kind, array in zip(SAMPLES, arrays, strict=True):
                kept[f"{kind}/{name}"] = cells.of(f"parameter/{name}", array)
        if cells.image is not None:
            with weights_in(self.network, self._before):
                for name, output in activations(self.network, cells.image).items():
                    kept[f"activation/{name}"] = cells.of(f"activation/{name}", output)
        return kept

    def _on_host(self) -> Iterator[tuple[str, Array, Array, Array]]:
        """(name, weight, gradient, update) of each parameter, NumPy arrays."""
        for name, ops, param, grad in self._params:
            before = ops.to_numpy(self._before[name])
            yield name, before, ops.to_numpy(grad), ops.to_numpy(param) - before
