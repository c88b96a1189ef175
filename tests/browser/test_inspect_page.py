"""The inspector's page in a real browser: each view opened, cells clicked, and every number the framework's."""

import numpy as np
import pytest

import minicnn

from . import inspector as checks
from .networks import MAKERS

pytestmark = pytest.mark.browser

# Cells in corners, at edges and inside.
SIZES = [
    *[(10, 3), (14, 4), (5, 8), (25, 7), (7, 25), (1, 1), (1, 5), (5, 1), (2, 3), (3, 2)],
    *[(4, 4), (7, 7), (8, 4), (9, 4), (10, 7), (11, 5), (12, 5), (13, 6), (15, 7), (16, 3)],
    *[(17, 4), (23, 12), (32, 1), (32, 7), (6, 64), (64, 6), (63, 62), (62, 63), (64, 64), (61, 59)],
]


@pytest.mark.parametrize("name", MAKERS)
def test_every_view_opens_and_its_letters_are_its_numbers(inspect, name):
    inspector = inspect(name)
    for view in ("overview", *inspector.step.layers, "loss"):
        inspector.show(view)
        checks.check_texts(inspector)
        if view != "overview":
            checks.check_agreement(inspector)


@pytest.mark.parametrize("name", MAKERS)
def test_the_overview_tells_of_each_layer(inspect, name):
    inspector = inspect(name)
    inspector.show("overview")
    ratios, norms = [], []
    for layer_name, at in inspector.step.layers.items():
        text = inspector.page.locator(f'[data-card="{layer_name}"]').inner_text()
        assert " → ".join(" × ".join(map(str, array.shape)) for array in (at.x, at.y)) in text
        size = sum(param.size for param in at.layer.params.values())
        assert (f"{size:,} parameters".replace(",", "\u202f") if size else "no parameters") in text
        norms.append(np.linalg.norm(at.dy.astype(np.float64)))
        shown = inspector.values(f'[data-card="{layer_name}"] .stats .num')
        np.testing.assert_allclose(shown, [np.linalg.norm(at.y.astype(np.float64)), norms[-1]], rtol=1e-12)
        if isinstance(at.layer, minicnn.ReLU):
            dead = (at.y == 0).all(axis=(0, 2, 3)).mean()
            assert (f"{100 * dead:.2g} % of its channels are dead" if dead else "None of its channels is dead") in text
        for key, param in at.layer.params.items():
            grad, weights = (np.linalg.norm(array.astype(np.float64)) for array in (at.layer.grads[key], param))
            if weights:
                ratios.append(0.01 * grad / weights)  # of plain SGD with the rate that `inspect` takes unless told
    charts = inspector.page.locator("#view .charts .chart")
    for chart, expected in zip(charts.all(), (norms, ratios), strict=True):
        found = chart.locator("td [data-value]").evaluate_all("all => all.map(e => Number(e.dataset.value))")
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("name", MAKERS)
def test_every_array_is_the_frameworks(inspect, name):
    checks.check_arrays(inspect(name))


@pytest.mark.parametrize(
    ("name", "layer", "n"), [("simplenet", "conv1", 0), ("simplenet", "conv3", 0), ("own", "edges", 1)]
)
def test_convolution_cell_by_cell(inspect, name, layer, n):
    inspector = inspect(name)
    if n:
        inspector.choose("image", n)
    at = inspector.show(layer)
    (channels, height, width), (filters, out_height, out_width) = at.x.shape[1:], at.y.shape[1:]
    corner, inside = (out_height - 1, out_width - 1), (out_height // 2, 3)
    for c, f, outputs, pixels in [
        (0, 0, [(0, 0), inside], [(0, 0), (height // 2, 4)]),
        (channels - 1, filters - 1, [corner], [(height - 1, width - 1)]),
    ]:
        inspector.choose("channel", c)
        inspector.choose("filter", f)
        for p, q in outputs:
            checks.check_sent(inspector, layer, n, c, f, p, q)
        for r, s in pixels:
            checks.check_arrives(inspector, layer, n, c, r, s)
    checks.check_weight(inspector, layer, f, c, 0, 2)
    checks.check_forward(inspector, layer, n, f, out_height - 1, 0)
    checks.check_agreement(inspector)
    checks.check_texts(inspector)


@pytest.mark.parametrize(("name", "layer"), [("simplenet", "conv2"), ("own", "edges")])
def test_a_cell_of_dy_is_picked_by_keyboard_alone(inspect, name, layer):
    inspector = inspect(name)
    at = inspector.show(layer)
    checks.check_sent(inspector, layer, 0, 0, 0, 5, at.y.shape[3] - 1, by="keyboard")


@pytest.mark.parametrize(
    ("name", "layer", "c"), [("simplenet", "conv2", 7), ("simplenet", "conv3", 31), ("own", "edges", 1)]
)
def test_scatter_and_correlation_agree_for_a_whole_channel(inspect, name, layer, c):
    checks.check_scatter_and_correlation(inspect(name), layer, 0, c)


def test_weight_gradients_are_the_sums_over_all_positions(inspect):
    checks.check_weight_gradients(inspect("own"), "edges", [0, 1, 2, 3], [0, 1])
    simplenet = inspect("simplenet")
    checks.check_weight_gradients(simplenet, "conv1", [0, 5, 15], [0])
    checks.check_weight_gradients(simplenet, "conv3", [0, 63], [3, 31])


@pytest.mark.parametrize(("name", "layer", "n"), [("simplenet", "bn1", 0), ("simplenet", "bn3", 0), ("own", "norm", 1)])
def test_batchnorms_three_paths_sum_to_dx(inspect, name, layer, n):
    inspector = inspect(name)
    if n:
        inspector.choose("image", n)
    at = inspector.show(layer)
    channels, height, width = at.x.shape[1:]
    for c, cells in [(0, [(0, 0), (height // 2, width // 2)]), (channels - 1, [(height - 1, 2)])]:
        checks.check_paths(inspector, layer, n, c)
        inspector.choose("channel", c)
        for r, s in cells:
            checks.check_path_cell(inspector, layer, n, c, r, s)
    checks.check_agreement(inspector)
    checks.check_texts(inspector)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("pools", "fixed_max"),
        ("pools", "adaptive_max"),
        ("pools", "fixed_average"),
        ("pools", "adaptive_average"),
        ("own", "grid"),
        ("simplenet", "adaptive_pool"),
    ],
)
def test_poolings_windows_and_what_they_pay(inspect, name, layer):
    inspector = inspect(name)
    at = inspector.show(layer)
    checks.check_windows(inspector, layer)
    channels, height, width = at.x.shape[1:]
    for c, cells in [(0, [(0, 0), (height // 2, width // 2)]), (channels - 1, [(height - 1, width - 1), (3, 2)])]:
        checks.check_payments(inspector, layer, 0, c)
        inspector.choose("channel", c)
        for r, s in cells:
            checks.check_pooled_cell(inspector, layer, 0, c, r, s)
        if "max" in layer or layer == "adaptive_pool":
            checks.check_winner(inspector, layer, 0, c, at.y.shape[2] - 1, 0)
    checks.check_agreement(inspector)
    checks.check_texts(inspector)


def test_windows_of_thirty_pairs_of_sizes(inspect):
    inspector = inspect("own", width=1920)
    inspector.show("grid")
    assert len(set(SIZES)) == 30
    for sizes in SIZES:
        checks.check_playground(inspector, *sizes)


def test_relu_flatten_and_log_softmax_cell_by_cell(inspect):
    inspector = inspect("own")
    at = inspector.show("relu")
    c, (height, width) = at.x.shape[1] - 1, at.x.shape[2:]
    inspector.choose("channel", c)
    cells = [((c, r, s), r, s) for r, s in [(0, 0), (height - 1, width - 1), (2, 7)]]
    shut = next(zip(*(at.y[0, c] == 0).nonzero(), strict=True))
    cells.append(((c, *map(int, shut)), *shut))
    checks.check_cells(inspector, "relu", 0, "mask", cells)
    inspector.show("flatten")
    inspector.choose("channel", 2)
    checks.check_cells(inspector, "flatten", 0, "place", [((2, r, s), r, s) for r, s in [(0, 0), (2, 3), (1, 2)]])
    inspector = inspect("pools")
    inspector.show("log_softmax")
    checks.check_cells(inspector, "log_softmax", 0, "logsoftmax", [((k,), 0, k) for k in range(3)])


@pytest.mark.parametrize(("name", "layer", "n"), [("simplenet", "fc", 0), ("own", "answer", 1)])
def test_linear_as_an_outer_product(inspect, name, layer, n):
    inspector = inspect(name)
    if n:
        inspector.choose("image", n)
    inspector.show(layer)
    checks.check_linear(inspector, layer, n)


@pytest.mark.parametrize(("name", "n"), [("simplenet", 0), ("own", 1), ("pools", 0)])
def test_the_loss_is_p_minus_onehot(inspect, name, n):
    inspector = inspect(name)
    if n:
        inspector.choose("image", n)
    inspector.show("loss")
    checks.check_loss(inspector, n, MAKERS[name]()[2])
    assert inspector.page.locator("[data-twice]").count() == (name != "own")
    checks.check_texts(inspector)
