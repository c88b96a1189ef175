"""What is rare: a page in a notebook's frame."""

import pytest

from . import networks

pytestmark = pytest.mark.browser


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
