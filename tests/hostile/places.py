"""The places where something is handed over. Each is a function of a `World`."""

import copy
import pickle
from types import SimpleNamespace

import numpy as np

import minicnn
from minicnn import Images
from minicnn.backends.foreach import LISTS, ONE_OF
from tests import test_contract
from tests.hostile.world import (
    LAYERS,
    NETWORK_INPUT,
    OPTIMIZERS,
    PARAMS,
    as_bytes,
    backward_once,
    batch_of,
    dy_like,
    filled,
    layer_of,
    network_of,
    numbers_of,
    one_pass,
)
from tests.twists import INTEGERS, NoMeaning


def _require_no_images(world, layer):
    if world.twist == "Images" and layer.takes_images and not layer.params:
        raise NoMeaning  # they are as good as an array


def layer_input(world, layer, training):
    made = layer_of(world, layer, training)
    _require_no_images(world, made)
    return one_pass(world, made, world.twisted(world.draw(*LAYERS[layer][1])))


def layer_predict(world, layer):
    made = layer_of(world, layer)
    _require_no_images(world, made)
    x = world.twisted(world.draw(*LAYERS[layer][1]))
    return {"y": world.do(lambda: made.predict(x), made)}


def layer_dy(world, layer, training):
    made = layer_of(world, layer, training)
    x = world.draw(*LAYERS[layer][1])
    y = made.forward(x)
    dy = world.twisted(dy_like(world, y))
    return {"dx": world.do(lambda: made.backward(dy), made), **made.grads}


def layer_param(world, layer, key, between, need_dx):
    made = layer_of(world, layer)
    x = world.draw(*LAYERS[layer][1])
    if not between:
        made.params[key] = world.twisted(made.params[key])
        return one_pass(world, made, x)
    y = made.forward(x)
    is_read = key == "weight" and (need_dx or layer == "BatchNorm2d")
    made.params[key] = world.twisted(made.params[key]) if world.hostile or is_read else made.params[key]
    dy = dy_like(world, y)
    dx = world.do(lambda: made.backward(dy, need_dx=need_dx), made)
    return {"dx": dx if need_dx else 0, **made.grads}


def layer_state(world, key, training):
    made = layer_of(world, "BatchNorm2d", training)
    integers = key == "num_batches_tracked"
    if integers and not training:  # nobody reads it
        raise NoMeaning
    made.state[key] = world.twisted(made.state[key], integers=integers)
    return one_pass(world, made, world.draw(*LAYERS["BatchNorm2d"][1]))


def layer_images(world, layer, what):
    made = layer_of(world, layer)
    channels = LAYERS[layer][1][1]
    blocks = [world.draw(channels, *size) for size in ((5, 4), (4, 6), (7, 5))]
    if what == "one image":
        blocks[1] = world.twisted(blocks[1])
    x = Images(blocks)
    if what == "data of":
        x = Images.of(world.twisted(x.data), channels, x.sizes)
    if what == "data of like":
        x = x.like(world.twisted(x.data))
    if what == "list":
        several = world.twisted(np.stack([blocks[0]] * 2))
        x = Images(several if not isinstance(several, memoryview) else [several])  # Python does not take one apart
    if what != "dy":
        return one_pass(world, made, x)
    y = made.forward(x)
    dy = dy_like(world, y)
    dy = dy.like(world.twisted(dy.data)) if isinstance(dy, Images) else world.twisted(dy)
    return {"dx": world.do(lambda: made.backward(dy), made), **made.grads}


def layer_changed(world, layer, attribute, value):
    """An attribute set after the layer was made, so that it and the parameters contradict each other."""
    made = layer_of(world, layer)
    setattr(made, attribute, value)
    return one_pass(world, made, world.draw(*LAYERS[layer][1]))


def resized(world, layer, which, size):
    """What forward keeps is resized in place before backward."""
    made = layer_of(world, layer)
    x = world.draw(*LAYERS[layer][1])
    y = made.forward(x)
    dy = dy_like(world, y)
    try:
        (x if which == "x" else y).resize(size, refcheck=False)
    except ValueError as error:  # it rests on other memory
        raise NoMeaning from error
    return {"dx": world.do(lambda: made.backward(dy), made), **made.grads}


def network_param(world, network, key, fused, predict):
    made = network_of(world, network)
    name, key = PARAMS[network][key % len(PARAMS[network])].split(".")
    made[name].params[key] = world.twisted(made[name].params[key])
    computed = minicnn.fuse(made) if fused else made
    if predict:
        x, _ = batch_of(world)
        return {"y": world.do(lambda: computed.predict(x), made)}
    return backward_once(world, made, computed)


def network_state(world, key, fused, training):
    made = network_of(world, "block").train(training)
    if key == "num_batches_tracked" and not training:  # nobody reads it
        raise NoMeaning
    made["bn1"].state[key] = world.twisted(made["bn1"].state[key], integers=key == "num_batches_tracked")
    computed = minicnn.fuse(made) if fused else made
    found = backward_once(world, made, computed)
    x, _ = batch_of(world)
    return found | {"y": computed.predict(x)} | numbers_of(made)


def network_input(world, network, fused, images, predict):
    made = network_of(world, network)
    computed = minicnn.fuse(made) if fused else made
    x = world.draw(*NETWORK_INPUT)
    if images:
        x = Images([world.draw(2, 5, 4), world.draw(2, 6, 5)])
        x = x.like(world.twisted(x.data))
    else:
        x = world.twisted(x)
    if predict:
        return {"y": world.do(lambda: computed.predict(x), made)}
    y = world.do(lambda: computed.forward(x), made, statistics=False)
    dy = dy_like(world, y)
    return {"y": y, "dx": world.do(lambda: computed.backward(dy), made, statistics=False)}


def network_dy(world, network, fused, need_dx):
    made = network_of(world, network)
    computed = minicnn.fuse(made) if fused else made
    y = computed.forward(world.draw(*NETWORK_INPUT))
    dy = world.twisted(dy_like(world, y))
    dx = world.do(lambda: computed.backward(dy, need_dx=need_dx), made)
    return {"dx": dx if need_dx else 0} | {f"grad {n}": layer.grads[key] for n, layer, key in made.named_params()}


def step(world, optimizer, network, what, key, clip, slot):
    """One step to warm up, then one with a gradient, a parameter or a state of the optimiser exchanged."""
    made = network_of(world, network)
    made_optimizer = OPTIMIZERS[optimizer](made)
    found = backward_once(world, made)
    made_optimizer.step()
    full_name = PARAMS[network][key % len(PARAMS[network])]
    name, key = full_name.split(".")
    if what == "grad":
        made[name].grads[key] = world.twisted(made[name].grads[key])
    elif what == "param":
        made[name].params[key] = world.twisted(made[name].params[key])
    else:
        slots = made_optimizer.state[made_optimizer.slots[slot % len(made_optimizer.slots)]]
        slots[full_name] = world.twisted(np.abs(slots[full_name]))
    if clip:
        found["norm"] = world.do(lambda: minicnn.clip_gradients(made, 0.5), made, made_optimizer)
    world.do(made_optimizer.step, made, made_optimizer)
    return found | numbers_of(made, made_optimizer)


def large_gradient(world, bias):
    """One whose squares are added up by several threads."""
    made = minicnn.Sequential(filled(world, minicnn.Linear(640, 640)))
    made[0].grads = {"weight": world.draw(640, 640), "bias": world.draw(640)}
    key = "bias" if bias else "weight"
    made[0].grads[key] = world.twisted(made[0].grads[key])
    made_optimizer = OPTIMIZERS["SGD"](made)
    found = {"norm": world.do(lambda: minicnn.clip_gradients(made, 0.5), made, made_optimizer)}
    world.do(made_optimizer.step, made, made_optimizer)
    return found | numbers_of(made)


def aliased(world, optimizer, first, second):
    """Two arrays that must not be one are one. The judge has two of the same numbers."""
    made = network_of(world, "block")
    made_optimizer = OPTIMIZERS[optimizer](made)
    backward_once(world, made)
    made_optimizer.step()
    layer = made["fc"]
    slots = list(made_optimizer.state.values())
    places = {
        "param": (layer.params, "weight"),
        "grad": (layer.grads, "weight"),
        "first slot": (slots[0], "fc.weight"),
        "last slot": (slots[-1], "fc.weight"),
        "other slot": (slots[0], "conv1.weight"),
    }
    (from_, from_key), (to, to_key) = places[first], places[second]
    value = np.abs(from_[from_key])
    from_[from_key] = value
    if to[to_key].shape != value.shape:
        raise NoMeaning
    to[to_key] = value if world.hostile else value.copy()
    if from_ is to and from_key == to_key:
        to[to_key] = value
    world.do(made_optimizer.step, made, made_optimizer)
    return numbers_of(made, made_optimizer)


def shared_weight(world, view):
    """One array is the weight of two layers; one may be a view of the other."""
    network = minicnn.Sequential(a=minicnn.Linear(4, 4), b=minicnn.Linear(4, 4))
    for layer in network:
        filled(world, layer)
    weight = network["a"].params["weight"]
    shared = weight[:] if view else weight
    network["b"].params["weight"] = shared if world.hostile else shared.copy()
    x = world.draw(3, 4)
    y = world.do(lambda: network.forward(x), network)
    found = {"y": y, "dx": world.do(lambda: network.backward(dy_like(world, y)), network)}
    return found | {f"grad {name}": layer.grads[key] for name, layer, key in network.named_params()}


def own_operation(world, network, name, member, kind):
    """`use`: a function of one's own for an operation, which gives back an object of another kind."""
    made = network_of(world, network)
    right = getattr(world.ops, name)

    def own(*arguments):
        result = right(*arguments)
        if kind == "none":
            return None
        if kind == "its first argument":
            first = arguments[0]
            return first if world.hostile or isinstance(first, Images | list) else np.array(first)
        if kind == "a part of its first argument":
            part = np.asarray(arguments[0]).reshape(-1)
            return part if world.hostile else part.copy()
        if kind == "the same object each time":
            return kept.setdefault(name, result)
        if not isinstance(result, tuple):
            if kind == "a tuple":
                return (result,)
            if kind == "a list":
                return [result]
            return changed(result)
        if kind == "a tuple":
            return (*result, result[0])
        if kind == "a list":
            return list(result)
        if kind == "one too few":
            return result[:-1]
        if kind == "argmax out of range":
            return (result[0], result[1] + np.int32(10**6 * (1 if member else -1)))
        result = list(result)
        result[member % len(result)] = changed(result[member % len(result)])
        return tuple(result)

    def changed(result):
        if isinstance(result, Images):
            return result.like(world.twisted(result.data))
        if result is None:
            return world.twisted(np.zeros(3))
        return world.twisted(result, integers=isinstance(result, np.ndarray) and result.dtype.kind in "iu")

    if name == "log_softmax_forward" and world.twist in INTEGERS:
        raise NoMeaning  # exp(y) is no softmax then: backward multiplies what a sum of 0 rounds off by up to exp(20)
    kept = {}
    made.use(**{name: own})
    made_optimizer = OPTIMIZERS["Adam"](made)
    found = backward_once(world, made)
    if name.endswith("_"):  # it has changed things itself when it is judged by what it gave back
        made_optimizer.step()
        return found | numbers_of(made, made_optimizer)
    found["norm"] = world.do(lambda: minicnn.clip_gradients(made, 0.5), made, made_optimizer)
    world.do(made_optimizer.step, made, made_optimizer)
    x, _ = batch_of(world)
    return found | numbers_of(made, made_optimizer) | {"y": world.do(lambda: made.predict(x), made)}


def loss_argument(world, loss, which, smoothing):
    if world.twist == "None" and which.startswith("weight"):
        raise NoMeaning  # it says that all classes count alike
    output, labels, weight = (
        -np.abs(world.draw(4, 3)),
        world.labels(4, 3),
        np.abs(world.draw(3)) + world.dtype.type(0.1),
    )
    if which == "output":
        output = world.twisted(output)
    elif which == "target":
        labels = world.twisted(labels, integers=True)
    elif which == "weight":
        weight = world.twisted(weight)
    arguments = {"weight": weight} | ({"label_smoothing": 0.1} if smoothing and loss == "CrossEntropyLoss" else {})
    made = getattr(minicnn, loss)(**arguments).to(world.backend)
    if which == "weight later":
        made.weight = world.twisted(weight)
    value = made.forward(output, labels)
    return {"loss": value, "d": made.backward()}


def loss_dy(world, loss):
    """What a loss of one's own gives backward."""
    made = network_of(world, "pooled")
    made.forward(world.draw(*NETWORK_INPUT))
    dy = world.twisted(world.draw(NETWORK_INPUT[0], 3))
    return {"dx": world.do(lambda: made.backward(dy), made)}


def loaded(world, network, key, what):
    made = network_of(world, network)
    made_optimizer = OPTIMIZERS["Adam"](made)
    backward_once(world, made)
    if what == "network":
        state = made.state_dict()
        name = list(state)[key % len(state)]
        state[name] = world.twisted(state[name], integers=name.endswith("tracked"))
        world.do(lambda: made.load_state_dict(state), made)
    else:
        arrays, settings_of = made_optimizer.state_dict()
        name = list(arrays)[key % len(arrays)]
        arrays[name] = world.twisted(np.abs(arrays[name]) + 1)
        world.do(lambda: made_optimizer.load_state_dict(arrays, settings_of), made, made_optimizer)
    world.do(made_optimizer.step, made, made_optimizer)
    x, _ = batch_of(world)
    return numbers_of(made, made_optimizer) | {"y": made.predict(x)}


def trained(world, network, fused, clip, optimizer, which):
    """`Trainer.step` on an odd batch."""
    made = network_of(world, network)
    made_optimizer = OPTIMIZERS[optimizer](made)
    clip = {"max_grad_norm": 0.5} if clip else {}
    trainer = minicnn.Trainer(made, minicnn.CrossEntropyLoss(), made_optimizer, fuse=fused, quiet=True, **clip)
    x, labels = batch_of(world)
    trainer.step(x, labels)
    if which == "x":
        x = world.twisted(x)
    else:
        labels = world.twisted(labels, integers=True)
    found = {"loss": world.do(lambda: trainer.step(x, labels), made, made_optimizer)}
    return found | numbers_of(made, made_optimizer)


def replaced(world, network, optimizer, name, how, fused, when):
    """A layer is exchanged after the optimiser, or the trainer, was made."""
    made = network_of(world, network)
    made_optimizer = OPTIMIZERS[optimizer](made)
    trainer = minicnn.Trainer(made, minicnn.CrossEntropyLoss(), made_optimizer, fuse=fused, quiet=True)
    x, labels = batch_of(world)
    if when:
        trainer.step(x, labels)
    layers = {
        "fc": {
            "larger": lambda: minicnn.Linear(made["fc"].in_features, 700),
            "same": lambda: minicnn.Linear(made["fc"].in_features, 3),
            "without bias": lambda: minicnn.Linear(made["fc"].in_features, 3, bias=False),
            "smaller": lambda: minicnn.Linear(made["fc"].in_features, 2),
        },
        "conv1": {
            "larger": lambda: minicnn.Conv2d(2, 40, 3, padding=1),
            "same": lambda: minicnn.Conv2d(2, made["conv1"].out_channels, made["conv1"].kernel_size, padding=1),
            "without bias": lambda: minicnn.Conv2d(
                2, made["conv1"].out_channels, made["conv1"].kernel_size, bias=False
            ),
            "smaller": lambda: minicnn.Conv2d(2, made["conv1"].out_channels, 1),
        },
    }
    made.children[name] = filled(world, layers[name][how]())
    labels = np.minimum(labels, 1)
    found = {"loss": world.do(lambda: trainer.step(x, labels), made, made_optimizer)}
    return found | numbers_of(made, made_optimizer)


def moved(world, network, optimizer, fused, back):
    """The network takes another dtype after the optimiser, or the trainer, was made. The judge stays at float64."""
    made = network_of(world, network)
    made_optimizer = OPTIMIZERS[optimizer](made)
    trainer = minicnn.Trainer(made, minicnn.CrossEntropyLoss(), made_optimizer, fuse=fused, quiet=True)
    x, labels = batch_of(world)
    trainer.step(x, labels)
    other = np.dtype(np.float64) if world.dtype == np.float32 else np.dtype(np.float32)
    if world.hostile:
        made.to(dtype=other)
        x = x.astype(other)
        if back:
            made.to(dtype=world.dtype)
            x = x.astype(world.dtype)
    found = {"loss": world.do(lambda: trainer.step(x, labels), made, made_optimizer)}
    return found | numbers_of(made, made_optimizer)


def copied(world, network, how, optimizer, fused, when):
    """A copy goes on as the original does."""
    made = network_of(world, network)
    run = SimpleNamespace(network=made, optimizer=OPTIMIZERS[optimizer](made), loss=minicnn.CrossEntropyLoss())
    run.loss.to(world.backend)
    x, labels = batch_of(world)

    def one_step(run):
        computed = minicnn.fuse(run.network) if fused else run.network
        loss = run.loss.forward(computed.forward(x), labels)
        computed.backward(run.loss.backward())
        run.optimizer.step()
        return loss

    one_step(run)
    if when == "between forward and backward":
        run.loss.forward(run.network.forward(x), labels)
    if world.hostile:
        ways = {"deepcopy": copy.deepcopy, "pickle": lambda value: pickle.loads(pickle.dumps(value))}
        run = ways[how](run)
    if when == "between forward and backward":
        run.network.backward(run.loss.backward())
        run.optimizer.step()
    return {"loss": one_step(run)} | numbers_of(run.network, run.optimizer)


def layer_copied(world, layer, how, when):
    made = layer_of(world, layer)
    x = world.draw(*LAYERS[layer][1])
    ways = {
        "copy": copy.copy,
        "deepcopy": copy.deepcopy,
        "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    }
    if when == "before forward":
        made = ways[how](made) if world.hostile else made
        return one_pass(world, made, x)
    y = made.forward(x)
    made = ways[how](made) if world.hostile else made
    return {"y": y, "dx": made.backward(dy_like(world, y)), **made.grads}


def operation(world, name, position, images):
    """An operation of the backend itself, called with one odd argument."""
    if images:
        made = test_contract.examples_with_images(world.ops, world.dtype)
        arguments = list(made[sorted(made)[name % len(made)]]())
        name = sorted(made)[name % len(made)]
    else:
        made = test_contract.example_calls(world.ops, world.dtype)
        name = sorted(made)[name % len(made)]
        arguments = list(made[name])
    if name in ONE_OF:
        return _operation_on_lists(world, name, arguments, position)
    arrays = [at for at, value in enumerate(arguments) if isinstance(value, np.ndarray | Images)]
    if not arrays:
        arrays = [0]
    at = arrays[position % len(arrays)]
    if isinstance(arguments[at], Images):
        arguments[at] = arguments[at].like(world.twisted(arguments[at].data))
    elif isinstance(arguments[at], np.ndarray):
        integers = arguments[at].dtype.kind in "iu"
        arguments[at] = world.twisted(arguments[at], integers)
    before = [as_bytes(value) for value in arguments]
    changed = test_contract.CHANGED.get(name, 0)
    try:
        result = getattr(world.ops, name)(*arguments)
    except Exception as error:
        if [as_bytes(value) for value in arguments] != before:
            raise AssertionError(f"{name} changed its arguments before it raised {error!r}") from error
        raise
    if name in test_contract.OPAQUE:
        result = _seen_through(world, name, result)
    return {"result": [result, *arguments[:changed]]}


def _operation_on_lists(world, name, arguments, position):
    """With one odd array in one of its lists."""
    lists = [list(arrays) for arrays in arguments[: LISTS[name]]]
    odd = lists[position % len(lists)]
    odd[position // len(lists) % len(odd)] = world.twisted(odd[position // len(lists) % len(odd)])
    before = [as_bytes(array) for arrays in lists for array in arrays]
    try:
        getattr(world.ops, name)(*lists, *arguments[len(lists) :])
    except Exception as error:
        if [as_bytes(array) for arrays in lists for array in arrays] != before:
            raise AssertionError(f"{name} changed its arguments before it raised {error!r}") from error
        raise
    return {"result": [array for arrays in lists[: test_contract.CHANGED[name]] for array in arrays]}


def _seen_through(world, name, result):
    if name == "fused_conv_forward":
        return world.ops.fused_output(result)
    if name == "fused_max":
        return result[0]
