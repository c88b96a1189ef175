"""Dropout: its random words, its masks wherever they are asked for, its numbers, its count of steps."""

import copy

import numpy as np
import pytest

import minicnn
from minicnn import Dropout, Images, Linear, Residual, Sequential
from minicnn.backends.philox import philox
from minicnn.distributed.network import _images_from
from minicnn.inspect.passes import run_backward, run_forward
from minicnn.inspect.reports import report_of
from minicnn.verify.isolate import flattened
from tests import checks, naive

# Counter, key and words, as the authors of Philox publish them in Random123's kat_vectors.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
SEED = 0x1234_5678_9ABC_DEF
MIXED = ((1, 1), (3, 7), (130, 130), (2, 2))  # the third has more than one chunk


def draw(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def mixed(dtype=np.float32):
    return Images([draw(2, *size, dtype=dtype, seed=n) for n, size in enumerate(MIXED)])


def network(p=0.4):
    return Sequential(
        conv=minicnn.Conv2d(2, 4, 3, padding=1, rng=0),
        bn=minicnn.BatchNorm2d(4),
        relu=minicnn.ReLU(),
        drop1=Dropout(p, seed=1),
        block=Residual(minicnn.Conv2d(4, 4, 3, padding=1, rng=1), Dropout(p, seed=2)),
        pool=minicnn.AdaptiveAvgPool2d(2),
        flatten=minicnn.Flatten(),
        drop3=Dropout(p, seed=3),
        fc=Linear(16, 3, rng=2),
        log_softmax=minicnn.LogSoftmax(),
    )


@pytest.mark.quick
@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_philox_is_the_published_one(counter, key, words):
    assert tuple(map(int, philox(*map(np.uint64, counter + key)))) == naive.philox(counter, key) == words


@pytest.mark.quick
@pytest.mark.parametrize("dtype", checks.DTYPES)
@pytest.mark.parametrize("p", [0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 4), (2, 3, 5, 7), (1, 1, 1, 1)], ids=str)
@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_every_number_is_that_of_the_loops(backend, shape, p, dtype):
    x, step, first = draw(*shape, dtype=dtype), 2**32 + 7, 3
    y = minicnn.get_backend(backend).dropout(x, p, SEED, step, first)
    expected = np.stack(naive.dropout(x if x.ndim else [x], p, SEED, step, first)).reshape(shape)
    np.testing.assert_array_equal(y == 0, expected == 0)
    np.testing.assert_allclose(y, expected, rtol=1e-6 if dtype == np.float32 else 1e-15)


@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_every_image_of_another_size_is_that_of_the_loops(backend):
    x = Images([draw(2, *size, seed=n) for n, size in enumerate(((1, 1), (3, 7), (5, 2)))])
    y = minicnn.get_backend(backend).dropout(x, 0.3, SEED, 5, 2)
    for got, expected in zip(y, naive.dropout(list(x), 0.3, SEED, 5, 2), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.quick
@pytest.mark.parametrize("x", [draw(5, 3, 90, 91), draw(3, 70001), mixed()], ids=["images", "vectors", "mixed"])
def test_backends_have_the_same_bits_for_any_number_of_threads(x):
    """Several chunks of each image, and numbers behind the last block of four."""
    cpu, reference = minicnn.get_backend("cpu"), minicnn.get_backend("reference")
    expected = reference.dropout(x, 0.25, SEED, 9, 0)
    for threads in (1, 2):
        minicnn.set_num_threads(threads)
        y = cpu.dropout(x, 0.25, SEED, 9, 0)
        for got, image in zip(y, expected, strict=True):
            np.testing.assert_array_equal(got, image)


@pytest.mark.quick
@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_a_part_of_a_batch_has_the_mask_of_its_images_in_the_whole(backend):
    ops, x = minicnn.get_backend(backend), draw(6, 2, 3, 5)
    whole = ops.dropout(x, 0.5, SEED, 1, 0)
    parts = [ops.dropout(x[start:stop], 0.5, SEED, 1, start) for start, stop in ((0, 1), (1, 4), (4, 6))]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    images = ops.dropout(Images(x), 0.5, SEED, 1, 0)
    np.testing.assert_array_equal(images.as_array(), whole)


def test_masks_are_random():
    """Of a million numbers as many are dropped as should be, by 5 standard deviations; and no two masks are alike."""
    ops, ones = minicnn.get_backend("cpu"), np.ones((100, 10000), np.float32)
    masks = {}
    for p in (0.1, 0.5, 0.8):
        masks[p] = ops.dropout(ones, p, SEED, 0, 0) == 0
        spread = np.sqrt(p * (1 - p) / ones.size)
        assert abs(masks[p].mean() - p) < 5 * spread
        per_image = masks[p].mean(axis=1)
        assert abs(per_image - p).max() < 5 * np.sqrt(p * (1 - p) / 10000)
    half = masks[0.5]
    others = [ops.dropout(ones, 0.5, *arguments) == 0 for arguments in ((SEED + 1, 0, 0), (SEED, 1, 0), (SEED, 0, 100))]
    others += [half[::-1], np.roll(half, 1, axis=1), np.roll(half, 4, axis=1)]
    for other in others:
        assert abs((half == other).mean() - 0.5) < 5 * 0.5 / np.sqrt(ones.size)


@pytest.mark.quick
@pytest.mark.parametrize("backend", checks.BACKENDS)
def test_the_gradient_has_the_mask_of_its_forward(backend):
    layer, x = Dropout(0.5, seed=0).to(backend), draw(4, 3, 5, 5)
    y = layer.forward(x)
    dx = layer.backward(np.ones_like(x))
    np.testing.assert_array_equal(dx, np.where(y == 0, 0, 2))
    np.testing.assert_array_equal(y, x * dx)
    assert not np.array_equal(layer.forward(x), y)  # the next step's mask


@pytest.mark.parametrize("x", [draw(4, 3), mixed()], ids=["array", "mixed"])
def test_in_evaluation_nothing_is_dropped_and_no_step_counted(x):
    layer = Dropout(0.5, seed=0).eval()
    for y in (layer.predict(x), layer.forward(x), layer.backward(x)):
        np.testing.assert_array_equal(y.data if isinstance(y, Images) else y, x.data if isinstance(x, Images) else x)
    assert layer.state["step"] == 0
    assert layer.train().predict(x).shape == x.shape
    assert layer.state["step"] == 0


def test_numbers_that_are_not_finite_stay_so():
    """As in PyTorch, where infinity times 0 is NaN."""
    x = np.float32([[np.nan, np.inf, -np.inf, 1] * 8])
    for backend in checks.BACKENDS:
        y = minicnn.get_backend(backend).dropout(x, 0.5, SEED, 0, 0)
        assert not np.isfinite(y[0, 0::4]).any()
        assert not np.isfinite(y[0, 1::4]).any()
        assert set(y[0, 3::4]) == {0, 2}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Dropout(1.0), ValueError, "Dropout: expected p, .* from 0 to below 1, got 1.0"),
        (lambda: Dropout(-0.1), ValueError, r"from 0 to below 1, got -0\.1"),
        (lambda: Dropout(np.nan), ValueError, "Dropout: p: expected a finite number"),
        (lambda: Dropout("0.5"), TypeError, "Dropout: p: expected a number, got '0.5'"),
        (lambda: Dropout(seed=-1), ValueError, "Dropout: seed: expected at least 0, got -1"),
        (lambda: Dropout(seed=2**63), ValueError, "Dropout: seed"),
        (lambda: Dropout(seed=0.5), TypeError, "Dropout: seed: expected an integer"),
        (lambda: Dropout(0.5, 1), TypeError, "positional"),
        (lambda: Sequential(Dropout(seed=1), Residual(Dropout(seed=1))), ValueError, "two Dropout layers .* same seed"),
        (lambda: Dropout().forward(np.zeros((0, 3), np.float32)), ValueError, "at least one element"),
        (lambda: Dropout().forward(np.zeros((2, 3), int)), TypeError, "Dropout: input"),
        (lambda: Dropout().backward(np.zeros((2, 3), np.float32)), RuntimeError, "Dropout: backward needs a forward"),
    ],
)
def test_what_it_cannot_do_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("value", [-1, 2**63 - 1, 0.5, "1", None, np.zeros(2, np.int64), np.float64(1)])
@pytest.mark.parametrize("key", ["seed", "step"])
def test_a_state_that_is_no_count_is_refused(key, value):
    layer = Dropout(seed=0)
    layer.state[key] = value
    with pytest.raises(ValueError, match=f"Dropout: {key}: expected a whole number from 0"):
        layer.forward(draw(2, 3))
    del layer.state[key]
    with pytest.raises(ValueError, match=f"Dropout: {key}"):
        layer.forward(draw(2, 3))


def test_p_that_was_set_later_is_looked_at():
    layer = Dropout(seed=0)
    layer.p = 1
    with pytest.raises(ValueError, match="below 1, got 1"):
        layer.forward(draw(2, 3))
    assert layer.state["step"] == 0
    layer.p = 0
    np.testing.assert_array_equal(layer.forward(draw(2, 3)), draw(2, 3))


def test_seeds_that_nobody_chose_differ():
    rng = np.random.default_rng(0)
    assert len({Dropout().seed for _ in range(9)}) == len({Dropout(seed=rng).seed for _ in range(9)}) == 9
    assert Dropout(seed=np.random.default_rng(7)).seed == Dropout(seed=np.random.default_rng(7)).seed


def test_a_batch_that_fails_is_no_step():
    net = Sequential(drop=Dropout(seed=0), fc=Linear(4, 2, rng=0))
    with pytest.raises(ValueError, match="Linear"):
        net.forward(draw(2, 3))
    assert net["drop"].state["step"] == 0


VECTORS = Sequential(
    fc=Linear(5, 6, rng=0), drop=Dropout(0.4, seed=1), sum=Residual(Linear(6, 6, rng=1), Dropout(0.5, seed=2))
)


@pytest.mark.parametrize(
    ("net", "x"),
    [
        (VECTORS, draw(4, 5, dtype=np.float64)),
        (Sequential(bn=minicnn.BatchNorm2d(2), drop=Dropout(0.3, seed=0)), mixed(np.float64)[np.array([1, 3])]),
    ],
    ids=["vectors", "images"],
)
def test_difference_quotients_see_one_mask(net, x):
    """In training mode; the network itself counts no step."""
    report = minicnn.gradcheck(net, x, elements=8)
    assert report, report
    assert net["drop"].state["step"] == 0


class Forgotten(Dropout):
    """Hands the gradient of what was dropped on."""

    def backward(self, dy, need_dx=True):
        self.recall(dy)
        return dy


def test_difference_quotients_find_a_mask_that_was_forgotten():
    assert not minicnn.gradcheck(Forgotten(0.5, seed=0), draw(3, 4, dtype=np.float64))


def steps_of(trainer, seeds):
    return [trainer.step(draw(4, 2, 6, 6, seed=seed), [0, 1, 2, 0]) for seed in seeds]


def trainer_of(net, fuse=True):
    return minicnn.Trainer(net, minicnn.NLLLoss(), minicnn.Adam(net, lr=0.01), quiet=True, fuse=fuse)


def test_a_resumed_run_goes_on_with_its_masks(tmp_path):
    """Also in a network that was made with other seeds: they are in the checkpoint."""
    first = trainer_of(network())
    whole = steps_of(first, range(6))
    half = trainer_of(network())
    steps_of(half, range(3))
    half.save(tmp_path / "run")
    other = network()
    for position, name in enumerate(("drop1", "drop3")):
        other[name].state["seed"] = np.array(100 + position)
    rest = trainer_of(other)
    rest.load(tmp_path / "run")
    assert steps_of(rest, range(3, 6)) == whole[3:]
    assert other["drop1"].state["step"] == 6
    for name, array in first.network.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], array)


def test_saved_and_loaded(tmp_path):
    net = network()
    net.forward(draw(2, 2, 6, 6))
    minicnn.save(net, tmp_path / "net.safetensors")
    again = minicnn.load(tmp_path / "net.safetensors")
    assert repr(again) == repr(net)
    assert again["drop1"].state["step"] == 1
    np.testing.assert_array_equal(again.forward(draw(2, 2, 6, 6)), net.forward(draw(2, 2, 6, 6)))


def test_weights_without_seed_and_step_are_taken():
    """As PyTorch's are."""
    net = network()
    weights = {name: array for name, array in net.state_dict().items() if "drop" not in name and "block.1" not in name}
    other = network()
    other["drop1"].state["step"] = np.array(5)
    other.load_state_dict(weights)
    assert other["drop1"].state["step"] == 5


@pytest.mark.parametrize("fuse", [True, False])
def test_backends_train_alike(fuse):
    found = steps_of(trainer_of(network(), fuse), range(3))
    reference = network().to("reference", np.float64)
    trainer = minicnn.Trainer(
        reference, minicnn.NLLLoss().to("reference"), minicnn.Adam(reference, lr=0.01), quiet=True, fuse=fuse
    )
    expected = [trainer.step(draw(4, 2, 6, 6, seed=seed).astype(np.float64), [0, 1, 2, 0]) for seed in range(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_compare_sees_the_same_masks_on_both_sides():
    x, labels = draw(4, 2, 6, 6), [0, 1, 2, 0]
    assert minicnn.compare(network(), network().to("reference"), x, labels)
    assert not minicnn.compare(network(), network(p=0.3), x, labels)


@pytest.mark.quick
def test_ranks_drop_what_one_process_drops():
    """Each is given the images of its rows, with their places in the batch."""
    net, x = network().eval(), draw(5, 2, 6, 6)
    for _, layer in net.named_layers():
        layer.train(isinstance(layer, Dropout))  # no batchnorm, which looks at all images
    ranks = [copy.deepcopy(net) for _ in range(3)]
    whole, parts = net.forward(x), []
    for rank, start in zip(ranks, (0, 2, 3), strict=True):
        with _images_from(rank, start):
            parts.append(rank.forward(x[start : {0: 2, 2: 3, 3: 5}[start]]))
        assert rank["drop1"].first_image == 0
        assert rank["drop1"].state["step"] == 1
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-5, atol=1e-6)
    assert abs(ranks[1].train().forward(x[2:3]) - whole[2:3]).max() > 0.01  # which other masks would not give


@pytest.mark.quick
@pytest.mark.parametrize("training", [True, False])
def test_the_inspector_shows_the_mask(training):
    net, x = network().train(training), draw(3, 2, 6, 6)
    passes = run_forward(list(flattened(net)), net.ops, x)
    run_backward(passes, net.ops, draw(3, 3))
    for name in ("drop1", "drop3"):
        (one,) = (one for one in passes if one.name == name)
        mask = report_of(one).extra()["mask"].array
        assert (mask == 0).any() == training
        np.testing.assert_array_equal(one.y, one.x * mask)
        np.testing.assert_array_equal(one.dx, one.dy * mask)
    record = net.inspect(x, [0, 1, 2], training=training).record
    (layer,) = (layer for layer in record["layers"] if layer["name"] == "drop1")
    assert layer["flops"] == dict.fromkeys(("forward", "backward"), 3 * 4 * 36 * training)
    assert [kept["what"] for kept in layer["keeps"]] == ["mask"]
    assert layer["keeps"][0]["bytes"] == 0


def test_copies_go_on_alike():
    layer, x = Dropout(0.5, seed=0), draw(3, 4)
    layer.forward(x)
    np.testing.assert_array_equal(copy.deepcopy(layer).forward(x), layer.forward(x))


@pytest.mark.torch
@pytest.mark.parametrize("dtype", checks.DTYPES)
@pytest.mark.parametrize("p", [0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.95])
def test_what_both_keep_has_pytorchs_bits(p, dtype):
    """Both drop numbers of their own choice; those that both keep, and their gradients, are the same."""
    import torch

    torch.manual_seed(0)
    layer = Dropout(p, seed=0)
    numbers = draw(50, 40, dtype=dtype)
    x = torch.tensor(numbers, requires_grad=True)
    theirs = torch.nn.Dropout(p)(x)
    theirs.backward(torch.tensor(numbers[::-1].copy()))
    ours, dx = layer.forward(numbers), layer.backward(numbers[::-1].copy())
    theirs, their_dx = theirs.detach().numpy(), x.grad.numpy()
    both = (ours != 0) & (theirs != 0)
    assert both.sum() > 0
    np.testing.assert_array_equal(ours[both], theirs[both])
    np.testing.assert_array_equal(dx[both], their_dx[both])
    np.testing.assert_array_equal(ours == 0, dx == 0)


@pytest.mark.torch
def test_pytorch_with_our_masks_trains_alike():
    """PyTorch's layers around a product with the mask, which is all that its dropout is once the mask is drawn."""
    import torch
    from torch import nn

    ours = Sequential(a=Linear(6, 8, rng=0), drop=Dropout(0.4, seed=4), b=Linear(8, 3, rng=1), log=minicnn.LogSoftmax())
    a, b = nn.Linear(6, 8), nn.Linear(8, 3)
    for theirs, name in ((a, "a"), (b, "b")):
        for key in ("weight", "bias"):
            getattr(theirs, key).data = torch.tensor(ours[name].params[key].copy())
    masks, lr = Dropout(0.4, seed=4), 0.1
    trainer = minicnn.Trainer(ours, minicnn.NLLLoss(), minicnn.SGD(ours, lr=lr), quiet=True)
    optimizer = torch.optim.SGD([*a.parameters(), *b.parameters()], lr=lr)
    for step in range(5):
        x, labels = draw(4, 6, seed=step), np.array([0, 1, 2, 0])
        hidden = a(torch.tensor(x))
        mask = torch.tensor(masks.forward(np.ones(tuple(hidden.shape), np.float32)))
        loss = nn.functional.nll_loss(nn.functional.log_softmax(b(hidden * mask), dim=1), torch.tensor(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert trainer.step(x, labels) == pytest.approx(loss.item(), rel=1e-5)
    np.testing.assert_allclose(ours["a"].params["weight"], a.weight.detach().numpy(), rtol=1e-4, atol=1e-6)
