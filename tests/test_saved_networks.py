"""`minicnn.save` and `minicnn.load`: whole networks, the same bits in a process that knows no class, and bad files."""

import json
import subprocess
import sys

import numpy as np
import pytest

import minicnn
from minicnn.io.safetensors import read_safetensors, write_safetensors
from tests.own_layers import Backwards, Nameless, Scaled, TwiceNet
from tests.runs import bits, small_network, small_run, trained_simple_net


def every_layer():
    """A network in which each of minicnn's layers has settings that are not the usual ones."""
    return minicnn.Sequential(
        minicnn.Conv2d(3, 8, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 1), rng=0),
        minicnn.BatchNorm2d(8, eps=1e-3, momentum=0.3),
        minicnn.ReLU(),
        minicnn.Conv2d(8, 8, 3, padding="same", groups=4, bias=False, rng=1),
        minicnn.MaxPool2d((2, 1), stride=1, padding=(1, 0), ceil_mode=True),
        minicnn.Sequential(inner=minicnn.AvgPool2d(2, ceil_mode=True, count_include_pad=False, divisor_override=3)),
        minicnn.AdaptiveAvgPool2d((None, 4)),
        minicnn.AdaptiveMaxPool2d((2, 3)),
        minicnn.Flatten(),
        minicnn.Linear(48, 5, bias=False, rng=2),
        minicnn.LogSoftmax(),
    )


NETWORKS = {
    "every layer": every_layer,
    "SimpleNet": lambda: trained_simple_net((1, 1)),
    "SimpleNet itself": lambda: minicnn.SimpleNet(7, 3, rng=0),
    "float64": lambda: minicnn.SimpleNet(7, 3, rng=0).to(dtype=np.float64),
    "no weights": lambda: minicnn.Sequential(pool=minicnn.MaxPool2d(2)),
}


def image(network):
    dtypes = [layer.params[key].dtype for _, layer, key in network.named_params()] or [np.float32]
    return np.random.default_rng(0).standard_normal((2, 3, 17, 14)).astype(dtypes[0])


@pytest.mark.quick
@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_the_same_network(name, tmp_path):
    network = NETWORKS[name]()
    minicnn.save(network, tmp_path / "net")
    again = minicnn.load(tmp_path / "net")
    assert repr(again) == repr(network)
    assert type(again) is type(network)
    assert bits(again) == bits(network)
    np.testing.assert_array_equal(again.predict(image(network)), network.predict(image(network)))


def test_it_trains_on_to_the_same_bits(tmp_path):
    trainer, train, _ = small_run()
    trainer.fit(train)
    minicnn.save(trainer.network, tmp_path / "net")
    networks = []
    for network in (trainer.network, minicnn.load(tmp_path / "net")):
        _, train, _ = small_run()
        minicnn.Trainer(network, minicnn.NLLLoss(), minicnn.Adam(network, lr=0.01), quiet=True).fit(train)
        networks.append(bits(network))
    assert networks[0] == networks[1]


def test_a_new_process_that_knows_no_class_gives_the_same_bits(tmp_path):
    network = TwiceNet()
    minicnn.save(network, tmp_path / "net")
    x = np.random.default_rng(0).standard_normal((3, 1, 2, 2), np.float32)
    code = (
        "import sys, numpy as np, minicnn\n"
        f"network = minicnn.load({str(tmp_path / 'net')!r})\n"
        "assert 'tests.own_layers' not in sys.modules\n"
        f"x = np.random.default_rng(0).standard_normal((3, 1, 2, 2), np.float32)\n"
        "print(network.predict(x).tobytes().hex())"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == network.predict(x).tobytes().hex()


def test_frozen_layers_are_frozen_again(tmp_path):
    network = minicnn.Sequential(body=small_network(), fc=minicnn.Linear(3, 2, rng=0))
    minicnn.freeze(network, "body.conv", "body.bn")
    minicnn.save(network, tmp_path / "net")
    again = minicnn.load(tmp_path / "net")
    modes = {name: layer.training for name, layer in again.named_layers()}
    assert modes == {name: layer.training for name, layer in network.named_layers()}
    assert [name for name, mode in modes.items() if not mode] == ["body.conv", "body.bn"]
    assert again.training

    before = bits(again)  # and so statistics stay where training goes on
    optimizer = minicnn.Adam(minicnn.freeze(again, "body.conv", "body.bn"))
    minicnn.Trainer(again, minicnn.CrossEntropyLoss(), optimizer, quiet=True).step(
        np.random.default_rng(0).standard_normal((4, 1, 6, 6)).astype(np.float32), np.array([0, 1, 0, 1])
    )
    after = bits(again)
    assert {name for name in after if after[name] != before[name]} == {
        "body.fc.weight",
        "body.fc.bias",
        "fc.weight",
        "fc.bias",
    }


def test_a_network_in_evaluation_mode_is_loaded_as_a_new_one(tmp_path):
    minicnn.save(small_network().eval(), tmp_path / "net")
    again = minicnn.load(tmp_path / "net")
    assert again.training
    assert all(layer.training for _, layer in again.named_layers())


def test_the_same_network_makes_the_same_bytes(tmp_path):
    for name in ("first", "second"):
        minicnn.save(small_network(), tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_layers_of_ones_own_only_if_the_user_says_so_on_both_sides(tmp_path):
    network = minicnn.Sequential(scaled=Scaled(3), flat=minicnn.Flatten())
    with pytest.raises(TypeError, match="scaled is a Scaled, a layer of your own; with own_layers=True"):
        minicnn.save(network, tmp_path / "net")
    assert not (tmp_path / "net").exists()
    minicnn.save(network, tmp_path / "net", own_layers=True)
    with pytest.raises(ValueError, match=r"scaled is tests.own_layers:Scaled, .* own_layers=True imports it"):
        minicnn.load(tmp_path / "net")
    again = minicnn.load(tmp_path / "net", own_layers=True)
    assert type(again["scaled"]) is Scaled
    assert again["scaled"].factor == 3


class Local(Scaled):
    pass


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (minicnn.Linear(2, 1, rng=0), "expected a network, got Linear"),
        (minicnn.Sequential(a=Nameless(2)), "a is a Nameless without attributes strength"),
        (
            minicnn.Sequential(a=minicnn.Sequential(b=Backwards(minicnn.ReLU()))),
            "a.b is a Backwards, which computes in",
        ),
        (minicnn.Sequential(a=minicnn.ReLU().use(relu_forward=abs)), "computes with functions of your own"),
        (minicnn.fuse(small_network()), "the one that it was made from"),
        (minicnn.Sequential(a=Scaled(object())), "not JSON serializable"),
    ],
)
def test_what_a_file_cannot_hold_is_said(tmp_path, network, message):
    with pytest.raises(TypeError, match=message):
        minicnn.save(network, tmp_path / "net", own_layers=True)
    assert not (tmp_path / "net").exists()


def test_a_class_that_cannot_be_imported_is_said(tmp_path):
    class Hidden(Scaled):
        pass

    with pytest.raises(TypeError, match="in a module that can be imported"):
        minicnn.save(minicnn.Sequential(a=Hidden(2)), tmp_path / "net", own_layers=True)


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    network = small_network()
    network["fc"].params["bias"][1] = np.nan
    with pytest.raises(ValueError, match=r"NaN or infinity in fc.bias"):
        minicnn.save(network, tmp_path / "net")


def test_other_files_are_named(tmp_path):
    minicnn.save_weights(small_network(), tmp_path / "weights")
    trainer, _, _ = small_run()
    trainer.save(tmp_path / "run")
    simple = minicnn.SimpleNet(2, 1, rng=0)
    minicnn.Classifier(simple, ["a", "b"], [0.5], [0.5]).save(tmp_path / "classifier")
    for name, reader in (("weights", "load_weights"), ("run", "Trainer.load"), ("classifier", "Classifier.load")):
        with pytest.raises(ValueError, match=f"{name}: expected a network that minicnn.save wrote, .*{reader}"):
            minicnn.load(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no file"):
        minicnn.load(tmp_path / "nothing")


def rewritten(path, change):
    """The file with its description changed, and a digest that fits."""
    arrays, metadata = read_safetensors(path)
    description = json.loads(metadata["network"])
    changed = change(description)
    metadata["network"] = json.dumps(description if changed is None else changed)
    write_safetensors(path, arrays, metadata)


def settings(layer, **changed):
    def change(description):
        description["children"][layer]["settings"] |= changed

    return change


def without(layer, name):
    def change(description):
        del description["children"][layer]["settings"][name]

    return change


def of_class(layer, name):
    def change(description):
        description["children"][layer]["class"] = name

    return change


def deep(description):
    for _ in range(400):
        description = {"class": "Sequential", "children": {"a": description}}
    return description


DAMAGES = [
    lambda _: [],
    lambda _: 3,
    lambda _: {"class": "Sequential"},
    lambda _: {"class": "Sequential", "children": {}},
    lambda _: {"class": "Sequential", "children": 3},
    lambda _: {"class": "Sequential", "children": {"a.b": {"class": "ReLU", "settings": {}}}},
    lambda _: {"class": "ReLU", "settings": {}},
    lambda _: {"class": ["Sequential"], "children": {}},
    lambda description: description["children"].pop("fc") and None,
    lambda description: (
        description["children"].update(more=description["children"]["relu"]) or of_class("more", 3)(description)
    ),
    deep,
    of_class("conv", "Linear"),
    of_class("conv", "Conv3d"),
    of_class("conv", None),
    of_class("conv", "os:system"),
    of_class("conv", "Sequential"),
    of_class("relu", "tests.own_layers:table"),
    of_class("pool", "AdaptiveMaxPool3d"),
    without("conv", "stride"),
    without("bn", "eps"),
    settings("relu", slope=1),
    settings("conv", rng=3),
    settings("conv", in_channels=2),
    settings("conv", in_channels=-1),
    settings("conv", in_channels=True),
    settings("conv", in_channels="1"),
    settings("conv", in_channels=[1]),
    settings("conv", out_channels=2**40),
    settings("conv", out_channels=2**70),
    settings("conv", kernel_size=[3]),
    settings("conv", kernel_size=[1, 9]),
    settings("conv", kernel_size=None),
    settings("conv", kernel_size=[2**40, 2**40]),
    settings("conv", stride=0),
    settings("conv", padding="some"),
    settings("conv", groups=0),
    settings("conv", groups=3),
    settings("conv", bias=False),
    settings("conv", dilation=-1),
    settings("bn", num_features=5),
    settings("bn", num_features=10**12),
    settings("bn", eps=-1),
    settings("bn", eps=None),
    settings("bn", momentum=7),
    settings("pool", output_size=[1, 2, 3]),
    settings("pool", output_size=0),
    settings("pool", output_size="1"),
    settings("fc", in_features=11),
    settings("fc", out_features=10**9),
    settings("fc", in_features=3, out_features=12),
    settings("fc", bias=False),
    settings("fc", out_features=3.0),
    lambda description: description.update(frozen="conv"),
    lambda description: description.update(frozen=["conv4"]),
    lambda description: description.update(frozen=[["conv"]]),
    lambda description: description.update(frozen=None),
]


@pytest.mark.parametrize("number", range(len(DAMAGES)))
def test_a_damaged_description_is_refused(tmp_path, number):
    path = tmp_path / "net"
    minicnn.save(small_network(), path)
    rewritten(path, DAMAGES[number])
    with pytest.raises(ValueError, match="net: "):
        minicnn.load(path)


def test_a_changed_bit_and_a_cut_are_refused(tmp_path):
    path = tmp_path / "net"
    minicnn.save(small_network(), path)
    whole = path.read_bytes()
    for position in range(0, len(whole), len(whole) // 40):
        path.write_bytes(whole[:position])
        with pytest.raises(ValueError, match="net: "):
            minicnn.load(path)
        changed = bytearray(whole)
        changed[position] ^= 4
        path.write_bytes(changed)
        with pytest.raises(ValueError, match="net: "):
            minicnn.load(path)


def test_a_newer_version_is_named(tmp_path):
    path = tmp_path / "net"
    minicnn.save(small_network(), path)
    arrays, metadata = read_safetensors(path)
    write_safetensors(path, arrays, metadata | {"format": "minicnn network 2"})
    with pytest.raises(ValueError, match="by a newer version"):
        minicnn.load(path)
