"""Answering the questions that the inspector's page asks."""

import re

from . import inspector as checks

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


def verdict(inspector, which=-1):
    """What the page says to the last answer, or to that of an earlier question."""
    return inspector.page.locator(".panel .verdict").nth(which).inner_text()


def text_of_everything(inspector):
    """All that can be read in the view or heard of it, closed parts included."""
    return inspector.page.locator("#view").evaluate(
        """(view) => view.textContent + [...view.querySelectorAll("*")].flatMap((element) =>
            ["title", "aria-label", "data-value"].map((name) => element.getAttribute(name) ?? "")).join(" ")"""
    )


def check_cells_question(inspector, name, p, q):
    """Which cells of dx hear of a cell of dy: wrong answers are refused, and only the right one is followed by more."""
    at = asking(inspector, name)
    inspector.click("dy", p, q, at.dy.shape[2:])
    right = set(checks.seen(at, p, q).values())
    assert inspector.page.locator(REVEALED).count() == 0
    away = (max(right)[0] + 1, max(right)[1] + 1)
    for wrong, words in [
        (set(), f"none too many, {len(right)} missing"),
        (right - {min(right)}, "none too many, 1 missing"),
        (right | {away}, "1 too many, none missing"),
        (right - {min(right)} | {away}, "1 too many, 1 missing"),
    ]:
        answer_cells(inspector, wrong)
        assert inspector.page.locator(REVEALED).count() == 0
        assert words in verdict(inspector)
    answer_cells(inspector, right)
    assert verdict(inspector, 0).startswith("Right.")
    solved = inspector.page.locator(".patch .solved.yes").evaluate_all("all => all.map(e => e.ariaLabel)")
    assert solved == [f"row {row}, column {column}: yes" for row, column in sorted(right)]
    # Then, what does it send through one of the weights?
    assert inspector.page.locator(REVEALED).count() == 0
    question = inspector.page.locator('form[data-question="number"]').inner_text()
    i, j = map(int, re.search(r"tap \((\d+), (\d+)\)", question).groups())
    product = at.dy[0, 0, p, q] * at.layer.params["weight"][0, 0, i, j]
    answer_number(inspector, 2 * product)
    assert "Nearer to zero" in verdict(inspector)
    assert inspector.page.locator(REVEALED).count() == 0
    answer_number(inspector, product)
    assert verdict(inspector).startswith("Right.")
    assert len(inspector.values('[data-product="dx"]')) == len(right)
