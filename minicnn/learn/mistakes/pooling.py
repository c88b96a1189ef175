"""Mistakes with pooling and its windows."""

from minicnn.learn.mistakes.mistake import Mistake

WIN = "dx[n, c, argmax[:, :, p, q]] += dy[:, :, p, q]"

MISTAKES = (
    Mistake(
        "max_pool2d_backward",
        "= for +=",
        {WIN: WIN.replace("+=", "=")},
        "Where windows overlap, a cell that won twice keeps the gradient of its last window only: that of =, "
        "and in NumPy "
        "also of += with an array of indices in which a cell stands twice.",
        "If one cell is the maximum of two windows, by how much does the loss grow when it grows a little? "
        "And what does "
        "NumPy's documentation say of np.add.at?",
    ),
    Mistake(
        "max_pool2d_backward",
        "all cells of the window",
        {
            WIN: "(top, bottom, _), (left, right, _) = rows[p], columns[q]\n"
            "            cells = (np.arange(top, bottom)[:, None] * width + np.arange(left, right)).ravel()\n"
            "            dx[:, :, cells] += dy[:, :, p, q, None]"
        },
        "Every cell of a window gets the whole of its gradient.",
        "If a cell that did *not* win grows by a tiny bit, does the maximum change?",
    ),
    Mistake(
        "max_pool2d_backward",
        "the first cell of the window",
        {WIN: "first = rows[p][0] * width + columns[q][0]\n            dx[:, :, first] += dy[:, :, p, q]"},
        "The gradient of a window goes to its first cell, at the top left.",
        "Which cell did forward take the number from? Which of the arguments remembers it?",
    ),
    Mistake(
        "max_pool2d_backward",
        "wins counted",
        {WIN: "dx[n, c, argmax[:, :, p, q]] += 1"},
        "You count how often a cell has won.",
        "A winner's output was worth dy to the loss. Where does dy come in?",
    ),
    Mistake(
        "max_pool2d_backward",
        "the first image's winners",
        {"argmax[:, :, p, q]": "argmax[:1, :1, p, q]"},
        "You use the winners of the first channel of the first image for all.",
        "Does the same cell win in every image and channel?",
    ),
    Mistake(
        "max_pool2d_backward",
        "shared by the whole window",
        {
            WIN: "(top, bottom, _), (left, right, _) = rows[p], columns[q]\n"
            "            cells = (np.arange(top, bottom)[:, None] * width + np.arange(left, right)).ravel()\n"
            "            dx[:, :, cells] += dy[:, :, p, q, None] / cells.size"
        },
        "You spread dy over the whole window. That is the gradient of a mean.",
        "If a cell that did *not* win grows by a tiny bit, does the maximum change?",
    ),
    Mistake(
        "max_pool2d_backward",
        "rows and columns exchanged",
        {
            WIN: "r, s = np.divmod(argmax[:, :, p, q], width)\n"
            "            dx[n, c, (s * height + r) % (height * width)] += dy[:, :, p, q]"
        },
        "The gradients land at cells whose row and column are exchanged.",
        "argmax is r * W + s. Which of W and H turns it back into a row and a column?",
    ),
    Mistake(
        "max_pool2d_backward",
        "divided by the height",
        {
            WIN: "r, s = np.divmod(argmax[:, :, p, q], height)\n"
            "            dx.reshape(n_images, n_channels, height, width)[n, c, r, s] += dy[:, :, p, q]"
        },
        "You divide argmax by the height to get a row and a column.",
        "argmax is r * W + s. How many cells does one step of r skip?",
    ),
    Mistake(
        "avg_pool2d_forward",
        "the mean forgotten",
        {"window_sum / x.dtype.type(extent_h * extent_w)": "window_sum"},
        "Your y is the sum of each window.",
        "A mean is a sum divided by something: by what?",
    ),
    Mistake(
        "avg_pool2d_forward",
        "padding not counted",
        {"x.dtype.type(extent_h * extent_w)": "((bottom - top) * (right - left))"},
        "Inside you are right. At the border you divide by the cells that lie in the image.",
        "Padding counts as zeros here (PyTorch's default). What is the extent for, if start and stop are cut?",
    ),
    Mistake(
        "avg_pool2d_forward",
        "divided by a side",
        {"extent_h * extent_w": "extent_h"},
        "You divide by the height of the window alone.",
        "How many cells does a window of extent_h rows and extent_w columns have?",
    ),
    Mistake(
        "adaptive_start",
        "rounded down too early",
        {"p * n_in // n_out": "p * (n_in // n_out)"},
        "Where n_out divides n_in you are right. Elsewhere your windows may drift to the left, the last the farthest.",
        "Rounding loses a part of a cell. Should it be lost once for each window, or once at the end?",
    ),
    Mistake(
        "adaptive_start",
        "rounded to the nearest",
        {"p * n_in // n_out": "round(p * n_in / n_out)"},
        "You round to the nearest cell, so that some windows start one cell late.",
        "May a window leave out a cell of which it covers a part?",
    ),
    Mistake(
        "adaptive_start",
        "rounded up",
        {"p * n_in // n_out": "(p * n_in + n_out - 1) // n_out"},
        "You round the start up.",
        "A window that begins in the middle of a cell: does it look at that cell?",
    ),
    Mistake(
        "adaptive_start",
        "floating point",
        {"p * n_in // n_out": "int(p * (n_in / n_out))"},
        "Where p * n_in / n_out is a whole number, floating point may come out just below it: one cell too low.",
        "n_in / n_out is no finite binary fraction. Can you order the operations so that all numbers are integers?",
    ),
    Mistake(
        "adaptive_start",
        "input and output exchanged",
        {"p * n_in // n_out": "p * n_out // n_in"},
        "You multiply by the number of windows and divide by the number of cells.",
        "With 10 cells and 2 windows the second window should start at 5: what does your formula say?",
    ),
    Mistake(
        "adaptive_stop",
        "floor for ceil",
        {"((p + 1) * n_in + n_out - 1) // n_out": "(p + 1) * n_in // n_out"},
        "You round the stop down. Where the sizes do not divide, windows lose a cell, and neighbours never overlap.",
        "Window 0 of 5 cells in 3 windows covers 1 2/3 cells. How many cells does it look at?",
    ),
    Mistake(
        "adaptive_stop",
        "floating point",
        {"((p + 1) * n_in + n_out - 1) // n_out": "-int(-(p + 1) * (n_in / n_out) // 1)"},
        "For some sizes (p + 1) * n_in / n_out is a whole number, and floating point comes out just above it: the last "
        "window leaves the image.",
        "n_in / n_out is no finite binary fraction. Can you order the operations so that all numbers are integers?",
    ),
    Mistake(
        "adaptive_stop",
        "rounded to the nearest",
        {"((p + 1) * n_in + n_out - 1) // n_out": "round((p + 1) * n_in / n_out)"},
        "You round to the nearest cell, so that some windows lose their last cell.",
        "May a window leave out a cell of which it covers a part?",
    ),
    Mistake(
        "adaptive_stop",
        "start plus a fixed size",
        {"((p + 1) * n_in + n_out - 1) // n_out": "p * n_in // n_out + -(-n_in // n_out)"},
        "Your windows all have one size. Some of the true ones are longer by a cell.",
        "Are the windows of 14 cells in 4 windows all of one size? Draw them.",
    ),
    Mistake(
        "adaptive_stop",
        "the same window's start",
        {"((p + 1) * n_in + n_out - 1) // n_out": "(p * n_in + n_out - 1) // n_out"},
        "You round up p * n_in / n_out, so that window p stops where it starts.",
        "Window p stops where which window starts, before rounding?",
    ),
    Mistake(
        "adaptive_stop",
        "always one more",
        {"((p + 1) * n_in + n_out - 1) // n_out": "(p + 1) * n_in // n_out + 1"},
        "Where (p + 1) * n_in / n_out is a whole number, you are one cell too far; the last window leaves the image.",
        "Rounding a whole number up leaves it alone. How can you add a little less than 1, in integers?",
    ),
    Mistake(
        "adaptive_stop",
        "the last cell, not one past it",
        {"// n_out": "// n_out - 1"},
        "You give the last cell of each window.",
        "The convention is Python's: x[start:stop]. Is x[stop] in it?",
    ),
    Mistake(
        "avg_pool2d_backward",
        "= for +=",
        {"] += share": "] = share"},
        "Where windows overlap, a cell keeps the share of its last window only.",
        "If a cell is part of two windows, how many outputs change when it changes?",
    ),
    Mistake(
        "avg_pool2d_backward",
        "not divided by the area",
        {" / dy.dtype.type(extent_h * extent_w)": ""},
        "Every cell of a window gets all of dy.",
        "If one of four cells grows by 1, by how much does their mean grow?",
    ),
    Mistake(
        "avg_pool2d_backward",
        "padding not counted",
        {"dy.dtype.type(extent_h * extent_w)": "((bottom - top) * (right - left))"},
        "Inside you are right. At the border you divide by the cells in the image, and forward divided by the extents.",
        "By what was the sum of a window divided in forward?",
    ),
    Mistake(
        "avg_pool2d_backward",
        "the window's first cell only",
        {"dx[:, :, top:bottom, left:right] += share[:, :, None, None]": "dx[:, :, top, left] += share"},
        "Only the first cell of each window gets its share.",
        "Which cells of a window were added up in forward?",
    ),
    Mistake(
        "avg_pool2d_backward",
        "divided by the number of windows",
        {"dy.dtype.type(extent_h * extent_w)": "(len(rows) * len(columns))"},
        "You divide by the number of windows.",
        "A window's mean was a sum divided by the number of … what?",
    ),
    Mistake(
        "avg_pool2d_backward",
        "divided by a side",
        {"extent_h * extent_w": "extent_h"},
        "You divide by the height of the window alone.",
        "How many cells does a window of extent_h rows and extent_w columns have?",
    ),
)
