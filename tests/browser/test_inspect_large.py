"""The page of a network whose arrays are too large for it: small enough to open, and honest about what it lacks."""

import numpy as np
import pytest

import minicnn

from . import inspector as checks
from .inspector import Inspector
from .networks import step

pytestmark = pytest.mark.browser


def network():
    """Wide and large enough for 60 MB of arrays."""
    rng = np.random.default_rng(3)
    layers = minicnn.Sequential(
        conv1=minicnn.Conv2d(3, 24, 3, padding=1, rng=rng),
        bn1=minicnn.BatchNorm2d(24),
        relu1=minicnn.ReLU(),
        conv2=minicnn.Conv2d(24, 16, 3, stride=2, padding=1, rng=rng),
        pool=minicnn.AdaptiveMaxPool2d((5, 7)),
        flatten=minicnn.Flatten(),
        fc=minicnn.Linear(560, 200, rng=rng),
    )
    return layers, rng.standard_normal((2, 3, 150, 170)).astype(np.float32), np.array([3, 150])


@pytest.fixture(scope="module")
def large_step():
    return step(*network())


@pytest.fixture(scope="module")
def large_page(browser, tmp_path_factory):
    layers, x, y = network()
    path = tmp_path_factory.mktemp("large") / "large.html"
    layers.inspect(x, y, path=path)
    return path


@pytest.fixture
def inspector(visits, large_page, large_step):
    return Inspector(visits.open(large_page), large_step)


def test_the_file_is_small_and_every_view_opens(inspector, large_page):
    assert large_page.stat().st_size < 10_000_000
    said = inspector.page.evaluate("RECORD.left_out")
    assert said
    inspector.page.locator("#view details", has_text=said[0]).locator("summary").first.click()
    text = inspector.page.locator("#view").inner_text()
    for sentence in said:
        assert sentence in text
    for view in (*inspector.step.layers, "loss"):
        inspector.show(view)
        checks.check_agreement(inspector)
        checks.check_texts(inspector)


def test_what_is_in_the_page_is_the_frameworks(inspector):
    checks.check_arrays(inspector)


@pytest.mark.parametrize("layer", ["conv1", "conv2"])
def test_a_cell_says_what_its_sum_lacks(inspector, layer):
    at = inspector.show(layer)
    _, kept, _ = inspector.numbers(f"MINICNN.byName.get('{layer}').dx")
    channel, rows, columns = kept[1][0], kept[2], kept[3]
    r, s = rows[0], columns[-1]  # a cell at the rim of what is in the page: some of its windows are not
    inspector.click("dx", 0, len(columns) - 1, (len(rows), len(columns)))
    stored, largest = at.dx[0, channel, r, s], np.abs(at.dx).max()
    assert inspector.readout("dx")[1] == stored == inspector.array_value("scatter")
    terms, missing = inspector.sums(
        layer, "[sums.scatter(0, a, b, c).terms.length, sums.scatter(0, a, b, c).missing]", channel, r, s
    )
    assert missing > 0
    assert terms + missing == len(checks.arriving(at, 0, channel, r, s))
    assert f"{missing} of {terms + missing} products" in inspector.page.locator(".panel .result").inner_text()
    total = inspector.value('[data-total="scatter"]')
    assert total == inspector.value('[data-result="scatter"]') + inspector.value('[data-rest="scatter"]')
    assert checks.close(total, stored, largest)
    checks.check_agreement(inspector)


def test_a_weight_gradient_says_what_its_sum_lacks(inspector):
    at = inspector.show("conv2")
    _, (filters, channels, *_), _ = inspector.numbers("MINICNN.byName.get('conv2').grads.weight")
    inspector.click("weight", 1, 2, (3, 3))
    gradient = at.layer.grads["weight"]
    stored = gradient[filters[0], channels[0], 1, 2]
    assert inspector.array_value("weight") == stored
    assert checks.close(inspector.value('[data-total="weight"]'), stored, np.abs(gradient).max())
