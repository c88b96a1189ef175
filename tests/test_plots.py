"""Plots and what notebooks show: the numbers that were given are drawn, into the axes that were given."""

import numpy as np
import pytest

import minicnn
from minicnn.classify.evaluate import Evaluation
from minicnn.io.figures import readable
from minicnn.training.lr_find import LRFinding
from minicnn.training.run_state import History
from tests.runs import bits, small_network, small_problem, small_run

plt = pytest.importorskip("matplotlib.pyplot")

HISTORY = History(
    [
        {"epoch": 1, "lr": 0.1, "loss": 0.9, "val_loss": 1.0, "accuracy": 0.5, "seconds": 1.0},
        {"epoch": 2, "lr": 0.1, "loss": 0.5, "accuracy": 0.75, "seconds": 1.0},
        {"epoch": 3, "lr": 0.01, "loss": 0.25, "val_loss": 0.75, "accuracy": 0.875, "seconds": 1.0},
    ]
)


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def trained():
    trainer, _, _ = small_run(fuse=False)
    trainer.step(*small_problem())
    return trainer.network


def evaluation(names=("a", "b")):
    probabilities = np.float32([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    return Evaluation(list(names), [], np.array([0, 1, 1]), probabilities)


FOUND = LRFinding(10.0 ** np.arange(-4, 0), np.float64([3, 2, 1, 5]), np.float64([3, 2.5, 2, 4]), 1e-3)
PLOTS = {
    "history": lambda ax: minicnn.plot_history(HISTORY, ax=ax),
    "lr_find": lambda ax: minicnn.plot_lr_find(FOUND, ax),
    "filters": lambda ax: minicnn.plot_filters(small_network()["conv"], ax),
    "feature maps": lambda ax: minicnn.plot_feature_maps(small_network(), small_problem()[0][0], "relu", ax),
    "gradient flow": lambda ax: minicnn.plot_gradient_flow(trained(), ax),
    "pooling windows": lambda ax: minicnn.plot_pooling_windows(minicnn.AdaptiveMaxPool2d(3), (7, 5), ax),
    "confusion": lambda ax: minicnn.plot_confusion(evaluation(), ax),
}


@pytest.mark.quick
@pytest.mark.parametrize("name", PLOTS)
def test_they_draw_into_the_axes_given_and_return_them(ax, name):
    assert PLOTS[name](ax) is ax
    assert ax.has_data()
    before = plt.get_fignums()
    own = PLOTS[name](None)
    assert own is not ax
    (new,) = set(plt.get_fignums()) - set(before)
    own.figure.canvas.draw()  # nothing is drawn before: a missing glyph, say, is found here
    plt.close(new)


def test_the_history_is_drawn_where_it_has_the_column(ax):
    minicnn.plot_history(HISTORY, ax=ax)
    training, validation = ax.lines
    assert training.get_xydata().tolist() == [[1, 0.9], [2, 0.5], [3, 0.25]]
    assert validation.get_xydata().tolist() == [[1, 1], [3, 0.75]]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training", "validation"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "loss")


def test_an_unknown_column_is_named(ax):
    with pytest.raises(ValueError, match=r"one of the columns epoch, lr, .*, got 'f1'"):
        minicnn.plot_history(HISTORY, "f1", ax)


def test_filters_are_tiles_of_the_weights(ax):
    layer = minicnn.Conv2d(2, 3, (2, 3), rng=0)
    minicnn.plot_filters(layer, ax)
    sheet = ax.images[0].get_array()
    assert sheet.shape == (3 * 3 - 1, 2 * 4 - 1)
    np.testing.assert_array_equal(sheet[3:5, 4:7], layer.params["weight"][1, 1])
    assert np.isnan(np.ma.filled(sheet, np.nan)[2]).all()
    largest = np.abs(layer.params["weight"]).max()
    assert ax.images[0].get_clim() == pytest.approx((-largest, largest))
    with pytest.raises(TypeError, match="expected a Conv2d, got Linear"):
        minicnn.plot_filters(minicnn.Linear(2, 1), ax)


def test_filters_of_colours_are_colours(ax):
    layer = minicnn.Conv2d(3, 5, 3, rng=0)
    layer.params["weight"][4] = 0
    minicnn.plot_filters(layer, ax)
    sheet = ax.images[0].get_array()
    assert sheet.shape == (7, 11, 3)
    np.testing.assert_array_equal(sheet[4:7, 4:7], 0.5)
    assert sheet.min() >= 0
    assert sheet.max() <= 1


def test_feature_maps_are_the_layers_output_and_change_nothing(ax):
    network, image = small_network(), small_problem()[0][0]
    before = bits(network)
    minicnn.plot_feature_maps(network, image, "relu", ax)
    expected = image[None]
    for name in ("conv", "bn", "relu"):
        expected = network[name].predict(expected)
    np.testing.assert_array_equal(ax.images[0].get_array()[7:13, 7:13], expected[0, 3])
    assert bits(network) == before
    with pytest.raises(KeyError, match="no layer 'conv2'"):
        minicnn.plot_feature_maps(network, image, "conv2", ax)
    with pytest.raises(ValueError, match=r"whose output is \(N, C, H, W\), got \(1, 12\) of flatten"):
        minicnn.plot_feature_maps(network, image, "flatten", ax)


def test_gradient_flow_is_the_ratio_of_the_norms(ax):
    network = trained()
    minicnn.plot_gradient_flow(network, ax)
    heights = [bar.get_height() for bar in ax.patches]
    fc = network["fc"]
    assert heights[-2] == pytest.approx(np.linalg.norm(fc.grads["weight"]) / np.linalg.norm(fc.params["weight"]))
    assert [label.get_text() for label in ax.get_xticklabels()][-2:] == ["fc.weight", "fc.bias"]
    with pytest.raises(RuntimeError, match="call backward first"):
        minicnn.plot_gradient_flow(small_network(), ax)


def test_pooling_windows_count_on_each_pixel(ax):
    minicnn.plot_pooling_windows(minicnn.AdaptiveMaxPool2d((1, 3)), (1, 5), ax)  # windows 0-1, 1-3, 3-4
    assert ax.images[0].get_array().tolist() == [[1, 2, 1, 2, 1]]
    assert len(ax.patches) == 3
    with pytest.raises(TypeError, match="expected a pooling layer, got ReLU"):
        minicnn.plot_pooling_windows(minicnn.ReLU(), (4, 4), ax)


def test_names_in_a_script_that_no_font_has_stay_different():
    matplotlib = pytest.importorskip("matplotlib")
    texts, style = readable(["cat × été", "Ж", "\U0001f408 $x$", "\udce9"])
    assert texts[:2] == ["cat × été", "Ж"]
    assert texts[3] == "\\udce9"
    assert style["parse_math"] is False
    assert style["fontfamily"][: len(matplotlib.rcParams["font.family"])] == matplotlib.rcParams["font.family"]
    known = {font.name for font in matplotlib.font_manager.fontManager.ttflist}
    assert set(style["fontfamily"][1:]) <= known
    assert not any(name.startswith("Last Resort") for name in style["fontfamily"])


def test_class_names_in_any_script_are_drawn_without_a_warning(ax):
    minicnn.plot_confusion(evaluation(("猫", "\U00012345$")), ax)
    ax.figure.canvas.draw()  # warnings are errors here
    first, second = (label.get_text() for label in ax.get_yticklabels())
    assert first != second


@pytest.mark.quick
def test_what_notebooks_show():
    network = small_network()
    network["bn"].eval()
    page = network._repr_html_()
    assert "Sequential, " in page
    assert page.count("<tr>") == 8
    assert "<td style='text-align:left'>eval</td>" in page
    layer = network["bn"]._repr_html_()
    assert "BatchNorm2d(4, eps=1e-05, momentum=0.1) in evaluation mode" in layer
    assert [f"{name}</td><td style='text-align:left'>(4,)" in layer for name in ("weight", "running_var")] == [True] * 2
    assert network["relu"]._repr_html_() == "<pre>ReLU()</pre>"
    network.backward(np.ones_like(network.forward(np.ones((2, 1, 6, 6), np.float32))))
    assert "gradient of weight" in network["conv"]._repr_html_()
    history = HISTORY._repr_html_()
    assert history.count("<tr>") == 4
    assert "0.8750" in history
    trainer, train, _ = small_run()
    assert "<caption>1 epoch</caption>" in trainer.fit(train)._repr_html_()
    report = minicnn.gradcheck(minicnn.Linear(3, 2, rng=0), np.random.default_rng(0).standard_normal((4, 3)))
    assert report._repr_html_().startswith("<pre>gradcheck of")


def test_a_loaded_run_shows_its_history_too(tmp_path):
    trainer, train, _ = small_run()
    trainer.fit(train)
    trainer.save(tmp_path / "run", train)
    other, train, _ = small_run()
    other.load(tmp_path / "run", train)
    assert other.history == trainer.history
    assert isinstance(other.history, History)
