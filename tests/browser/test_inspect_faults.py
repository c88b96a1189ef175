"""Faults planted in the page, each of which the checks of the other files must see.

A fault is a change of the page's text before it is opened. Where the text is no longer there, the page has been
rewritten and the fault must be planted anew.
"""

import pytest

from . import inspector as checks
from .inspector import Inspector
from .questions import check_cells_question

pytestmark = pytest.mark.browser


def shown(view, check, *arguments):
    """A check of a view that must be opened first."""

    def run(inspector):
        inspector.show(view)
        check(inspector, view, *arguments)

    return run


def called(check, *arguments):
    """A check of the page's functions, or of a view that it opens itself."""
    return lambda inspector: check(inspector, *arguments)


def playground(inspector):
    inspector.show("grid")
    checks.check_playground(inspector, 10, 3)


FAULTS = {
    "the kernel is not turned": (
        *("own", "const [i, j] = [kernelH - 1 - a, kernelW - 1 - b];", "const [i, j] = [a, b];"),
        called(checks.check_scatter_and_correlation, "edges", 0, 0),
    ),
    "the kernel that is shown is not turned": (
        *("own", "const [i, j] = [kernelH - 1 - a, kernelW - 1 - b];", "const [i, j] = [a, b];"),
        shown("edges", checks.check_arrives, 0, 0, 4, 5),
    ),
    "the padding is forgotten": (
        *("own", "const i = r + padH - p * strideH;", "const i = r - p * strideH;"),
        called(checks.check_scatter_and_correlation, "edges", 0, 0),
    ),
    "a weight hears of the first image only": (
        *("own", "for (const n of range(images))", "for (const n of range(1))"),
        called(checks.check_weight_gradients, "edges", [0], [0]),
    ),
    "a message is sent to a neighbour": (
        *("own", "const s = q * strideW + j - padW;", "const s = q * strideW + j - padW + 1;"),
        shown("edges", checks.check_sent, 0, 0, 0, 3, 3),
    ),
    "a click picks the cell below": (
        *("own", "Math.floor((event.clientY - box.top)", "Math.ceil((event.clientY - box.top)"),
        shown("edges", checks.check_sent, 0, 0, 0, 3, 3),
    ),
    "the path through the variance is missing": (
        *("own", "added(Object.entries(paths).map(", "added(Object.entries(paths).slice(0, 2).map("),
        called(checks.check_paths, "norm", 0, 0),
    ),
    "two paths are confused": (
        *(
            "own",
            "([path, array]) => ({ path, product: array.get(n, c, r, s) })",
            "([path]) => ({ path, product: paths[path === 'mean' ? 'variance' : path === 'variance' ? 'mean' : path]"
            ".get(n, c, r, s) })",
        ),
        shown("norm", checks.check_path_cell, 0, 0, 2, 2),
    ),
    "a window stops at the floor": (
        *("own", "whole((p + 1) * nIn + nOut - 1, nOut)", "whole((p + 1) * nIn, nOut)"),
        playground,
    ),
    "a window is drawn a cell short": (
        *("own", "grid-column: ${start + 1} / ${stop + 1}", "grid-column: ${start + 1} / ${Math.max(stop, start + 2)}"),
        playground,
    ),
    "the windows of rows and columns are confused on the map": (
        *(
            "pools",
            "rectangle(rows[p].slice(0, 2), columns[q].slice(0, 2))",
            "rectangle(columns[q].slice(0, 2), rows[p].slice(0, 2))",
        ),
        shown("adaptive_max", checks.check_windows),
    ),
    "an average is not divided": (
        *("pools", "from / area : wins", "from : wins"),
        called(checks.check_payments, "adaptive_average", 0, 0),
    ),
    "a cell is paid by windows that it did not win": (
        *("pools", "wins ? from : 0", "from"),
        called(checks.check_payments, "fixed_max", 0, 0),
    ),
    "the ring is drawn around another cell": (
        *("pools", "r: Math.floor(at / width), s: at % width", "r: Math.floor(at / width), s: (at + 1) % width"),
        shown("adaptive_max", checks.check_winner, 0, 0, 1, 1),
    ),
    "the mask lets everything pass": (
        *("own", "open ? from : 0", "from"),
        lambda inspector: (inspector.show("relu"), check_shut_cell(inspector)),
    ),
    "the target is forgotten": (
        *("own", "(arrays.p.get(n, k) - arrays.onehot.get(n, k))", "arrays.p.get(n, k)"),
        lambda inspector: (inspector.show("loss"), checks.check_loss(inspector, 0, [3, 0])),
    ),
    "a number has lost its last bit": (
        *("own", "text.charCodeAt(i)", "text.charCodeAt(i) ^ (i === 0)"),
        called(checks.check_arrays),
    ),
    "a number has lost a digit on the way to the reader": (
        *("own", "value.toPrecision(6)", "value.toPrecision(5)"),
        lambda inspector: (inspector.show("edges"), checks.check_texts(inspector)),
    ),
    "a wrong answer is right": (
        *("own", "if (!wrong && !missing) return null;", "return null;"),
        called(check_cells_question, "edges", 0, 4),
    ),
    "after a wrong answer all is told": (
        *("own", 'if (said === null) done("Right.");', 'if (true) done("Right.");'),
        called(check_cells_question, "edges", 0, 4),
    ),
}


def check_shut_cell(inspector):
    r, s = (int(k) for k in next(zip(*(inspector.step.layers["relu"].y[0, 0] == 0).nonzero(), strict=True)))
    checks.check_cells(inspector, "relu", 0, "mask", [((0, r, s), r, s)])


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_seen(visits, pages, steps, tmp_path, fault):
    name, text, faulty, check = FAULTS[fault]
    page = pages[name].read_text("utf-8")
    assert text in page, "the page no longer has this text; plant the fault anew"
    path = tmp_path / "faulty.html"
    path.write_text(page.replace(text, faulty), encoding="utf-8")
    with pytest.raises(AssertionError):
        check(Inspector(visits.open(path), steps[name]))
    check(Inspector(visits.open(pages[name]), steps[name]))  # it is the fault that is seen
