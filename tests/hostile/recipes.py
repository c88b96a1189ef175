"""The recipes: every place with its choices, as hypothesis draws them."""

from hypothesis import strategies as st

from minicnn.backends.protocol import OPERATIONS
from tests import test_contract
from tests.hostile import places
from tests.hostile.world import LAYERS, NETWORKS, ON_IMAGES, OPTIMIZERS
from tests.twists import OF_FEW_NUMBERS, TWISTS

some = st.sampled_from
yes_no = st.booleans()
any_twist = some(sorted(TWISTS))
# Of what was computed, the last bits are rounding, and an object that reads them as other numbers is no fair one.
no_ties = some(sorted(set(TWISTS) - set(OF_FEW_NUMBERS) - {"with an interface of another type"}))
with_weights = [name for name in LAYERS if LAYERS[name][0]().params]
ODD_NUMBERS = (0, -1, 2, 3, 7, 2.5, None, "3", (1,), (2, 3), (0, 0), (3, 3, 3), (1, None), True)
ATTRIBUTES = {
    "Conv2d": ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"),
    "Conv2d of many channels": ("in_channels", "out_channels", "kernel_size", "stride", "padding"),
    "BatchNorm2d": ("num_features", "eps", "momentum"),
    "Linear": ("in_features", "out_features"),
    "MaxPool2d": ("kernel_size", "stride", "padding", "ceil_mode"),
    "AvgPool2d": ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    "AdaptiveMaxPool2d": ("output_size", "makes_one_size"),
    "AdaptiveAvgPool2d": ("output_size", "makes_one_size"),
}
KINDS = (
    "changed",
    "changed",
    "changed",
    "none",
    "its first argument",
    "a part of its first argument",
    "the same object each time",
    "a tuple",
    "a list",
    "one too few",
    "argmax out of range",
)
REACHED_BY_A_NETWORK = sorted(
    name
    for name in OPERATIONS
    if not name.startswith(("fused_", "foreach_")) and name not in test_contract.NOT_AN_ARRAY_OPERATION
)
SLOTS = ("param", "grad", "first slot", "last slot", "other slot")

PLACES = {
    "layer input": (places.layer_input, {"layer": some(sorted(LAYERS)), "training": yes_no}),
    "layer predict": (places.layer_predict, {"layer": some(sorted(LAYERS))}),
    "layer dy": (places.layer_dy, {"layer": some(sorted(LAYERS)), "training": yes_no}),
    "layer param": (
        places.layer_param,
        {"layer": some(with_weights), "key": some(["weight", "bias"]), "between": yes_no, "need_dx": yes_no},
    ),
    "layer state": (
        places.layer_state,
        {"key": some(["running_mean", "running_var", "num_batches_tracked"]), "training": yes_no},
    ),
    "layer images": (
        places.layer_images,
        {"layer": some(ON_IMAGES), "what": some(["one image", "data of", "data of like", "list", "dy"])},
    ),
    "layer changed": (
        places.layer_changed,
        some(sorted(ATTRIBUTES)).flatmap(
            lambda layer: st.fixed_dictionaries(
                {"layer": st.just(layer), "attribute": some(ATTRIBUTES[layer]), "value": some(ODD_NUMBERS)}
            )
        ),
    ),
    "resized": (
        places.resized,
        {
            "layer": some(sorted(LAYERS)),
            "which": some(["x", "y"]),
            "size": some([(1,), (2, 2), (50, 50), (1, 1, 1, 1), (0,), (2, 3, 9, 9)]),
        },
    ),
    "network param": (
        places.network_param,
        {"network": some(NETWORKS), "key": st.integers(0, 5), "fused": yes_no, "predict": yes_no},
    ),
    "network state": (
        places.network_state,
        {"key": some(["running_mean", "running_var", "num_batches_tracked"]), "fused": yes_no, "training": yes_no},
    ),
    "network input": (
        places.network_input,
        {"network": some(["block", "two blocks"]), "fused": yes_no, "images": yes_no, "predict": yes_no},
    ),
    "network dy": (places.network_dy, {"network": some(NETWORKS), "fused": yes_no, "need_dx": yes_no}),
    "step": (
        places.step,
        {
            "optimizer": some(sorted(OPTIMIZERS)),
            "network": some(NETWORKS),
            "what": some(["grad", "param", "slot"]),
            "key": st.integers(0, 5),
            "clip": yes_no,
            "slot": st.integers(0, 1),
        },
    ),
    "large gradient": (places.large_gradient, {"bias": yes_no}),
    "aliased": (places.aliased, {"optimizer": some(sorted(OPTIMIZERS)), "first": some(SLOTS), "second": some(SLOTS)}),
    "shared weight": (places.shared_weight, {"view": yes_no}),
    "own operation": (
        places.own_operation,
        {
            "network": some(NETWORKS),
            "name": some(REACHED_BY_A_NETWORK),
            "member": st.integers(0, 2),
            "kind": some(KINDS),
        },
    ),
    "loss argument": (
        places.loss_argument,
        {
            "loss": some(["NLLLoss", "CrossEntropyLoss"]),
            "which": some(["output", "target", "weight", "weight later"]),
            "smoothing": yes_no,
        },
    ),
    "loss dy": (places.loss_dy, {"loss": st.just(None)}),
    "loaded": (
        places.loaded,
        {"network": some(NETWORKS), "key": st.integers(0, 20), "what": some(["network", "optimizer"])},
    ),
    "trained": (
        places.trained,
        {
            "network": some(NETWORKS),
            "fused": yes_no,
            "clip": yes_no,
            "optimizer": some(sorted(OPTIMIZERS)),
            "which": some(["x", "labels"]),
        },
    ),
    "replaced": (
        places.replaced,
        {
            "network": some(NETWORKS),
            "optimizer": some(sorted(OPTIMIZERS)),
            "name": some(["fc", "conv1"]),
            "how": some(["larger", "same", "without bias", "smaller"]),
            "fused": yes_no,
            "when": yes_no,
        },
    ),
    "moved": (
        places.moved,
        {"network": some(NETWORKS), "optimizer": some(sorted(OPTIMIZERS)), "fused": yes_no, "back": yes_no},
    ),
    "copied": (
        places.copied,
        {
            "network": some(NETWORKS),
            "how": some(["deepcopy", "pickle"]),
            "optimizer": some(sorted(OPTIMIZERS)),
            "fused": yes_no,
            "when": some(["between steps", "between forward and backward"]),
        },
    ),
    "layer copied": (
        places.layer_copied,
        {
            "layer": some(sorted(LAYERS)),
            "how": some(["copy", "deepcopy", "pickle"]),
            "when": some(["before forward", "before backward"]),
        },
    ),
    "operation": (places.operation, {"name": st.integers(0, 100), "position": st.integers(0, 5), "images": yes_no}),
}
NOT_TWISTED = {"layer changed", "resized", "aliased", "shared weight", "replaced", "moved", "copied", "layer copied"}
# Where maxima are taken of what was computed, an input whose numbers repeat makes ties that rounding decides.
WITHOUT_TIES = {"network input", "network param", "network state", "own operation", "trained", "loaded", "step"}


@st.composite
def recipes(draw):
    place = draw(some(sorted(PLACES)))
    choices = PLACES[place][1]
    choices = draw(choices if isinstance(choices, st.SearchStrategy) else st.fixed_dictionaries(choices))
    twist = "plain"
    if place not in NOT_TWISTED:
        twist = draw(no_ties if place in WITHOUT_TIES else any_twist)
    dtype = draw(some(["float32", "float32", "float64"]))
    return place, choices, twist, dtype, draw(st.integers(0, 2**16))
