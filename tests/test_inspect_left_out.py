"""What of a large record is left out of the page, and that sums with what is left out come out right."""

import json
import re

import numpy as np
import pytest

import minicnn
from minicnn.inspect import inspect
from minicnn.inspect.sample import decoded
from tests.records import (
    Doubled,
    gradient,
    layer_of,
    made,
    recorded,
    value,
)


def spread(array):
    """An array of the record in its whole shape, NaN where it is left out."""
    whole = np.full(array["shape"], np.nan)
    axes = [None] * whole.ndim if array["kept"] is None else array["kept"]["axes"]
    places = np.ix_(*(range(n) if kept is None else kept for n, kept in zip(array["shape"], axes, strict=True)))
    whole[places] = decoded(array)
    return whole


def cells(array):
    """The indices of an array that are in the page."""
    return map(tuple, np.argwhere(~np.isnan(array)).tolist())


def rest(layer, name):
    """What is left out of a sum; 0 where nothing is."""
    return spread(layer["extra"]["rest"][name]) if name in layer["extra"].get("rest", {}) else 0


def assert_sums(result, left_out, terms, fixed=None):
    """Each number of `result` in the page is the sum of its `terms` in the page, `fixed`, and what is left out."""
    some = 0
    for index in cells(result):
        found = np.nansum(np.array(list(terms(*index))))
        beside = left_out if np.isscalar(left_out) else left_out[index]
        found += beside + (0 if fixed is None else fixed(*index))
        assert found == pytest.approx(result[index], rel=1e-9, abs=1e-12), index
        some += 1
    assert some


def large_network():
    rng = np.random.default_rng(0)
    network = minicnn.Sequential(
        conv=minicnn.Conv2d(5, 12, (3, 2), stride=(1, 2), padding=(1, 0), rng=rng),
        bn=minicnn.BatchNorm2d(12),
        relu=minicnn.ReLU(),
        maximum=minicnn.MaxPool2d(3, 2, 1),
        mean=minicnn.AdaptiveAvgPool2d((4, 5)),
        flat=minicnn.Flatten(),
        fc=minicnn.Linear(240, 11, rng=rng),
        log_softmax=minicnn.LogSoftmax(),
    ).to("reference", np.float64)
    return network, rng.standard_normal((3, 5, 20, 26)), [3, 0, 3]


@pytest.mark.parametrize("max_bytes", [600_000, 450_000, 300_000, 60_000, 22_000])
def test_sums_with_what_is_left_out(max_bytes):
    """Where a part of an array is left out, its sums are still what they are."""
    network, x, y = large_network()
    record = recorded(network, x, y, max_bytes=max_bytes)
    assert len(json.dumps(record["activations"])) + len(json.dumps(record["layers"])) < max_bytes + 20_000
    values, gradients = (
        [spread(activation[which]) for activation in record["activations"]] for which in ("value", "gradient")
    )
    whole = recorded(network, x, y)
    for k, (array, its_gradient) in enumerate(zip(values, gradients, strict=True)):
        np.testing.assert_array_equal(np.isnan(array), np.isnan(its_gradient))  # cut alike
        kept = ~np.isnan(array)
        np.testing.assert_array_equal(array[kept], value(whole, k)[kept])
        np.testing.assert_array_equal(its_gradient[kept], gradient(whole, k)[kept])

    layers = {layer["name"]: layer for layer in record["layers"]}
    params = {
        (name, which, key): spread(array)
        for name, layer in layers.items()
        for which in ("params", "grads")
        for key, array in layer[which].items()
    }

    conv, (h, w), (oh, ow) = layers["conv"], values[0].shape[2:], values[1].shape[2:]
    x, y, dx, dy = values[0], values[1], gradients[0], gradients[1]
    weight, bias = params["conv", "params", "weight"], params["conv", "params", "bias"]

    def taps(p, q):
        """(i, j, r, s): the taps of an output cell and the cells that they see."""
        for i in range(3):
            for j in range(2):
                r, s = p + i - 1, 2 * q + j
                if 0 <= r < h and 0 <= s < w:
                    yield i, j, r, s

    assert_sums(
        y,
        rest(conv, "y"),
        lambda n, f, p, q: (weight[f, c, i, j] * x[n, c, r, s] for c in range(5) for i, j, r, s in taps(p, q)),
        lambda n, f, p, q: bias[f],
    )
    assert_sums(
        dx,
        rest(conv, "dx"),
        lambda n, c, r, s: (
            weight[f, c, r - p + 1, s - 2 * q] * dy[n, f, p, q]
            for f in range(12)
            for p in range(max(0, r - 1), min(oh, r + 2))
            for q in range(ow)
            if 0 <= s - 2 * q < 2
        ),
    )
    assert_sums(
        params["conv", "grads", "weight"],
        rest(conv, "dweight"),
        lambda f, c, i, j: (
            dy[n, f, p, q] * x[n, c, r, s]
            for n in range(3)
            for p in range(oh)
            for q in range(ow)
            for ti, tj, r, s in taps(p, q)
            if (ti, tj) == (i, j)
        ),
    )
    assert_sums(params["conv", "grads", "bias"], rest(conv, "dbias"), lambda f: dy[:, f].reshape(-1))

    bn, x, dy = layers["bn"], values[1], gradients[2]
    mean, var = (spread(bn["extra"][key])[:, None, None] for key in ("mean", "var"))
    x_hat = (x - mean) / np.sqrt(var + bn["extra"]["eps"])
    assert_sums(params["bn", "grads", "weight"], rest(bn, "dweight"), lambda c: (dy * x_hat)[:, c].reshape(-1))
    assert_sums(params["bn", "grads", "bias"], rest(bn, "dbias"), lambda c: dy[:, c].reshape(-1))
    paths = [spread(path) for path in bn["extra"]["paths"].values()]
    np.testing.assert_allclose(sum(paths), gradients[1], rtol=1e-9, atol=1e-15)

    pool, dx, dy = layers["maximum"], gradients[3], gradients[4]
    argmax = spread(pool["extra"]["argmax"])
    width = dx.shape[3]
    assert_sums(dx, rest(pool, "dx"), lambda n, c, r, s: dy[n, c][argmax[n, c] == r * width + s])
    pool, x, y, dx, dy = layers["mean"], values[4], values[5], gradients[4], gradients[5]
    rows, columns = pool["extra"]["rows"], pool["extra"]["columns"]
    assert_sums(
        y,
        rest(pool, "y"),
        lambda n, c, p, q: (
            x[n, c, rows[p][0] : rows[p][1], columns[q][0] : columns[q][1]].reshape(-1) / (rows[p][2] * columns[q][2])
        ),
    )
    assert_sums(
        dx,
        rest(pool, "dx"),
        lambda n, c, r, s: (
            dy[n, c, p, q] / (rows[p][2] * columns[q][2])
            for p in range(4)
            for q in range(5)
            if rows[p][0] <= r < rows[p][1] and columns[q][0] <= s < columns[q][1]
        ),
    )

    flat = values[5].reshape(3, -1)
    np.testing.assert_array_equal(values[6], flat)  # what comes from what is kept, and nothing else
    fc, x, y, dx, dy = layers["fc"], values[6], values[7], gradients[6], gradients[7]
    weight, bias = params["fc", "params", "weight"], params["fc", "params", "bias"]
    assert_sums(y, rest(fc, "y"), lambda n, k: weight[k] * x[n], lambda n, k: bias[k])
    assert_sums(dx, rest(fc, "dx"), lambda n, d: weight[:, d] * dy[n])
    assert_sums(params["fc", "grads", "weight"], rest(fc, "dweight"), lambda k, d: dy[:, k] * x[:, d])
    assert_sums(params["fc", "grads", "bias"], rest(fc, "dbias"), lambda k: dy[:, k])

    last, y, dx, dy = layers["log_softmax"], values[8], gradients[7], gradients[8]
    sum_dy = np.nansum(dy, axis=1) + rest(last, "sum_dy")
    sum_p = np.nansum(np.exp(y), axis=1) + rest(last, "sum_p")
    shown = ~np.isnan(y).all(axis=1)
    np.testing.assert_allclose(sum_p[shown], 1, rtol=1e-12)
    np.testing.assert_allclose((dy - np.exp(y) * sum_dy[:, None])[shown], dx[shown], rtol=1e-9, atol=1e-15)

    view = record["loss_view"]
    target, log_p, scale = (spread(view[key]) for key in ("onehot", "log_p", "scale"))
    loss = -np.nansum(scale[:, None] * target * log_p)
    loss += spread(view["rest"]["loss"])[0] if "rest" in view else 0
    assert loss == pytest.approx(record["loss"]["value"], rel=1e-12)


def kept_of(record, k):
    array = record["activations"][k]["value"]
    return [None] * len(array["shape"]) if array["kept"] is None else array["kept"]["axes"]


def test_images_are_left_out_first_then_channels_then_rows_and_columns():
    network, x, y = large_network()
    fewer_images, fewer_channels, fewer_cells = (
        recorded(network, x, y, max_bytes=max_bytes) for max_bytes in (600_000, 450_000, 300_000)
    )
    assert kept_of(fewer_images, 1) == [[0], None, None, None]
    images, channels, rows, columns = kept_of(fewer_channels, 1)
    assert (images, rows, columns) == ([0], None, None)
    assert 8 <= len(channels) < 12
    images, channels, rows, columns = kept_of(fewer_cells, 1)
    assert (images, len(channels)) == ([0], 8)
    for kept, length in ((rows, 20), (columns, 13)):
        assert kept == list(range(kept[0], kept[-1] + 1))
        assert abs(kept[0] - (length - 1 - kept[-1])) <= 1  # in the middle
    for record in (fewer_channels, fewer_cells):
        # Those with the largest gradient in the image that is left, and the same in and out of each layer.
        whole = gradient(recorded(network, x, y), 1)[0]
        strongest = np.argsort(-np.square(whole).sum(axis=(1, 2)))[: len(kept_of(record, 1)[1])]
        assert kept_of(record, 1)[1] == sorted(strongest.tolist())
        assert {tuple(kept_of(record, k)[1]) for k in range(1, 6)} == {tuple(kept_of(record, 1)[1])}
        conv = layer_of(record, "conv")
        for which in ("params", "grads"):
            assert conv[which]["weight"]["kept"]["axes"] == [kept_of(record, 1)[1], kept_of(record, 0)[1], None, None]
            assert conv[which]["bias"]["kept"]["axes"] == [kept_of(record, 1)[1]]

    count = len(kept_of(fewer_channels, 1)[1])
    said = fewer_channels["left_out"]
    assert f"conv's output: 1 of 3 images, the first; {count} of 12 channels, those with the largest gradient" in said
    assert f"bn's output: 1 of 3 images, the first; {count} of 12 channels, those of its input" in said
    assert f"conv's weight and its gradient: {count} × 5 × 3 × 2 of 12 × 5 × 3 × 2 numbers" in said
    assert any(re.match(r"flat's output: .*; \d+ of 240 features, those that come from what is kept", s) for s in said)
    assert any(
        re.match(r"conv's output: .*; \d+ of 20 rows, \d+ to \d+; \d+ of 13 columns", s)
        for s in fewer_cells["left_out"]
    )


def test_as_much_as_fits_is_kept():
    network, x, y = made("SimpleNet")
    for max_bytes in (300_000, 1_000_000, 3_000_000):
        record = recorded(network, x, y, max_bytes=max_bytes)
        assert 0.8 * max_bytes < sum(len(array["data"]) for array in all_arrays(record)) <= max_bytes


def all_arrays(tree):
    if isinstance(tree, dict) and "data" in tree:
        yield tree
    elif isinstance(tree, (dict, list)):
        for branch in tree.values() if isinstance(tree, dict) else tree:
            yield from all_arrays(branch)


def test_the_page_of_a_large_network_is_below_10_mb(tmp_path):
    """Many channels and many parameters; 1 × 1 kernels, so that it is quick."""
    rng = np.random.default_rng(0)
    network = minicnn.Sequential(
        wide=minicnn.Conv2d(3, 200, 1, rng=rng),
        relu=minicnn.ReLU(),
        narrow=minicnn.Conv2d(200, 64, 1, rng=rng),
        pool=minicnn.AdaptiveMaxPool2d(7),
        flat=minicnn.Flatten(),
        hidden=minicnn.Linear(64 * 49, 1000, rng=rng),
        fc=minicnn.Linear(1000, 1000, rng=rng),
    )
    x = rng.standard_normal((2, 3, 70, 50), np.float32)
    inspection = network.inspect(x, [7, 900], path=tmp_path / "large.html")
    size = (tmp_path / "large.html").stat().st_size
    assert 3_000_000 < size < 10_000_000
    names = {sentence.partition(":")[0] for sentence in inspection.record["left_out"]}
    assert {"wide's output", "relu's output", "narrow's output", "hidden's output", "fc's output"} <= names
    assert {"hidden's weight and its gradient", "fc's weight and its gradient"} <= names
    onehot = spread(inspection.record["loss_view"]["onehot"])
    assert onehot[0, 7] == 1  # the true class is among those that are kept


def test_parameters_of_unknown_layers_are_cut_as_well():
    class Table(Doubled):
        def __init__(self):
            super().__init__()
            self.params["table"] = np.arange(10**4, dtype=np.float32).reshape(100, 100)

    record = recorded(
        minicnn.Sequential(Table()), np.ones((1, 2), np.float32), dy=np.ones((1, 2), np.float32), max_bytes=8000
    )
    (layer,) = record["layers"]
    rows, columns = layer["params"]["table"]["kept"]["axes"]
    assert rows == columns == list(range(len(rows)))
    np.testing.assert_array_equal(
        decoded(layer["params"]["table"]), np.arange(10**4).reshape(100, 100)[: len(rows), : len(rows)]
    )
    assert record["left_out"] == [f"0's table and its gradient: {len(rows)} × {len(rows)} of 100 × 100 numbers"]


def test_a_network_that_does_not_fit_at_all():
    network, x, y = made("own")
    with pytest.raises(ValueError, match=r"max_bytes = 1000, got a network that takes \d{4,} with one cell"):
        inspect(network, x, y, max_bytes=1000)
