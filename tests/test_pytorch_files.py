"""load_weights from the files of torch.save: the same numbers, nothing run, and a network that stays as it was."""

import os
import sys
import zipfile

import numpy as np
import pytest

import minicnn
from tests.runs import bits, small_network

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])


def torch_network():
    import torch
    from torch import nn

    layers = {"conv": nn.Conv2d(1, 4, 3, padding=1), "bn": nn.BatchNorm2d(4), "fc": nn.Linear(12, 3)}
    module = nn.ModuleDict(layers)
    module["bn"](torch.randn(2, 4, 3, 3))  # moves the statistics
    return module


def save(content, path, zipped=True):
    import torch

    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def refused(path, message, error=ValueError):
    """The file is refused with this message, which names it, and the network keeps its bits."""
    network = small_network()
    before = bits(network)
    with pytest.raises(error, match=message) as caught:
        minicnn.load_weights(network, path)
    assert str(path) in str(caught.value)
    assert bits(network) == before


@pytest.mark.torch
@FORMATS
@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w"])
def test_a_state_dict_is_read_bit_for_bit(tmp_path, zipped, name):
    module = torch_network()
    network = small_network()
    minicnn.load_weights(network, save(module.state_dict(), tmp_path / name, zipped))
    state = module.state_dict()
    assert network.state_dict().keys() == state.keys()
    for key, array in network.state_dict().items():
        np.testing.assert_array_equal(array, state[key].numpy(), strict=True)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["bfloat16", "float16", "float64"])
def test_other_floats_are_read_as_pytorch_converts_them(tmp_path, name):
    import torch

    module = torch_network().to(getattr(torch, name))
    network = small_network()
    minicnn.load_weights(network, save(module.state_dict(), tmp_path / "w.pt"))
    for key, tensor in module.float().state_dict().items():
        np.testing.assert_array_equal(network.state_dict()[key], tensor.numpy(), strict=True)


@pytest.mark.torch
def test_parameters_and_views_are_read(tmp_path):
    """What asks for gradients, and what lies across its memory."""
    import torch

    weights = dict(torch_network().named_parameters()) | {
        name: buffer for name, buffer in torch_network().named_buffers() if "batches" not in name
    }
    weights["conv.weight"] = torch.randn(3, 3, 1, 4).permute(3, 2, 1, 0)
    network = small_network()
    minicnn.load_weights(network, save(weights, tmp_path / "w.pt"))
    np.testing.assert_array_equal(network["conv"].params["weight"], weights["conv.weight"].numpy())
    np.testing.assert_array_equal(network["fc"].params["bias"], weights["fc.bias"].detach().numpy())


def test_a_safetensors_file_of_such_a_name_is_read_as_what_it_is(tmp_path):
    minicnn.save_weights(small_network(1), tmp_path / "w.pt")
    network = small_network(0)
    minicnn.load_weights(network, tmp_path / "w.pt")
    assert bits(network) == bits(small_network(1))


class Canary:
    """To unpickle it is to make a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.torch
@FORMATS
def test_nothing_in_a_file_is_run(tmp_path, zipped):
    path = save({"conv.weight": Canary(tmp_path / "sang")}, tmp_path / "w.pt", zipped)
    refused(path, r"expected a state dict, got .*to read it would be to run it\. Save the weights alone, torch\.save\(")
    assert not (tmp_path / "sang").exists()


@pytest.mark.torch
@FORMATS
def test_a_whole_module_is_refused_by_its_class(tmp_path, zipped):
    path = save(torch_network(), tmp_path / "w.pt", zipped)
    refused(
        path, r"got a file of objects of torch\.nn\.modules\.container\.ModuleDict; .*model\.state_dict\(\), path\)$"
    )


@pytest.mark.torch
def test_what_holds_no_state_dict_is_refused_by_what_it_holds(tmp_path):
    import torch

    state = torch_network().state_dict()
    checkpoint = {"epoch": 3, "model": state, "lr": 0.1}
    path = save(checkpoint, tmp_path / "w.pt")
    refused(
        path,
        r"got a dict with 'epoch' \(int\), 'model' \(OrderedDict\), 'lr' \(float\); .*save\(checkpoint\['model'\], p",
    )
    refused(save([1, 2], path), r"expected a state dict, got list; torch\.save\(model\.state_dict\(\)")
    refused(save({}, path), "got an empty dict")
    refused(save(torch.zeros(2), path), r"got Tensor of torch\.float32, shape torch\.Size\(\[2\]\)")
    refused(save(state | {7: torch.zeros(2)}, path), "got a dict with 7 ")
    refused(
        save({f"module.{name}": tensor for name, tensor in state.items()}, path), "missing conv.weight; .*unexpected"
    )
    refused(save(state | {"fc.weight": torch.zeros(5, 2)}, path), r"fc\.weight: expected shape \(3, 12\), got \(5, 2\)")
    refused(
        save(state | {"fc.bias": torch.zeros(3, dtype=torch.int32)}, path), r"fc\.bias: expected float32, got int32"
    )
    refused(save(state | {"fc.bias": torch.full((3,), torch.nan)}, path), r"got NaN or infinity in fc\.bias")
    refused(
        save(state | {"fc.bias": torch.full((3,), 1e300, dtype=torch.float64)}, path), r"fc\.bias: has numbers too la"
    )


@pytest.mark.torch
def test_tensors_that_are_no_arrays_are_refused_by_name(tmp_path):
    import torch

    state, path = torch_network().state_dict(), tmp_path / "w.pt"
    for tensor in (
        torch.eye(3, 12).to_sparse(),
        torch.zeros(3, 12, device="meta"),
    ):
        refused(
            save(state | {"fc.weight": tensor}, path),
            r"fc\.weight: expected a tensor that NumPy can hold, got Tensor of",
        )
    imaginary = torch.zeros(3, 12, dtype=torch.complex64)
    refused(save(state | {"fc.weight": imaginary}, path), r"fc\.weight: expected float32, got complex64")
    endless = torch.zeros(1).expand(2**31, 2**31)
    refused(
        save(state | {"fc.weight": endless}, path), r"fc\.weight: expected a tensor that holds all its numbers, got"
    )


@pytest.mark.torch
@FORMATS
def test_a_file_cut_off_anywhere_is_refused(tmp_path, zipped):
    whole = save(torch_network().state_dict(), tmp_path / "whole", zipped).read_bytes()
    path = tmp_path / "w.pt"
    for length in [*range(0, 16, 5), *np.linspace(16, len(whole) - 1, 20).astype(int)]:
        path.write_bytes(whole[:length])
        refused(path, "expected a (safetensors file|file of torch.save|state dict), got")


@pytest.mark.torch
def test_a_changed_bit_of_a_zip_file_never_counts_as_a_weight(tmp_path):
    """Its records have checksums: either the bit belongs to no number, or the file is refused."""
    module = torch_network()
    whole = save(module.state_dict(), tmp_path / "whole").read_bytes()
    path, rng = tmp_path / "w.pt", np.random.default_rng(0)
    refusals = intact = 0
    expected = {name: tensor.numpy().tobytes() for name, tensor in module.state_dict().items()}
    for position in rng.integers(0, len(whole), 100):
        changed = bytearray(whole)
        changed[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        network = small_network()
        before = bits(network)
        try:
            minicnn.load_weights(network, path)
        except ValueError as error:
            refusals += f"{path}: " in str(error) and bits(network) == before
        else:
            intact += bits(network) == expected
    assert refusals > 10
    assert refusals + intact == 100


@pytest.mark.torch
def test_a_record_that_unpacks_to_more_than_the_file_is_refused(tmp_path):
    import torch

    whole = save({"conv.weight": torch.zeros(2**20)}, tmp_path / "whole")
    path = tmp_path / "w.pt"
    with zipfile.ZipFile(whole) as stored, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    refused(path, "expected records that are stored as they are, got packed ones")


@pytest.mark.torch
def test_a_pytorch_that_may_run_a_file_is_not_asked(tmp_path, monkeypatch):
    path = save(torch_network().state_dict(), tmp_path / "w.pt")
    monkeypatch.setattr("torch.__version__", "2.5.1+cpu")
    refused(
        path, r"expected PyTorch 2\.6 or newer, .*CVE-2025-32434.*got 2\.5\.1\+cpu; pip install --upgr", ImportError
    )


@pytest.mark.quick
def test_without_pytorch_the_remedy_is_named(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as file:
        file.writestr("archive/data.pkl", b"")
    monkeypatch.setitem(sys.modules, "torch", None)
    refused(tmp_path / "w.pt", r"needs PyTorch, which cannot be imported .*; pip install torch", ImportError)


def test_bad_paths(tmp_path):
    refused(tmp_path / "nowhere.pt", "no file", FileNotFoundError)
    refused(tmp_path, "expected a file, got a pipe, a device or a folder")
