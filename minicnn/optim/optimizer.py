"""What all optimisers share: settings that are checked, arrays kept for each parameter, the step, saving."""

import copy
import itertools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from minicnn.backends.protocol import Operations
from minicnn.checks import DTYPES, as_count, as_floats, as_number, kind_of, require_entries
from minicnn.layers import Layer
from minicnn.network import Sequential
from minicnn.plain import Array, as_plain_array, memory_of

T = TypeVar("T")
# For one parameter: its name, layer and key there, the parameter, the arrays kept for it, its gradient.
Update: TypeAlias = tuple[str, Layer, str, Array, list[Array], Array]

MODERATE = 1e12  # a norm of gradients that is far from what overflows, whatever the optimiser has added up


class Setting(Generic[T]):
    """An attribute of an optimiser that takes only what `check(value, what)` returns, in the constructor and later."""

    def __init__(self, check: Callable[[Any, str], T]) -> None:
        self.check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    if TYPE_CHECKING:  # without it Python reads the value where `__set__` puts it, which is faster

        def __get__(self, optimizer: object, owner: type | None = None) -> T: ...

    def __set__(self, optimizer: object, value: Any) -> None:
        vars(optimizer)[self.name] = self.check(value, f"{type(optimizer).__name__}: {self.name}")


def non_negative(value: object, what: str) -> float:
    return as_number(value, what, least=0)


def yes_or_no(value: object, what: str) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{what}: expected True or False, got {value!r}")
    return bool(value)


class Optimizer:
    """Base of all optimisers: a network, a learning rate, and arrays kept for each parameter.

    Attributes:
        lr: the learning rate; may be set between steps, which is what schedules do, and so may the other settings.
            A value that the constructor would refuse is refused then, too.
        decay_vectors: whether weight decay acts on parameters of one axis, too: biases, and what batchnorm has.
        steps: how many steps were made, over the whole run.
        state: for each name in `slots` a dict from parameter name to array.
    """

    slots: tuple[str, ...] = ()  # the names of what is kept for each parameter
    settings: tuple[str, ...] = ()  # the names of the attributes that a run is resumed with
    lr, weight_decay = Setting(non_negative), Setting(non_negative)
    decay_vectors = Setting(yes_or_no)

    def __init__(self, network: Sequential, lr: float, weight_decay: float, decay_vectors: bool = True) -> None:
        name = type(self).__name__
        if not isinstance(network, Sequential):
            got = type(network).__name__
            raise TypeError(f"{name}: expected a network, got {got}; a single layer goes into a Sequential(layer)")
        self.network = network
        self.lr, self.weight_decay, self.decay_vectors = lr, weight_decay, decay_vectors
        self.steps = 0
        self.state: dict[str, dict[str, Array]] = {slot: {} for slot in self.slots}
        self._separate: list[Array] = []  # arrays of the last step, which are known to share no memory
        for param_name, layer, key in network.named_params():
            param = as_floats(layer.ops, layer.params[key], f"{name}: {param_name}")
            for slot in self.slots:
                self.state[slot][param_name] = layer.ops.asarray(np.zeros(param.shape, param.dtype))

    def step(self) -> None:
        """Change every parameter once by the gradients of the last backward.

        A gradient of another dtype is converted to the parameter's, as NumPy converts what is assigned to an array.

        Raises RuntimeError where a parameter has no gradient yet; TypeError or ValueError where parameter, gradient and
        what is kept for them are not arrays of numbers of one shape. Nothing is changed then.
        """
        params = list(self.network.named_params())
        without = [name for name, layer, key in params if key not in layer.grads]
        if without:
            raise RuntimeError(
                f"{type(self).__name__}.step: no gradient for {', '.join(without)}; call backward before step"
            )
        updates = [(name, layer, key, *self._checked(name, layer, key)) for name, layer, key in params]
        self._require_separate_memory(updates)
        self.steps += 1
        alike: dict[tuple[Operations, Any, bool], list[Update]] = {}
        for update in updates:
            _, layer, key, param, *_ = update
            layer.params[key] = param
            decays = self.decay_vectors or param.ndim > 1
            alike.setdefault((layer.ops, param.dtype, decays), []).append(update)
        for (ops, _, decays), of_ops in alike.items():
            _, _, _, arrays, slots, grads = zip(*of_ops, strict=True)
            self._update(ops, arrays, list(zip(*slots, strict=True)), grads, self.weight_decay if decays else 0.0)

    def _checked(self, name: str, layer: Layer, key: str) -> tuple[Array, list[Array], Array]:
        """(parameter, what is kept for it, gradient) as arrays that a kernel can take."""
        param, grad = layer.params[key], layer.grads[key]
        slots: list[Any] = [self.state[slot].get(name) for slot in self.slots]
        for array in (param, grad, *slots):
            if not (
                type(array) is np.ndarray
                and array.dtype == param.dtype
                and array.shape == param.shape
                and array.flags.carray
            ):
                break
        else:
            if param.dtype in DTYPES and not np.may_share_memory(grad, param):
                return param, slots, grad  # nearly always
        ops, who = layer.ops, f"{type(self).__name__}.step: {name}"
        param = as_floats(ops, param, f"{who}: parameter")
        for slot, kept in zip(self.slots, slots, strict=True):
            if ops.asarray(kept) is not kept or (kept.shape, kept.dtype) != (param.shape, param.dtype):
                raise ValueError(
                    f"{who}: expected {slot} like the parameter, {kind_of(param)}, got {kind_of(kept)}; "
                    "make the optimiser after layers were replaced or moved"
                )
        grad = ops.asarray(grad)
        if grad.shape != param.shape or grad.dtype.kind not in "iuf":
            raise ValueError(
                f"{who}: expected a gradient like the parameter, {kind_of(param)}, got {kind_of(layer.grads[key])}"
            )
        if grad.dtype != param.dtype:
            grad = ops.asarray(ops.to_numpy(grad).astype(param.dtype))
        elif isinstance(grad, np.ndarray) and np.may_share_memory(grad, param):
            grad = grad.copy()  # or it would change with the parameter
        return param, slots, grad

    def _require_separate_memory(self, updates: Sequence[Update]) -> None:
        """Raise ValueError where arrays that a step changes share memory, which would then be changed twice."""
        changed = [array for *_, param, slots, _ in updates for array in (param, *slots)]
        if len(changed) == len(self._separate) and all(map(operator.is_, changed, self._separate)):
            return  # the arrays of the last step
        owners = [f"{slot} of {name}" for name, *_ in updates for slot in ("the parameter", *self.slots)]
        places = sorted((*memory_of(array), owner) for array, owner in zip(changed, owners, strict=True))
        for (_, stop, owner), (start, _, other) in itertools.pairwise(places):
            if start < stop:
                raise ValueError(
                    f"{type(self).__name__}.step: expected arrays that share no memory, got {owner} and {other}; "
                    "give each layer, and each state, an array of its own (array.copy())"
                )
        self._separate = changed

    def stays_finite(self, gradient_norm: float) -> bool:
        """Whether settings and gradients are so moderate that no step with them can overflow.

        False where that is not certain, as for a custom optimiser that does not override this.
        """
        return False

    def state_dict(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """What a run is resumed with: (arrays by "slot/parameter", of its shape; a dict that JSON can hold)."""
        layers = {name: layer for name, layer, _ in self.network.named_params()}
        arrays = {
            f"{slot}/{name}": layers[name].ops.to_numpy(array).copy()
            for slot, of_params in self.state.items()
            for name, array in of_params.items()
        }
        settings = {"class": type(self).__name__, "steps": self.steps}
        return arrays, settings | {setting: getattr(self, setting) for setting in self.settings}

    def load_state_dict(self, arrays: Mapping[str, ArrayLike], settings: Any) -> None:
        """Go on where `state_dict` was taken, with its settings, the learning rate included.

        Raises ValueError, and changes nothing, where it is of another optimiser or network, or damaged.
        """
        arrays, settings = self.checked_state(arrays, settings)
        for param_name, layer, _ in self.network.named_params():
            for slot in self.slots:
                self.state[slot][param_name] = layer.ops.asarray(arrays[f"{slot}/{param_name}"])
        for name, value in settings.items():
            setattr(self, name, value)

    def checked_state(self, arrays: Mapping[str, ArrayLike], settings: Any) -> tuple[dict[str, Array], dict[str, Any]]:
        """(arrays, settings) as `load_state_dict` takes them over, shapes checked; raises what it raises."""
        name = type(self).__name__
        what = f"{name}.load_state_dict"
        require_entries(settings, ("class",), what)
        if settings["class"] != name:
            raise ValueError(f"{what}: expected the state of {name}, got that of {settings['class']!s:.200}")
        settings = {"decay_vectors": True, **settings}  # which earlier versions of minicnn did not write
        require_entries(settings, ("steps", *self.settings), what)
        present = self.state_dict()[0]
        given = {key: as_plain_array(array, f"{what}: {key}") for key, array in arrays.items()}
        if {key: array.shape for key, array in given.items()} != {key: array.shape for key, array in present.items()}:
            raise ValueError(f"{what}: expected the state of a network like this one, got another's")
        checked = {}
        for key, array in given.items():
            if array.dtype.kind != "f":
                raise ValueError(f"{what}: {key}: expected floats, got {array.dtype}")
            with np.errstate(over="ignore"):  # infinity, which is not sound
                checked[key] = array.astype(present[key].dtype)
            if not self._is_sound(key.partition("/")[0], checked[key]):
                raise ValueError(f"{what}: {key}: expected finite numbers of the right sign, got others")
        trial = copy.copy(self)  # whose settings check what they are given
        trial.steps = as_count(settings["steps"], f"{what}: steps")
        for setting in self.settings:
            value = settings[setting]
            try:
                setattr(trial, setting, tuple(value) if isinstance(value, list) else value)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{what}: {error}") from error
        return checked, {setting: getattr(trial, setting) for setting in ("steps", *self.settings)}

    def _is_sound(self, slot: str, array: Array) -> bool:
        return bool(np.isfinite(array).all())

    def _update(
        self,
        ops: Operations,
        params: Sequence[Array],
        slots: Sequence[Sequence[Array]],
        grads: Sequence[Array],
        weight_decay: float,
    ) -> None:
        """Change params of one dtype, which decay alike, and what is kept for them: of each slot a sequence like
        params and grads."""
        raise NotImplementedError
