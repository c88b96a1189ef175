"""Weights on disk: to PyTorch and back, and whole or not at all."""

import stat

import numpy as np
import pytest

import minicnn
from minicnn.io.safetensors import read_safetensors, write_safetensors
from minicnn.training.checkpoint import load_run

pytestmark = pytest.mark.quick


def test_weights_come_back_as_they_were(tmp_path):
    network, other = minicnn.SimpleNet(rng=0), minicnn.SimpleNet(rng=1)
    network.forward(np.random.default_rng(0).standard_normal((2, 3, 8, 8), np.float32))  # moves the statistics
    minicnn.save_weights(network, tmp_path / "w.safetensors")
    minicnn.load_weights(other, tmp_path / "w.safetensors")
    for name, array in network.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], array)
        assert other.state_dict()[name].dtype == array.dtype


@pytest.mark.torch
def test_pytorch_reads_our_file_and_we_read_its(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file
    from torch import nn

    def torch_network():
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))

    def our_network():
        return minicnn.Sequential(
            minicnn.Conv2d(3, 4, 3),
            minicnn.BatchNorm2d(4),
            minicnn.ReLU(),
            minicnn.Flatten(),
            minicnn.Linear(4 * 36, 2),
        )

    x = torch.randn(5, 3, 8, 8)
    theirs, ours = torch_network(), our_network()
    theirs(x)  # moves the statistics
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    minicnn.load_weights(ours, tmp_path / "theirs.safetensors")
    np.testing.assert_allclose(ours.predict(x.numpy()), theirs.eval()(x).detach().numpy(), rtol=1e-4, atol=1e-5)

    minicnn.save_weights(ours, tmp_path / "ours.safetensors")
    back = torch_network()
    back.load_state_dict(load_file(tmp_path / "ours.safetensors"), strict=True)
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor)
        assert back.state_dict()[name].dtype == tensor.dtype
        assert back.state_dict()[name].shape == tensor.shape


def test_a_transposed_array_is_stored_by_its_values(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    write_safetensors(tmp_path / "a", {"a": array, "scalar": np.array(3)})
    arrays, _ = read_safetensors(tmp_path / "a")
    np.testing.assert_array_equal(arrays["a"], array)
    assert arrays["scalar"].shape == ()


def test_a_failed_load_leaves_the_network_as_it_was(tmp_path):
    network = minicnn.SimpleNet(rng=0)
    before = network.state_dict()
    wrong = dict(before, extra=np.zeros(1, np.float32))
    del wrong["conv1.bias"]
    wrong["fc.weight"] = np.zeros((3, 3), np.float32)
    write_safetensors(tmp_path / "w", wrong)
    with pytest.raises(
        ValueError, match=r"fc.weight: expected shape \(10, 64\), got \(3, 3\); missing conv1.bias; unexp"
    ):
        minicnn.load_weights(network, tmp_path / "w")
    for name, array in network.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("content", [b"", b"not a safetensors file", b"\xff" * 100])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(ValueError, match=r"/w: expected a safetensors file"):
        minicnn.load_weights(minicnn.SimpleNet(), tmp_path / "w")


def test_a_truncated_file_is_named(tmp_path):
    minicnn.save_weights(minicnn.SimpleNet(), tmp_path / "w")
    content = (tmp_path / "w").read_bytes()
    (tmp_path / "w").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="expected a safetensors file"):
        minicnn.load_weights(minicnn.SimpleNet(), tmp_path / "w")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere"):
        minicnn.load_weights(minicnn.SimpleNet(), tmp_path / "nowhere")


def test_weights_are_no_run(tmp_path):
    minicnn.save_weights(minicnn.SimpleNet(), tmp_path / "w")
    with pytest.raises(ValueError, match="is read with load_weights"):
        load_run(tmp_path / "w")


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    minicnn.save_weights(minicnn.SimpleNet(rng=0), tmp_path / "w")
    old = (tmp_path / "w").read_bytes()

    def full_disk(_):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        minicnn.save_weights(minicnn.SimpleNet(rng=1), tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == old
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


def test_the_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "plain").touch()
    minicnn.save_weights(minicnn.SimpleNet(), tmp_path / "w")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "w")]
    assert modes[0] == modes[1]
