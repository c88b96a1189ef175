"""Asking before telling: a wrong answer is refused, and nothing is given away until the right one is there."""

import numpy as np
import pytest

from . import inspector as checks

pytestmark = pytest.mark.browser

# What stands in a view only after its question is answered.
REVEALED = ".panel [data-product], .panel [data-result], .panel .formula:not(h2 + .formula)"


def asking(inspector, view):
    """Open a view in which one is asked first."""
    inspector.page.get_by_label("Ask me first").check()
    return inspector.show(view)


def answer_cells(inspector, cells):
    """Switch on the cells of the patch that are among `cells`, (row, column) in the map; off all others. Check."""
    for button in inspector.page.locator('form[data-question="cells"] .patch button').all():
        row, column = (int(word) for word in button.get_attribute("aria-label").replace(",", "").split()[1::2])
        if (button.get_attribute("aria-pressed") == "true") != ((row, column) in cells):
            button.click()
    inspector.page.get_by_role("button", name="Check").click()


def answer_number(inspector, number):
    field = inspector.page.locator('form[data-question="number"] input')
    field.fill(str(number))
    field.press("Enter")


def verdict(inspector):
    return inspector.page.locator(".panel .verdict").last.inner_text()


def text_of_everything(inspector):
    """All that can be read in the view or heard of it, closed parts included."""
    return inspector.page.locator("#view").evaluate(
        """(view) => view.textContent + [...view.querySelectorAll("*")].flatMap((element) =>
            ["title", "aria-label", "data-value"].map((name) => element.getAttribute(name) ?? "")).join(" ")"""
    )


def test_which_cells_of_dx_hear_of_a_cell_of_dy(inspect):
    inspector = inspect("own")
    at = asking(inspector, "edges")
    inspector.click("dy", 0, 4, at.dy.shape[2:])
    right = set(checks.seen(at, 0, 4).values())
    assert len(right) == 6  # a row of the window is in the padding
    assert inspector.page.locator(REVEALED).count() == 0
    for wrong, words in [
        (set(), "none too many, 6 missing"),
        (right - {min(right)}, "none too many, 1 missing"),
        (right | {(2, 7)}, "1 too many, none missing"),
        (right - {min(right)} | {(3, 9)}, "1 too many, 1 missing"),
    ]:
        answer_cells(inspector, wrong)
        assert words in verdict(inspector)
        assert inspector.page.locator(REVEALED).count() == 0
    answer_cells(inspector, right)
    assert inspector.page.locator(".panel .verdict").first.inner_text().startswith("Right.")
    # Then one of the messages is asked for: the largest of channel 0.
    assert inspector.page.locator(REVEALED).count() == 0
    weight = at.layer.params["weight"][0, 0]
    largest = max((at.dy[0, 0, 0, 4] * weight[tap] for tap in checks.seen(at, 0, 4)), key=abs)
    answer_number(inspector, -largest)
    assert "sign" in verdict(inspector)
    answer_number(inspector, f"{largest:.3g}")
    assert verdict(inspector).startswith("Right.")
    assert len(inspector.values('[data-product="dx"]')) == len(right)
    solved = inspector.page.locator(".patch .solved.yes").evaluate_all("all => all.map(e => e.ariaLabel)")
    assert solved == [f"row {row}, column {column}: yes" for row, column in sorted(right)]


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
    (top, bottom, _), (left, right, _) = (table[k] for table, k in zip(checks.windows_of(at), (3, 2), strict=True))
    window = at.x[0, 0, top:bottom, left:right]
    row, column = (int(k) for k in np.unravel_index(window.argmax(), window.shape))
    winner = (top + row, left + column)
    other = next((top + r, left + s) for r, s in np.ndindex(window.shape) if (top + r, left + s) != winner)
    answer_cells(inspector, {other})
    assert "1 too many, 1 missing" in verdict(inspector)
    assert inspector.map("dx").locator(".map-veil").is_visible()
    answer_cells(inspector, {winner})
    assert verdict(inspector).startswith("Right.")
    assert not inspector.map("dx").locator(".map-veil").is_visible()


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
    answer_number(inspector, f"{expected:.3g}".replace("-", "−").replace(".", ","))
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
