"""The inspector's page on a telephone and on a projector, in light and dark, by keyboard and by ear."""

import io

import numpy as np
import pytest
from PIL import Image

import minicnn

from . import audit
from .inspector import Inspector
from .networks import step

pytestmark = pytest.mark.browser

VIEWS = {
    "own": ("overview", "edges", "norm", "relu", "grid", "flatten"),
    "pools": ("adaptive_max", "fixed_average", "scores", "log_softmax", "loss"),
}


# A telephone is touched, and then every map has buttons to go from cell to cell.
PHONE, PROJECTOR = {"width": 360, "has_touch": True}, {"width": 1920}


@pytest.mark.parametrize(("screen", "color_scheme"), [(PHONE, "light"), (PROJECTOR, "dark")])
@pytest.mark.parametrize("name", VIEWS)
def test_every_kind_of_view_fits_and_is_accessible(inspect, name, screen, color_scheme):
    inspector = inspect(name, color_scheme=color_scheme, **screen)
    assert inspector.page.evaluate("matchMedia('(pointer: coarse)').matches") == (screen is PHONE)
    problems = []
    for view in VIEWS[name]:
        inspector.show(view)
        problems += [
            f"{view}: {problem}"
            for check in (audit.overflow, audit.accessibility_problems, audit.nameless_controls, audit.mouse_only)
            for problem in check(inspector.page)
        ]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("screen", [PHONE, PROJECTOR])
def test_every_view_of_simplenet_fits(inspect, screen):
    inspector = inspect("simplenet", **screen)
    problems = []
    for view in ("overview", *inspector.step.layers, "loss"):
        inspector.show(view)
        problems += [f"{view}: {problem}" for problem in audit.overflow(inspector.page)]
    assert not problems, "\n".join(problems)


def test_long_names_fit(visits, tmp_path):
    first, last = "the_first_layer_of_all_that_there_are", "and_the_last_of_them_which_gives_the_answer"
    network = minicnn.Sequential(**{first: minicnn.Flatten(), last: minicnn.Linear(6, 2, rng=0)})
    x = np.random.default_rng(8).standard_normal((1, 1, 2, 3)).astype(np.float32)
    network.inspect(x, [1], path=tmp_path / "page.html", classes=["a class with a name like this", "x" * 40])
    inspector = Inspector(visits.open(tmp_path / "page.html", **PHONE), step(network, x, np.array([1])))
    problems = []
    for view in ("overview", first, last, "loss"):
        inspector.show(view)
        problems += [f"{view}: {problem}" for problem in audit.overflow(inspector.page)]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(("name", "asking"), [("own", False), ("pools", True)])
def test_every_control_is_reached_by_tab(inspect, name, asking):
    inspector = inspect(name)
    inspector.page.get_by_label("Ask me first").set_checked(asking)
    problems = []
    for view in VIEWS[name]:
        inspector.show(view)
        problems += [f"{view}: {problem}" for problem in audit.unreachable_controls(inspector.page)]
    assert not problems, "\n".join(problems)


def test_the_colours_follow_the_theme_while_the_page_is_open(inspect):
    inspector = inspect("own")
    inspector.show("edges")

    def lightness():
        """Of the page as a whole, and of the map of dx, from 0 to 255."""
        shots = [inspector.page.screenshot(), inspector.map("dx").locator("canvas").screenshot()]
        return [np.asarray(Image.open(io.BytesIO(shot)).convert("L")).mean() for shot in shots]

    light = lightness()
    inspector.page.emulate_media(color_scheme="dark")
    dark = lightness()
    inspector.page.emulate_media(color_scheme="light")
    assert min(light) > 170
    assert max(dark) < 85
    assert lightness() == pytest.approx(light, abs=0.5)


def test_a_screen_reader_is_told_the_numbers(inspect):
    inspector = inspect("own")
    at = inspector.show("edges")
    frame = inspector.map("dy").locator(".map-frame")
    assert "dy, gradient of the output, channel 0: 9 rows, 12 columns" in frame.get_attribute("aria-label")
    frame.focus()
    inspector.page.keyboard.press("Home")
    for _ in range(9):
        inspector.page.keyboard.press("ArrowUp")
    inspector.page.keyboard.press("ArrowRight")
    described = inspector.page.locator(f"#{frame.get_attribute('aria-describedby')}")
    assert described.get_attribute("aria-live") == "polite"
    assert described.inner_text().startswith("dy[0, 0, 0, 1] = ")
    assert float(described.locator("[data-value]").get_attribute("data-value")) == at.dy[0, 0, 0, 1]
    inspector.page.keyboard.press("Enter")
    assert "dy at row 0, column 1 is" in inspector.page.locator('.panel [role="status"]').first.text_content()


def test_a_map_can_be_read_as_a_table(inspect):
    inspector = inspect("own")
    at = inspector.show("edges")
    inspector.map("dx").locator(".as-table summary").click()
    rows = inspector.map("dx").locator("tbody tr")
    rows.first.wait_for()  # the browser says a moment later that the table was opened
    numbers = rows.evaluate_all(
        "all => all.map(row => [...row.querySelectorAll('[data-value]')].map(cell => Number(cell.dataset.value)))"
    )
    assert numbers == at.dx[0, 0].tolist()
