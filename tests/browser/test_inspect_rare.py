"""What is rare: a page in a notebook's frame, a layer of one's own, a pixel no window sees, a run that blew up."""

import numpy as np
import pytest

import minicnn

from . import inspector as checks
from . import networks
from .inspector import Inspector

pytestmark = pytest.mark.browser


class Mixed(minicnn.Layer):
    """y = x @ table: a layer that the page knows nothing about."""

    def __init__(self, table):
        super().__init__()
        self.params["table"] = table

    def forward(self, x):
        self.x = x
        return x @ self.params["table"]

    def backward(self, dy, need_dx=True):
        self.grads["table"] = self.x.T @ dy
        return dy @ self.params["table"].T


def opened(visits, path, network, x, y, **options):
    """The `Inspector` of a network's page."""
    network.inspect(x, y, path=path, **options)
    return Inspector(visits.open(path), networks.step(network, x, y))


def test_in_a_notebook_the_layers_open_within_the_frame(visits, tmp_path):
    network, x, y = networks.own()
    notebook = tmp_path / "notebook.html"
    html = f"<!doctype html><title>notebook</title><h1>a notebook</h1>{network.inspect(x, y)._repr_html_()}"
    notebook.write_text(html, encoding="utf-8")
    page = visits.open(notebook)
    frame = page.frame_locator("iframe")
    frame.locator('#layers a[href="#/layer/norm"]').click()
    frame.locator('[data-layer="norm"]').wait_for()
    frame.locator(".neighbours a").first.click()
    frame.locator('[data-layer="edges"]').wait_for()
    assert page.locator("h1").inner_text() == "a notebook"


def test_all_of_a_matrix_of_a_layer_of_ones_own(visits, tmp_path):
    rng = np.random.default_rng(5)
    network = minicnn.Sequential(mixed=Mixed(rng.standard_normal((6, 3))))
    inspector = opened(visits, tmp_path / "page.html", network, rng.standard_normal((4, 6)), np.array([0, 2, 1, 1]))
    at = inspector.show("mixed")
    inspector.click("table", 4, 1, (6, 3))
    assert inspector.readout("table")[1] == at.layer.params["table"][4, 1]
    inspector.click("dtable", 5, 2, (6, 3))
    assert inspector.readout("dtable")[1] == at.layer.grads["table"][5, 2]


def test_a_pixel_between_the_windows_gets_nothing(visits, tmp_path):
    rng = np.random.default_rng(6)
    network = minicnn.Sequential(
        sparse=minicnn.Conv2d(1, 2, 1, stride=3, rng=rng),
        flatten=minicnn.Flatten(),
        fc=minicnn.Linear(24, 3, rng=rng),
    )
    x = rng.standard_normal((1, 1, 7, 10)).astype(np.float32)
    inspector = opened(visits, tmp_path / "page.html", network, x, np.array([2]))
    at = inspector.show("sparse")
    inspector.click("dx", 1, 4, at.x.shape[2:])
    assert inspector.array_value("scatter") == at.dx[0, 0, 1, 4] == 0
    assert "no output looked at it" in inspector.page.locator(".panel").inner_text()
    filled = inspector.page.locator('.panel .formula[aria-label="filled in"]').inner_text()
    assert "no product" in filled
    checks.check_agreement(inspector)


def test_a_run_that_blew_up(visits, tmp_path):
    """Its one step has updates of infinity and NaN: the page shows them, and the other numbers, without an error."""
    network = minicnn.Sequential(
        conv=minicnn.Conv2d(1, 2, 3, rng=0), flatten=minicnn.Flatten(), fc=minicnn.Linear(18, 3, rng=0)
    )
    x = np.random.default_rng(7).standard_normal((4, 1, 5, 5)).astype(np.float32)
    loss, optimizer = minicnn.CrossEntropyLoss().to("reference"), minicnn.SGD(network.to("reference"), lr=1e40)
    recorder, before = minicnn.Recorder(tmp_path / "run", x[0]), network.state_dict()
    # By hand: a Trainer would not make such a step.
    recorder.prepare(network)
    value = loss.forward(network.forward(x), [0, 1, 2, 2])
    network.backward(loss.backward(), need_dx=False)
    with np.errstate(all="ignore"), recorder.watching(network, optimizer, 1, value):
        optimizer.step()
    recorder.save()
    recording = minicnn.inspect.load_recording(tmp_path / "run")
    assert np.isinf(recording.update["conv.weight"]).any()
    network.load_state_dict(before)
    network.inspect(x, [0, 1, 2, 2], replay=recording, path=tmp_path / "page.html")
    inspector = Inspector(visits.open(tmp_path / "page.html"), None)
    inspector.page.locator('#layers a[href="#/replay"]').click()
    np.testing.assert_array_equal(
        inspector.values('[data-replay-norm="update_norm"] [data-name]'), recording.update_norm[0]
    )
    inspector.choose("parameter", recording.names.index("conv.weight"))
    inspector.click("replay-update", 1, 2, (3, 3))
    assert inspector.value('[data-replay-cell="update"]') == recording.update["conv.weight"][0, 0, 0, 1, 2]
    assert inspector.value('[data-replay-cell="weight"]') == recording.weight["conv.weight"][0, 0, 0, 1, 2]
