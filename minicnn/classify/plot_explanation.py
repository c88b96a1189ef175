"""The figure of an explanation: where a network looked, and which pixels would change its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from minicnn.classify.grad_cam import GradCAM
from minicnn.classify.plots import interpolation, show_image
from minicnn.io.figures import import_matplotlib, readable
from minicnn.plain import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_explanation(image: Array, cam: GradCAM, gradient: Array, title: str) -> Figure:
    """Three views of one prediction: the image, Grad-CAM over it, and its saliency.

    Args:
        image: (C, H, W) from 0 to 1.
        cam: its `minicnn.classify.grad_cam.GradCAM`.
        gradient: (C, H, W), its `minicnn.classify.grad_cam.saliency`.
        title: a line above all.
    """
    _, height, width = image.shape
    shape = min(max(width / height, 0.4), 2.5)
    figure = import_matplotlib().figure.Figure(
        figsize=(3 * 3.6 * shape**0.5, 3.6 / shape**0.5 + 1.4), layout="constrained"
    )
    (shown,), style = readable([title])
    figure.suptitle(shown, **style)
    (plain, looked, salient), (nothing, *bars) = figure.subplots(2, 3, height_ratios=[25, 1])
    nothing.set_axis_off()
    show_image(plain, image)
    plain.set_title("the image", fontsize=10)

    show_image(looked, image)
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)  # the features cover the whole image, whatever their size
    top = float(cam.heat.max()) or 1.0
    heat = looked.imshow(cam.heat, cmap="inferno", alpha=0.6, vmin=0, vmax=top, extent=extent, interpolation="bilinear")
    looked.set_title(f"Grad-CAM: where {cam.layer} speaks for it", fontsize=10, parse_math=False)
    figure.colorbar(heat, cax=bars[0], orientation="horizontal", ticks=[0, top / 2], format="%.2g")

    change = np.abs(gradient).max(axis=0)
    top = float(change.max()) or 1.0
    pixels = salient.imshow(change, cmap="hot_r", vmin=0, vmax=top, interpolation=interpolation(image))
    salient.set(xticks=[], yticks=[])
    salient.set_title("saliency: |d score / d pixel|", fontsize=10)
    figure.colorbar(pixels, cax=bars[1], orientation="horizontal", ticks=[0, top / 2], format="%.2g")
    return figure
