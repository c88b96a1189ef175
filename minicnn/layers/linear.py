"""Linear: every output is a weighted sum of all inputs."""

from typing import Any

import numpy as np

from minicnn.checks import as_int
from minicnn.layers.base import Layer
from minicnn.layers.initialisation import as_generator, uniform_by_fan_in
from minicnn.plain import Array


class Linear(Layer):
    """Fully connected layer, `torch.nn.Linear`'s arguments and numbers.

        y = x Wᵀ + bias               y[n, k] = bias[k] + sum over d of weight[k, d] * x[n, d]

        dx = dy W                     an input is worth the weights it went through
        dweight = dyᵀ x               for one image the outer product of dy and x; over images, their sum
        dbias = sum of dy

    Shapes: x (N, D); weight (K, D); bias (K,); y (N, K).

    Args:
        in_features, out_features: D and K.
        bias: False for a layer without one.
        rng: a numpy Generator or a seed for the first weights (see `initialisation`).

    Raises:
        ValueError: wrong rank or number of features, empty input.
        TypeError: input that is not float32 or float64, not of the weights' dtype, or `Images`.

    >>> import numpy as np
    >>> fc = Linear(2, 1, bias=False, rng=0)
    >>> fc.params["weight"][:] = [[3, 5]]
    >>> fc.forward(np.float32([[10, 1]]))
    array([[35.]], dtype=float32)
    >>> fc.backward(np.float32([[2]])), fc.grads["weight"]
    (array([[ 6., 10.]], dtype=float32), array([[20.,  2.]], dtype=float32))

    The arithmetic, in `minicnn/backends/`:
        reference/linear.py    to read
        cpu/linear.py          to run
        cuda/linear.py         to run on a GPU
    """

    operations = ("linear",)

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, rng: np.random.Generator | int | None = None
    ) -> None:
        super().__init__()
        self.in_features = as_int(in_features, "Linear: in_features", 1)
        self.out_features = as_int(out_features, "Linear: out_features", 1)
        rng = as_generator(rng)
        self.params["weight"] = uniform_by_fan_in(rng, (self.out_features, self.in_features), self.in_features)
        if bias:
            self.params["bias"] = uniform_by_fan_in(rng, (self.out_features,), self.in_features)

    def predict(self, x: Array) -> Array:
        x = self._as_vectors(x)
        return self.ops.linear_forward(x, self.params["weight"], self.params.get("bias"))

    def forward(self, x: Array) -> Array:
        x = self._as_vectors(x)
        y = self.ops.linear_forward(x, self.params["weight"], self.params.get("bias"))
        self.remember(y, x=x)  # dweight multiplies dy with x
        return y

    def backward(self, dy: Array, need_dx: bool = True) -> Any:
        dy, memory = self.recall(dy)
        self.grads["weight"] = self.ops.linear_weight_gradient(dy, memory.x)
        if "bias" in self.params:
            self.grads["bias"] = self.ops.linear_bias_gradient(dy)
        return self.ops.linear_input_gradient(dy, self.params["weight"]) if need_dx else None

    def _as_vectors(self, x: Array) -> Array:
        x = self.as_input(x)
        if x.ndim != 2 or x.shape[1] != self.in_features:
            raise ValueError(f"Linear: expected input of shape (N, {self.in_features}), got {x.shape}")
        return x

    def shapes(self) -> dict[str, tuple[int, ...]]:
        weight = (self.out_features, self.in_features)
        return {"weight": weight, "bias": (self.out_features,)} if "bias" in self.params else {"weight": weight}

    def describe(self) -> str:
        bias = "" if "bias" in self.params else ", bias=False"
        return f"{self.in_features}, {self.out_features}{bias}"
