"""Asking before telling: a wrong answer is refused, and nothing is given away until the right one is there."""

import numpy as np
import pytest

from . import inspector as checks
from .questions import REVEALED, answer_cells, answer_number, asking, check_cells_question, text_of_everything, verdict

pytestmark = pytest.mark.browser


def test_which_cells_of_dx_hear_of_a_cell_of_dy(inspect):
    check_cells_question(inspect("own"), "edges", 0, 4)


def test_how_many_products_make_a_cell_of_dx(inspect):
    inspector = inspect("own")
    at = asking(inspector, "edges")
    inspector.click("dx", 3, 7, at.x.shape[2:], at.layer.padding)
    right = len(checks.arriving(at, 0, 0, 3, 7))
    for wrong, words in [("", "type a number"), ("many", "type a number"), (right - 1, "more"), (right + 1, "fewer")]:
        answer_number(inspector, wrong)
        assert words in verdict(inspector)
        assert inspector.page.locator(REVEALED).count() == 0
    answer_number(inspector, right)
    assert verdict(inspector).startswith("Right.")
    assert inspector.array_value("scatter") == at.dx[0, 0, 3, 7]


def test_the_winner_of_a_window(inspect):
    inspector = inspect("pools")
    at = asking(inspector, "adaptive_max")
    inspector.click("dy", 3, 2, at.y.shape[2:])
    winner = checks.winner_of(at, 0, 0, 3, 2)
    (top, bottom, _), (left, right, _) = (table[k] for table, k in zip(checks.windows_of(at), (3, 2), strict=True))
    other = next((r, s) for r in range(top, bottom) for s in range(left, right) if (r, s) != winner)
    answer_cells(inspector, {other})
    assert "1 too many, 1 missing" in verdict(inspector)
    assert inspector.map("dx").locator(".map-veil").is_visible()
    answer_cells(inspector, {winner})
    assert verdict(inspector).startswith("Right.")
    assert not inspector.map("dx").locator(".map-veil").is_visible()


def test_how_many_products_make_a_cell_of_y(inspect):
    inspector = inspect("own")
    at = asking(inspector, "edges")
    inspector.click("y", 0, 0, at.y.shape[2:])  # a corner, where part of the kernel lies on the padding
    right = at.x.shape[1] * len(checks.seen(at, 0, 0))
    assert right < at.layer.params["weight"][0].size
    answer_number(inspector, at.layer.params["weight"][0].size)
    assert "fewer" in verdict(inspector)
    assert inspector.page.locator(REVEALED).count() == 0
    answer_number(inspector, right)
    assert verdict(inspector).startswith("Right.")
    assert inspector.array_value("forward") == at.y[0, 0, 0, 0]


def test_what_a_cell_of_dy_sends_to_a_weight_of_a_linear_layer(inspect):
    inspector = inspect("own")
    at = asking(inspector, "answer")
    inspector.click("dy", 2, 0, (5, 1))
    d = int(np.abs(at.x[0]).argmax())
    assert inspector.page.locator('form[data-question="number"]').inner_text().startswith(f"Input {d} is ")
    assert inspector.map("dweight").locator(".map-veil").is_visible()
    answer_number(inspector, at.dy[0, 2] * at.x[0, d] * 1.05)
    assert verdict(inspector) == "Nearer to zero than that."
    assert inspector.page.locator(REVEALED).count() == 0
    answer_number(inspector, at.dy[0, 2] * at.x[0, d])
    assert verdict(inspector).startswith("Right.")
    assert not inspector.map("dweight").locator(".map-veil").is_visible()
    assert inspector.array_value("bias") == at.layer.grads["bias"][2]


def test_how_many_products_make_an_output_of_a_linear_layer(inspect):
    inspector = inspect("own")
    at = asking(inspector, "answer")
    inspector.click("y", 3, 0, (5, 1))
    answer_number(inspector, 47)
    assert "more" in verdict(inspector)
    assert inspector.page.locator(REVEALED).count() == 0
    answer_number(inspector, 48)
    assert inspector.array_value("forward") == at.y[0, 3]


@pytest.mark.parametrize("view", ["norm", "answer", "loss"])
def test_what_will_this_number_be(inspect, view):
    inspector = inspect("own")
    at = asking(inspector, view)
    if view == "norm":
        inspector.click("dx", 4, 6, at.x.shape[2:])
        inspector.page.get_by_role("button", name="Show me").click()  # the first question of two
        expected, where, array = at.dx[0, 0, 4, 6], "paths", at.dx[0, 0, 4, 6]
    elif view == "answer":
        inspector.click("dweight", 2, 3, (5, 32))
        expected, where = at.dy[0, 2] * at.x[0, 3], "weight"
        array = at.layer.grads["weight"][2, 3]  # of both images
    else:
        inspector.page.locator('[data-class="1"]').click()
        array = expected = inspector.step.layers["answer"].dy[0, 1]
        where = "loss"
    assert expected != 0
    text = text_of_everything(inspector)
    assert repr(float(expected)) not in text
    assert f"{abs(expected):.6g}" not in text
    for wrong, words in [
        (-expected, "sign"),
        (1.05 * expected, "Nearer to zero"),
        (0.95 * expected, "Further away"),
        ("one", "type a number"),
    ]:
        answer_number(inspector, wrong)
        assert words in verdict(inspector)
        assert inspector.page.locator(f'#view [data-result="{where}"]').count() == 0
    answer_number(inspector, f"{expected:.3e}".replace("-", "−").replace(".", ","))  # as the page writes it
    assert verdict(inspector).startswith("Right.")
    assert inspector.array_value(where) == array


def test_one_may_always_be_shown(inspect):
    inspector = inspect("own")
    for view in inspector.step.layers:
        asking(inspector, view)
        assert inspector.page.locator("[data-question]").count() == 1, view
        inspector.page.get_by_role("button", name="Show me").click()
        assert "The answer:" in inspector.page.locator(".verdict").first.inner_text()
    inspector.page.get_by_label("Ask me first").uncheck()
    assert inspector.page.locator("[data-question]").count() == 0
