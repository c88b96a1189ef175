"""Optimisers: from gradients to new parameters. The formulas stand in `backends/*/optim.py`."""

import copy
import itertools
import operator

import numpy as np

from minicnn.checks import DTYPES, as_count, as_floats, as_number, kind_of, require_entries
from minicnn.network import Sequential
from minicnn.plain import as_plain_array, memory_of

MODERATE = 1e12  # a norm of gradients that is far from what overflows, whatever the optimiser has added up


class _Setting:
    """An attribute of an optimiser that takes only what `check(value, what)` returns, in the constructor and later."""

    def __init__(self, check):
        self.check = check

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, optimizer, owner=None):
        return self if optimizer is None else vars(optimizer)[self.name]

    def __set__(self, optimizer, value):
        vars(optimizer)[self.name] = self.check(value, f"{type(optimizer).__name__}: {self.name}")


def _non_negative(value, what):
    return as_number(value, what, least=0)


def _two_betas(value, what):
    try:
        beta1, beta2 = value
    except (TypeError, ValueError):
        raise ValueError(f"{what}: expected (beta1, beta2), got {value!r}") from None
    betas = _non_negative(beta1, what), _non_negative(beta2, what)
    if max(betas) >= 1:
        raise ValueError(f"{what}: expected betas of at least 0 and below 1, got {value}")
    return betas


def _yes_or_no(value, what):
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{what}: expected True or False, got {value!r}")
    return bool(value)


class _Optimizer:
    """What all optimisers share: a network, a learning rate, and arrays kept for each parameter.

    Attributes:
        lr: the learning rate; may be set between steps, which is what schedules do, and so may the other settings.
            A value that the constructor would refuse is refused then, too.
        steps: how many steps were made, over the whole run.
        state: for each name in `slots` a dict from parameter name to array.
    """

    slots = ()  # the names of what is kept for each parameter
    settings = ()  # the names of the attributes that a run is resumed with
    lr, weight_decay = _Setting(_non_negative), _Setting(_non_negative)

    def __init__(self, network, lr, weight_decay):
        name = type(self).__name__
        if not isinstance(network, Sequential):
            got = type(network).__name__
            raise TypeError(f"{name}: expected a network, got {got}; a single layer goes into a Sequential(layer)")
        self.network = network
        self.lr, self.weight_decay = lr, weight_decay
        self.steps = 0
        self.state = {slot: {} for slot in self.slots}
        self._apart = []  # arrays of the last step, which are known to share no memory
        for param_name, layer, key in network.named_params():
            param = as_floats(layer.ops, layer.params[key], f"{name}: {param_name}")
            for slot in self.slots:
                self.state[slot][param_name] = layer.ops.asarray(np.zeros(param.shape, param.dtype))

    def step(self):
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
        self._require_memory_of_their_own(updates)
        self.steps += 1
        for _, layer, key, param, slots, grad in updates:
            layer.params[key] = param
            self._update(layer.ops, param, slots, grad)

    def _checked(self, name, layer, key):
        """(parameter, what is kept for it, gradient) as arrays that a kernel can take."""
        param, grad = layer.params[key], layer.grads[key]
        slots = [self.state[slot].get(name) for slot in self.slots]
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
            grad = grad.copy()  # a gradient that changed as its parameter does would be another
        return param, slots, grad

    def _require_memory_of_their_own(self, updates):
        """Raise ValueError where arrays that a step changes share memory, which would then be changed twice."""
        changed = [array for *_, param, slots, _ in updates for array in (param, *slots)]
        if len(changed) == len(self._apart) and all(map(operator.is_, changed, self._apart)):
            return  # the arrays of the last step
        owners = [f"{slot} of {name}" for name, *_ in updates for slot in ("the parameter", *self.slots)]
        places = sorted((*memory_of(array), owner) for array, owner in zip(changed, owners, strict=True))
        for (_, stop, owner), (start, _, other) in itertools.pairwise(places):
            if start < stop:
                raise ValueError(
                    f"{type(self).__name__}.step: expected arrays that share no memory, got {owner} and {other}; "
                    "give each layer, and each state, an array of its own (array.copy())"
                )
        self._apart = changed

    def stays_finite(self, gradient_norm):
        """Whether settings and gradients are so moderate that no step with them comes near the largest number.

        False where that is not certain, as for an optimiser that does not say so.
        """
        return False

    def state_dict(self):
        """What a run is resumed with: (arrays by "slot/parameter", a dict of numbers that JSON can hold)."""
        layers = {name: layer for name, layer, _ in self.network.named_params()}
        arrays = {
            f"{slot}/{name}": layers[name].ops.to_numpy(array).copy()
            for slot, of_params in self.state.items()
            for name, array in of_params.items()
        }
        settings = {"class": type(self).__name__, "steps": self.steps}
        return arrays, settings | {setting: getattr(self, setting) for setting in self.settings}

    def load_state_dict(self, arrays, settings):
        """Go on where `state_dict` was taken, with its settings, the learning rate included.

        Raises ValueError, and changes nothing, where it is of another optimiser or network, or damaged.
        """
        arrays, settings = self.checked_state(arrays, settings)
        for param_name, layer, _ in self.network.named_params():
            for slot in self.slots:
                self.state[slot][param_name] = layer.ops.asarray(arrays[f"{slot}/{param_name}"])
        for name, value in settings.items():
            setattr(self, name, value)

    def checked_state(self, arrays, settings):
        """(arrays, settings) as `load_state_dict` takes them over; raises what it raises."""
        name = type(self).__name__
        what = f"{name}.load_state_dict"
        require_entries(settings, ("class",), what)
        if settings["class"] != name:
            raise ValueError(f"{what}: expected the state of {name}, got that of {settings['class']!s:.200}")
        require_entries(settings, ("steps", *self.settings), what)
        present = self.state_dict()[0]
        arrays = {key: as_plain_array(array, f"{what}: {key}") for key, array in arrays.items()}
        if {key: array.shape for key, array in arrays.items()} != {key: array.shape for key, array in present.items()}:
            raise ValueError(f"{what}: expected the state of a network like this one, got another's")
        checked = {}
        for key, array in arrays.items():
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

    def _is_sound(self, slot, array):
        return bool(np.isfinite(array).all())

    def _update(self, ops, param, slots, grad):
        raise NotImplementedError


class SGD(_Optimizer):
    """Stochastic gradient descent with momentum, Nesterov momentum and weight decay; `torch.optim.SGD`.

        g = grad + weight_decay * param
        velocity = momentum * velocity + g
        param -= lr * velocity                    with Nesterov: param -= lr * (g + momentum * velocity)

    Args:
        network: whose parameters are changed.
        lr, momentum, weight_decay: numbers of at least 0.
        nesterov: look ahead along the velocity (Sutskever et al., 2013); needs momentum.

    Raises ValueError for a negative setting or Nesterov without momentum.
    """

    slots = ("velocity",)
    settings = ("lr", "momentum", "nesterov", "weight_decay")
    momentum, nesterov = _Setting(_non_negative), _Setting(_yes_or_no)

    def __init__(self, network, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
        super().__init__(network, lr, weight_decay)
        self.momentum, self.nesterov = momentum, nesterov
        if self.nesterov and self.momentum == 0:
            raise ValueError("SGD: nesterov needs a momentum above 0, got 0")

    def stays_finite(self, gradient_norm):
        return gradient_norm < MODERATE and self.momentum < 1 and self.lr < 1e3 and self.lr * self.weight_decay <= 1

    def _update(self, ops, param, slots, grad):
        (velocity,) = slots
        ops.sgd_step_(param, velocity, grad, self.lr, self.momentum, self.nesterov, self.weight_decay)


class Adam(_Optimizer):
    """Adam (Kingma and Ba, 2015, arXiv:1412.6980); `torch.optim.Adam`.

        g = grad + weight_decay * param
        m = beta1 * m + (1 - beta1) * g           v = beta2 * v + (1 - beta2) * g²
        param -= lr * m_hat / (sqrt(v_hat) + eps) m_hat = m / (1 - beta1 ** steps), v_hat likewise

    Args:
        network: whose parameters are changed.
        lr, eps, weight_decay: numbers of at least 0.
        betas: (beta1, beta2), each at least 0 and below 1.

    Raises ValueError for a setting out of range.
    """

    slots = ("m", "v")
    settings = ("lr", "betas", "eps", "weight_decay")
    betas, eps = _Setting(_two_betas), _Setting(_non_negative)
    decoupled = False  # whether weight decay acts on the parameter directly, and not through g

    def __init__(self, network, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(network, lr, weight_decay)
        self.betas, self.eps = betas, eps

    def stays_finite(self, gradient_norm):
        moderate = gradient_norm < MODERATE and self.lr < 1e3 and self.lr * self.weight_decay <= 1
        return moderate and self.eps >= 1e-12  # without it a gradient of 0 gives 0 / 0

    def _is_sound(self, slot, array):
        # A square may be too large for a number. v is infinite then, and the update 0, as in PyTorch.
        return bool((array >= 0).all()) if slot == "v" else super()._is_sound(slot, array)

    def _update(self, ops, param, slots, grad):
        m, v = slots
        ops.adam_step_(param, m, v, grad, self.lr, *self.betas, self.eps, self.weight_decay, self.decoupled, self.steps)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019, arXiv:1711.05101); `torch.optim.AdamW`.

    param *= 1 - lr * weight_decay, then Adam's step with g = grad. In Adam the decay goes through g and is divided by
    sqrt(v_hat) like any gradient, so that weights with large gradients decay less; here all decay alike.

    Args and errors as for Adam; weight_decay is 0.01 unless given.
    """

    decoupled = True

    def __init__(self, network, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        super().__init__(network, lr, betas, eps, weight_decay)
