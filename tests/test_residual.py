"""Residual: two ways of one input, added up; and the operation `add` by which it does so."""

import copy

import numpy as np
import pytest

import minicnn
from minicnn import BatchNorm2d, Conv2d, Flatten, Images, Linear, ReLU, Residual, Sequential
from minicnn.inspect.passes import run_backward, run_forward
from minicnn.inspect.reports import report_of
from minicnn.training.once import what_is_fused
from minicnn.verify.isolate import flattened
from tests import checks, naive

SIZES = ((6, 5), (3, 8), (4, 4))


def block(channels, filters, stride=1, seed=0):
    """As in a ResNet, He et al. (2015)."""
    shortcut = None
    if stride > 1 or channels != filters:
        shortcut = Sequential(conv=Conv2d(channels, filters, 1, stride, rng=seed + 2), bn=BatchNorm2d(filters))
    return Residual(
        conv1=Conv2d(channels, filters, 3, stride, 1, rng=seed),
        bn1=BatchNorm2d(filters),
        relu=ReLU(),
        conv2=Conv2d(filters, filters, 3, 1, 1, rng=seed + 1),
        bn2=BatchNorm2d(filters),
        shortcut=shortcut,
    )


def network():
    return Sequential(
        stem=Conv2d(3, 4, 3, padding=1, rng=9),
        first=block(4, 4),
        relu1=ReLU(),
        second=Sequential(down=block(4, 6, 2, seed=3), relu=ReLU()),
        pool=minicnn.AdaptiveAvgPool2d(1),
        flatten=Flatten(),
        head=Residual(Linear(6, 6, rng=7), ReLU(), Residual(Linear(6, 6, rng=8))),
        fc=Linear(6, 3, rng=5),
        log_softmax=minicnn.LogSoftmax(),
    )


def images(n=4, height=6, width=7, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 3, height, width)).astype(dtype)


def mixed(dtype=np.float32, channels=3):
    rng = np.random.default_rng(1)
    return Images([rng.standard_normal((channels, *size)).astype(dtype) for size in SIZES])


def everything(net, x):
    """Output, dx, gradients and statistics of a training step's two passes."""
    y = net.forward(x)
    dy = np.random.default_rng(2).standard_normal(y.size).astype(y.dtype)
    dx = net.backward(y.like(dy) if isinstance(y, Images) else dy.reshape(y.shape))
    grads = {f"d {name}": layer.grads[key] for name, layer, key in net.named_params()}
    results = {"y": y, "dx": dx, **grads, **net.state_dict()}
    return {name: array.data if isinstance(array, Images) else array for name, array in results.items()}


@pytest.mark.quick
@pytest.mark.parametrize("dtype", checks.DTYPES)
@pytest.mark.parametrize("shape", [(1,), (2, 3), (2, 3, 4, 5), (2, 3, 60, 60)], ids=str)
@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_add_is_the_sum_of_each_two_numbers(backend, shape, dtype):
    rng = np.random.default_rng(0)
    x, other = rng.standard_normal((2, *shape)).astype(dtype)
    x.flat[0] = np.nan
    np.testing.assert_array_equal(minicnn.get_backend(backend).add(x, other), naive.add(x, other).astype(dtype))


def test_add_refuses_what_has_another_shape_or_dtype():
    cpu = minicnn.get_backend("cpu")
    with pytest.raises(ValueError, match="add: other"):
        cpu.add(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(TypeError, match="add: other"):
        cpu.add(np.zeros(3), np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="add: other"):
        cpu.add(mixed(), Images([image[:, ::-1].transpose(0, 2, 1) for image in mixed()]))


@pytest.mark.quick
def test_both_directions_by_hand():
    """y = x + 2x + 1 and a projection 5x: dx = 2 dy + 5 dy, and each way's weight sees the whole dy."""
    residual = Residual(Linear(1, 1), shortcut=Linear(1, 1, bias=False))
    residual["0"].params.update(weight=np.float32([[2]]), bias=np.float32([1]))
    residual["shortcut"].params["weight"] = np.float32([[5]])
    assert residual.forward(np.float32([[3]])) == 22
    assert residual.backward(np.float32([[10]])) == 70
    assert residual["0"].grads["weight"] == residual["shortcut"].grads["weight"] == 30


@pytest.mark.quick
@pytest.mark.parametrize("training", [True, False])
def test_backends_agree(training):
    found = everything(network().train(training), images())
    expected = everything(network().to("reference", np.float64).train(training), images(dtype=np.float64))
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_images_of_different_sizes_are_each_what_they_are_alone(backend):
    """Without batchnorm, which looks at all of them."""
    make = [lambda: Conv2d(3, 3, 3, padding=1, rng=0), ReLU, lambda: Conv2d(3, 5, 1, rng=1)]
    net = Residual(*[layer() for layer in make], shortcut=Conv2d(3, 5, 1, rng=2)).to(backend)
    x = mixed()
    y = net.forward(x)
    dy = y.like(np.random.default_rng(3).standard_normal(y.size).astype(np.float32))
    dx, weights = net.backward(dy), {name: layer.grads[key].copy() for name, layer, key in net.named_params()}
    total = dict.fromkeys(weights, 0)
    for n, image in enumerate(x):
        np.testing.assert_allclose(net.forward(image[None])[0], y[n], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(net.backward(dy[n][None])[0], dx[n], rtol=1e-5, atol=1e-5)
        total = {name: total[name] + layer.grads[key] for name, layer, key in net.named_params()}
    for name, gradient in weights.items():
        np.testing.assert_allclose(gradient, total[name], rtol=1e-4, atol=1e-4)


def test_mixed_sizes_give_the_same_on_both_backends():
    found, expected = (everything(block(3, 5, 2).to(backend), mixed()) for backend in ("cpu", "reference"))
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("x", [images(dtype=np.float64), mixed(np.float64)], ids=["equal", "mixed"])
@pytest.mark.parametrize("shortcut", [None, "projection"])
def test_gradients_are_those_of_difference_quotients(shortcut, x):
    net = block(3, 5, 2) if shortcut else block(3, 3)
    report = minicnn.gradcheck(net, x)
    assert report, report


def test_gradients_are_right_where_residuals_stand_in_each_other():
    report = minicnn.gradcheck(network(), images(3, 5, 5, np.float64), elements=8)
    assert report, report


@pytest.mark.parametrize("shortcut", [None, Conv2d(3, 3, 1, rng=0)])
def test_without_the_gradient_of_the_images_the_others_are_the_same(shortcut):
    net = Sequential(Residual(Conv2d(3, 3, 3, padding=1, rng=0), ReLU(), shortcut=shortcut))
    expected = everything(net, images())
    y = net.forward(images())
    dy = np.random.default_rng(2).standard_normal(y.size).astype(y.dtype).reshape(y.shape)
    assert net.backward(dy, need_dx=False) is None
    for name, layer, key in net.named_params():
        np.testing.assert_array_equal(layer.grads[key], expected[f"d {name}"])


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (
            Residual(Conv2d(3, 5, 3, 2, 1)),
            r"shape \(4, 3, 6, 7\).*\(4, 5, 3, 4\); pass shortcut=Conv2d\(3, 5, kernel_size=1, stride=2\)",
        ),
        (Residual(Conv2d(3, 5, 1)), r"pass shortcut=Conv2d\(3, 5, kernel_size=1, stride=1\)"),
        (Residual(Conv2d(3, 3, 3)), r"\(4, 3, 4, 5\); pass a shortcut .*, or give convolutions of kernel 3 padding=1"),
        (Residual(Flatten(), Linear(126, 2)), r"got shape \(4, 2\); pass a shortcut whose output"),
        (
            Residual(Conv2d(3, 5, 1), shortcut=Conv2d(3, 4, 1)),
            r"the shortcut's output, which is added to f\(x\): expected shape \(4, 5, 6, 7\), got shape \(4, 4, 6, 7\)",
        ),
    ],
)
def test_shapes_that_cannot_be_added_are_refused_with_the_remedy(net, expected):
    with pytest.raises(ValueError, match=rf"Residual: {expected}|Residual: .*{expected}"):
        net.forward(images())
    with pytest.raises(ValueError, match=r"Residual: "):
        net.predict(images())
    with pytest.raises(RuntimeError, match="Residual: backward needs a forward first"):
        net.backward(images())


def test_the_remedy_of_an_error_is_one():
    with pytest.raises(ValueError, match=r"pass shortcut=Linear\(6, 4\)"):
        Residual(Linear(6, 4)).forward(np.zeros((2, 6), np.float32))
    assert Residual(Linear(6, 4), shortcut=Linear(6, 4)).forward(np.zeros((2, 6), np.float32)).shape == (2, 4)
    with pytest.raises(ValueError, match=r"Images, 3 of 3 channels.*Conv2d\(3, 5, kernel_size=1, stride=2\)"):
        Residual(Conv2d(3, 5, 3, 2, 1)).forward(mixed())
    assert len(Residual(Conv2d(3, 5, 3, 2, 1), shortcut=Conv2d(3, 5, kernel_size=1, stride=2)).forward(mixed())) == 3


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Residual(), ValueError, "Residual: expected at least one layer beside the shortcut"),
        (lambda: Residual(shortcut=ReLU()), ValueError, "at least one layer beside the shortcut"),
        (lambda: Residual(3), TypeError, "expected a layer as '0', got int"),
        (lambda: Residual(ReLU(), shortcut=3), TypeError, "expected a layer as 'shortcut', got int"),
        (lambda: (lambda relu: Residual(relu, shortcut=relu))(ReLU()), ValueError, "same layer object stands in two"),
    ],
)
def test_what_it_cannot_be_made_of_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_batch_that_fails_leaves_the_statistics_alone():
    """Batchnorm of f has moved its statistics when the sum fails."""
    net = Residual(Conv2d(3, 5, 1, rng=0), BatchNorm2d(5))
    before = net.state_dict()
    with pytest.raises(ValueError, match="Residual"):
        net.forward(images())
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_nothing_is_kept_but_what_the_layers_keep():
    net = Residual(Linear(4, 4, rng=0))
    net.forward(np.ones((2, 4), np.float32))
    assert set(vars(net.memory)) == {"y_shape", "y_dtype"}


@pytest.mark.quick
def test_fused_blocks_within_compute_the_same():
    net = network()
    fused = minicnn.fuse(copy.deepcopy(net))
    assert isinstance(fused["first"], Residual)
    assert list(fused["first"].children) == ["conv1_to_relu", "conv2", "bn2"]
    assert isinstance(fused["second"]["down"], Residual)
    assert list(fused.state_dict()) == list(net.state_dict())
    expected, found = everything(net, images()), everything(fused, images())
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(fused.eval().predict(images()), net.eval().predict(images()), rtol=1e-4, atol=1e-5)


def test_a_run_says_what_it_fuses_within():
    assert "fused: first.conv1 to relu, second.down.conv1 to relu" in what_is_fused(minicnn.fuse(network()))


def trained(steps, checkpoint=None, resume=None):
    net = network()
    trainer = minicnn.Trainer(net, minicnn.NLLLoss(), minicnn.Adam(net, lr=0.01), quiet=True)
    if resume:
        trainer.load(resume)
    losses = [trainer.step(images(seed=step), [0, 1, 2, 0]) for step in steps]
    if checkpoint:
        trainer.save(checkpoint)
    return losses, net


def test_a_resumed_run_has_the_same_bits(tmp_path):
    whole, net = trained(range(6))
    trained(range(3), checkpoint=tmp_path / "run")
    rest, again = trained(range(3, 6), resume=tmp_path / "run")
    assert rest == whole[3:]
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], array)


def test_it_is_saved_and_loaded(tmp_path):
    net = network()
    net.forward(images())
    net["first"]["bn1"].eval()
    minicnn.save(net, tmp_path / "net.safetensors")
    again = minicnn.load(tmp_path / "net.safetensors")
    assert repr(again) == repr(net)
    assert isinstance(again["second"]["down"], Residual)
    assert not again["first"]["bn1"].training
    np.testing.assert_array_equal(again.predict(images()), net.predict(images()))

    class Named(Residual):
        """Computes as a Residual does."""

    minicnn.save(Sequential(a=Named(Linear(4, 4, rng=0))), tmp_path / "named.safetensors")
    loaded = minicnn.load(tmp_path / "named.safetensors")
    assert type(loaded["a"]) is Residual


def test_a_file_without_layers_of_f_is_refused(tmp_path):
    from minicnn.training.architecture import built

    description = {"class": "Residual", "children": {"shortcut": {"class": "ReLU", "settings": {}}}}
    with pytest.raises(ValueError, match="at least one layer beside the shortcut"):
        built(description, {})


def test_what_is_left_to_train_is_still_a_residual():
    net = network()
    trained = minicnn.freeze(net, "first.conv1", "second.down.shortcut", "head.2")
    assert isinstance(trained["first"], Residual)
    assert isinstance(trained["second"]["down"], Residual)
    assert "first.conv1.weight" not in trained.state_dict()
    assert not any("shortcut" in name or "head.2" in name for name in trained.state_dict())
    assert set(trained.state_dict()) <= set(net.state_dict())
    everything_left = minicnn.freeze(net)
    np.testing.assert_array_equal(everything_left.predict(images()), net.predict(images()))
    only_shortcut = minicnn.freeze(net, *(f"second.down.{name}" for name in ("conv1", "bn1", "relu", "conv2", "bn2")))
    assert "second.down.shortcut.conv.weight" in only_shortcut.state_dict()


def test_a_new_head_stands_behind_the_sums():
    net = network()
    assert minicnn.replace_head(net, 5, rng=0).predict(images()).shape == (4, 5)
    with pytest.raises(ValueError, match=r"replace_head: .*got 0 within it.*end the network with a Linear"):
        minicnn.replace_head(Sequential(a=Linear(3, 3), b=Residual(Sequential(Linear(3, 3)))), 5)


def test_weights_that_fit_are_taken_over(tmp_path):
    minicnn.save_weights(network(), tmp_path / "weights.safetensors")
    other = minicnn.replace_head(network(), 5, rng=0)
    loaded = minicnn.load_matching(other, tmp_path / "weights.safetensors")
    assert set(loaded.misshapen) == {"fc.weight", "fc.bias"}
    assert "second.down.shortcut.bn.running_var" in loaded.loaded


def test_operations_of_ones_own():
    calls = []

    def add(x, other):
        calls.append(x.shape)
        return x + other

    net = Sequential(a=Residual(Linear(4, 4, rng=0)), b=Linear(4, 2, rng=1))
    x = np.ones((3, 4), np.float32)
    expected = everything(net, x)
    found = everything(net.use(add=add), x)
    assert calls == [(3, 4), (3, 4)]
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-6, err_msg=name)
    minicnn.fuse(net).forward(x)
    assert len(calls) == 3
    net.use(add=lambda x, other: x[:1])
    with pytest.raises(ValueError, match="own add: y"):
        net.forward(x)


def test_it_compares_with_itself_and_finds_what_is_wrong():
    labels = [0, 1, 2, 0]
    assert minicnn.compare(network(), network().to("reference"), images(), labels)
    other = network()
    other["first"].children["relu"] = Wrong()
    report = minicnn.compare(other, network(), images(), labels)
    assert not report
    assert "first" in str(report)


class Wrong(ReLU):
    def backward(self, dy, need_dx=True):
        return dy


@pytest.mark.torch
@pytest.mark.parametrize("training", [True, False])
def test_pytorch_has_the_same_numbers(training):
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, channels, filters, stride):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(channels, filters, 3, stride, 1), nn.BatchNorm2d(filters)
            self.relu = nn.ReLU()
            self.conv2, self.bn2 = nn.Conv2d(filters, filters, 3, 1, 1), nn.BatchNorm2d(filters)
            shortcut = {"conv": nn.Conv2d(channels, filters, 1, stride), "bn": nn.BatchNorm2d(filters)}
            self.shortcut = nn.Sequential()
            for name, layer in shortcut.items():
                self.shortcut.add_module(name, layer)

        def forward(self, x):
            return self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + self.shortcut(x)

    theirs, ours = Block(3, 5, 2).double().train(training), block(3, 5, 2).to(dtype=np.float64).train(training)
    ours.load_state_dict({name: tensor.numpy() for name, tensor in theirs.state_dict().items()})
    x = torch.tensor(images(dtype=np.float64), requires_grad=True)
    y = theirs(x)
    dy = np.random.default_rng(2).standard_normal(y.numel()).reshape(y.shape)
    y.backward(torch.tensor(dy))
    found = everything(ours, images(dtype=np.float64))
    np.testing.assert_allclose(found["y"], y.detach().numpy(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found["dx"], x.grad.numpy(), rtol=1e-9, atol=1e-9)
    for name, parameter in theirs.named_parameters():
        np.testing.assert_allclose(found[f"d {name}"], parameter.grad.numpy(), rtol=1e-8, atol=1e-8, err_msg=name)
    for name, tensor in theirs.state_dict().items():
        np.testing.assert_allclose(found[name], tensor.numpy(), rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.torch
def test_to_pytorch_and_back():
    import torch

    from minicnn.interop.torch import from_torch, to_torch
    from minicnn.interop.torch_residual import Residual as TorchResidual

    net = network()
    net.forward(images())
    net["first"]["bn1"].eval()
    net["head"].children["1"] = minicnn.Dropout(0.25, seed=7).eval()
    for given in (net, minicnn.fuse(net)):
        module = to_torch(given)
        assert isinstance(module.first, TorchResidual)
        assert isinstance(module.head.get_submodule("2"), TorchResidual)
        assert list(module.state_dict()) == [name for name in net.state_dict() if not name.startswith("head.1")]
    module.eval()
    with torch.no_grad():
        expected = module(torch.tensor(images())).numpy()
    np.testing.assert_allclose(net.predict(images()), expected, rtol=1e-4, atol=1e-5)
    again = from_torch(to_torch(net))
    assert list(again.state_dict()) == list(net.state_dict())
    assert [layer.training for _, layer in again.named_layers()] == [layer.training for _, layer in net.named_layers()]
    assert isinstance(again["second"]["down"], Residual)
    np.testing.assert_array_equal(again.predict(images()), net.predict(images()))
    assert isinstance(from_torch(TorchResidual(torch.nn.Linear(3, 3)))["0"], Residual)


@pytest.mark.torch
def test_what_pytorchs_residual_cannot_have_is_said_by_name():
    import torch

    from minicnn.interop.torch import from_torch
    from minicnn.interop.torch_residual import Residual as TorchResidual

    module = torch.nn.Sequential(TorchResidual(torch.nn.GELU(), torch.nn.Sequential(torch.nn.Identity())))
    with pytest.raises(
        ValueError, match=r"0\.0: GELU is no layer of minicnn.*0\.1\.0: expected a layer .* leave it out"
    ):
        from_torch(module)


@pytest.mark.torch
def test_it_compares_with_pytorch():
    from minicnn.interop.torch import to_torch

    net, labels = network(), [0, 1, 2, 0]
    module = to_torch(net)
    assert minicnn.compare(net, module, images(), labels)
    net["second"]["down"].children["relu"] = Wrong()
    report = minicnn.compare(net, module, images(), labels)
    assert not report
    assert "second.down" in str(report)


def test_the_summary_has_a_row_for_every_layer_within_and_for_the_sum():
    rows = {row.name: row for row in network().summary((3, 6, 7)).rows}
    assert list(rows)[:7] == ["stem", "first.conv1", "first.bn1", "first.relu", "first.conv2", "first.bn2", "first"]
    assert rows["second.down"].kind == "Residual"
    assert (rows["second.down"].flops, rows["second.down"].backward_flops) == (6 * 3 * 4, 4 * 6 * 7)
    assert rows["second.down"].kept == {}
    assert rows["second.down"].output_shape == (1, 6, 3, 4)
    chain = Sequential(conv=Conv2d(3, 3, 3, padding=1), relu=ReLU())
    whole, plain = (Sequential(net).summary((3, 6, 7)) for net in (Residual(**chain.children), chain))
    assert whole.kept_bytes == plain.kept_bytes
    assert whole.parameters == plain.parameters
    assert whole.flops == plain.flops + 3 * 6 * 7
    mixed_sizes = {row.name: row for row in network().summary([(3, 6, 7), (3, 6, 9)]).rows}
    assert mixed_sizes["first"].flops == 4 * 6 * 16


def test_the_inspector_shows_both_ways_and_their_sum():
    net, x = network(), images(2)
    inspection = net.inspect(x, [0, 2], training=False)
    layers = {layer["name"]: layer for layer in inspection.record["layers"]}
    assert list(layers)[:4] == ["stem", "first", "relu1", "second.down"]
    down = layers["second.down"]
    assert down["kind"] == "Residual"
    assert {kept["what"] for kept in down["keeps"]} >= {"conv1: x", "shortcut.bn: mean"}
    assert down["parameters"] == sum(layer.params[key].size for _, layer, key in net["second"]["down"].named_params())
    assert (
        down["flops"]["forward"]
        == sum(row.flops for row in net.summary((3, 6, 7)).rows if row.name.startswith("second.down")) * 2
    )


@pytest.mark.quick
def test_the_ways_that_a_pass_goes_add_up():
    net, x = network().to("reference", np.float64), images(2, dtype=np.float64)
    layers = list(flattened(net))
    passes = run_forward(layers, net.ops, x)
    dy = np.random.default_rng(0).standard_normal(passes[-1].y.shape)
    run_backward(passes, net.ops, dy)
    np.testing.assert_array_equal(passes[-1].y, network().to("reference", np.float64).forward(x))
    for name in ("first", "second.down", "head"):
        (one,) = (one for one in passes if one.name == name)
        parts = {key: part.array for key, part in report_of(one).extra().items()}
        np.testing.assert_array_equal(one.y, parts["f"] + parts["s"])
        np.testing.assert_array_equal(one.dx, parts["df"] + parts["ds"])
    other = network().to("reference", np.float64)
    other.forward(x)
    np.testing.assert_array_equal(passes[0].dx, other.backward(dy))
    for (name, layer, key), (_, theirs, _) in zip(net.named_params(), other.named_params(), strict=True):
        np.testing.assert_array_equal(layer.grads[key], theirs.grads[key], err_msg=name)


def test_a_recording_has_the_output_of_the_sum(tmp_path):
    net = network()
    recorder = minicnn.Recorder(tmp_path / "run.safetensors", image=images(1)[0])
    trainer = minicnn.Trainer(net, minicnn.NLLLoss(), minicnn.SGD(net, lr=0.01), quiet=True, record=recorder)
    trainer.fit([(images(), [0, 1, 2, 0])] * 2, epochs=1)
    assert (tmp_path / "run.safetensors").stat().st_size > 0


def test_the_winners_of_a_network_with_sums():
    """The contributions and the bias are the score, which they were not had the sums been left out."""
    net = Sequential(
        a=block(3, 4, 1), pool=minicnn.AdaptiveMaxPool2d(1), flat=Flatten(), fc=Linear(4, 3, rng=0),
        log=minicnn.LogSoftmax(),
    )  # fmt: skip
    image = images(1)[0]
    found = minicnn.winners(net, image, k=1)
    scores = Sequential(*[net[name] for name in ("a", "pool", "flat", "fc")]).predict(image[None])[0]
    assert found.contributions.sum() + net["fc"].params["bias"][1] == pytest.approx(scores[1], rel=1e-5)
    assert net["a"].memory is None
    assert net["a"]["conv1"].grads == {}
    assert minicnn.grad_cam(net, image, 1).heat.shape == (6, 7)
