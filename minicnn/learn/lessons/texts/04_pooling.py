# %% [markdown]
# # 4 · Pooling: one number for each window
#
# Does a picture contain an eye? For the answer it does not matter on which pixel exactly the eye lies. *Pooling*
# throws such detail away on purpose: it lays windows over the image and keeps one number of each, the largest or the
# mean. It has no weights and learns nothing. But gradients must find their way through it, and where windows overlap
# that is easy to get wrong.

# %%
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import minicnn
from minicnn.geometry import fixed_windows
from minicnn.learn.exercises.source import solution
from minicnn.learn.lessons.figures import COLOURS, draw_cells, show, tables

# %% [markdown]
# ## Windows side by side
#
# One image of 4 × 4 and windows of 2 × 2, side by side. The output cell $(p, q)$ belongs to the window in row $p$ and
# column $q$ of the windows. Inputs are counted with $r$ and $s$.
#
# $$y_{pq} = \max_{(r, s) \text{ in window } (p, q)} x_{rs}$$

# %%
x = np.array([[1, 5, 2, 0], [3, 4, 8, 6], [7, 0, 1, 1], [2, 9, 1, 1]], float)[
    None, None
]
dy = np.array([[10, 20], [30, 40]], float)[None, None]

pool = minicnn.MaxPool2d(2).to("reference")
y = pool.forward(x)
print(y[0, 0])
assert y[0, 0].tolist() == [[5, 8], [9, 1]]

# %% [markdown]
# > **Question.** The outputs have the prices `dy`, 10 and 20 above, 30 and 40 below. Which cells of `dx` are not
# > zero? The last window holds four ones: what happens there?

# %% [markdown] tags=["answer"]
# The four winners. Raise the 5 a little and $y_{00}$ rises as much; raise one of its neighbours a little and nothing
# happens, since it still loses. In the last window all four are largest. Raising any one of them raises $y$, lowering
# any one of them does not lower it: a *kink* in four directions, where the derivative does not exist. One has to
# choose, and PyTorch and this framework let the first win, in the order of reading.

# %% tags=["answer"]
dx = pool.backward(dy)
print(dx[0, 0])
assert dx[0, 0].tolist() == [[0, 10, 0, 0], [0, 0, 20, 0], [0, 0, 40, 0], [0, 30, 0, 0]]

# %% tags=["answer", "picture"]
won = np.argwhere(dx[0, 0])
figure = tables(
    [(x[0, 0], "x", "value", won), (y[0, 0], "y")],
    [(dx[0, 0], "dx", "gradient", won), (dy[0, 0], "dy", "gradient")],
)
show(
    figure,
    "Each window has one winner, framed. "
    "It alone passed a number on, so it alone gets the price.",
)

# %% [markdown]
# In symbols. Let $(r^*, s^*)$ be the winner of window $(p, q)$. As long as it stays the winner, which a small enough
# change cannot alter, the output *is* that cell:
#
# $$y_{pq} = x_{r^* s^*}
#   \qquad
#   \frac{\partial y_{pq}}{\partial x_{rs}} = \begin{cases} 1 & (r, s) = (r^*, s^*) \\ 0 & \text{else} \end{cases}$$
#
# The chain rule adds over all outputs, and only those count that the cell has won:
#
# $$\mathrm{dx}_{rs} = \sum_{p, q} \mathrm{dy}_{pq} \, \frac{\partial y_{pq}}{\partial x_{rs}}
#   = \sum_{(p, q) \text{ won by } (r, s)} \mathrm{dy}_{pq}$$
#
# Backward need not know the numbers, only who won. So forward keeps the winner's place (*argmax*) for each output,
# one integer, and forgets the image.
#
# The mean is easier still. With $A$ cells in a window, each of them has the slope $1 / A$:
#
# $$y_{pq} = \frac{1}{A} \sum_{(r, s) \text{ in window } (p, q)} x_{rs}
#   \qquad
#   \mathrm{dx}_{rs} = \sum_{(p, q) \text{ over } (r, s)} \frac{\mathrm{dy}_{pq}}{A}$$

# %%
mean = minicnn.AvgPool2d(2).to("reference")
print(mean.forward(x)[0, 0])
print(mean.backward(dy)[0, 0])
assert mean.forward(x)[0, 0, 0, 0] == (1 + 5 + 3 + 4) / 4
assert np.array_equal(mean.backward(dy)[0, 0, :2, :2], np.full((2, 2), 10 / 4))

# %% [markdown]
# ## Windows that overlap
#
# The *stride* says how far it is from one window to the next. If it is smaller than the window, neighbours share
# cells. Take 5 × 5 cells, windows of 3 × 3 and stride 2: there are 2 × 2 windows, and the cell in the middle lies in
# all of them.
#
# > **Question.** The middle cell is the largest of all, and all four prices are 1. What is its gradient?

# %% [markdown] tags=["answer"]
# Four. It is the winner of four windows and each sends it the price 1: raise it by $t$ and four outputs rise by $t$.
# The sum in the formula above is no ornament. Who writes `dx[r, s] = dy[p, q]` instead of `+=` gets 1, and loses
# three quarters of the gradient without any error. With windows side by side the two are the same, which is why the
# mistake survives tests that have no others.

# %% tags=["answer"]
overlapping = minicnn.MaxPool2d(3, stride=2).to("reference")
x = np.array(
    [
        [1, 2, 1, 0, 5],
        [0, 3, 2, 1, 1],
        [1, 1, 9, 2, 0],
        [8, 0, 2, 1, 4],
        [2, 1, 0, 3, 1],
    ],
    float,
)[None, None]
y = overlapping.forward(x)
dx = overlapping.backward(np.ones_like(y))
assert y[0, 0].tolist() == [[9, 9], [9, 9]]
assert dx[0, 0, 2, 2] == 4
assert np.count_nonzero(dx) == 1

# %% [markdown]
# Here is a case with more than one winner: with windows of 2 × 2 and stride 1 the same image has sixteen windows, and
# every price is 1. What is printed in a cell of `dx` is then how many windows it won.

# %%
dense = minicnn.MaxPool2d(2, stride=1).to("reference")
dy = np.ones_like(dense.forward(x))
dx = dense.backward(dy)
print(dx[0, 0])

dense.forward(x)
assigned = np.zeros((5, 5))
for place in dense.memory.argmax.flat:  # who won each window
    assigned[divmod(place, 5)] = 1  # the mistake: = for +=
print(f"prices sent {dy.sum():.0f}, arrived {dx.sum():.0f}")
print(f"with the mistake {assigned.sum():.0f}")
assert dx.sum() == dy.sum() == 16
assert assigned.sum() < 16

# %% tags=["picture"]
figure = Figure(figsize=(7.2, 3.4), layout="constrained")
left, right = figure.subplots(1, 2)
draw_cells(left, x[0, 0], "x, and the four windows with stride 2")
colours = (*COLOURS.values(), "#1c5fb0")
for k, (p, q) in enumerate(np.ndindex(2, 2)):
    inset = 0.1 + 0.08 * k  # so that no frame hides another
    corner, side = (2 * q + inset, 2 * p + inset), 3 - 2 * inset
    left.add_patch(
        Rectangle(corner, side, side, fill=False, edgecolor=colours[k], linewidth=2.5)
    )
draw_cells(right, dx[0, 0], "2 × 2, stride 1: windows won", "gradient")
show(
    figure,
    "Left: the four windows of 3 × 3 meet in the middle. "
    "Right: how many of the sixteen windows of 2 × 2 each cell won.",
)

# %% [markdown]
# The printed line is a check worth remembering: *what goes in must come out*. In max pooling each price arrives at
# exactly one cell, in average pooling (without padding) it is split into shares that add up to it. So the sum of `dx`
# is the sum of `dy`, whatever the image.
#
# ## Where the windows lie
#
# Along one axis with $n$ cells, window $p$ begins at $p$ times the stride, and it fits while it ends within the $n$
# cells. *Padding* lays more cells around the image, as many on each side as it says. So the first window begins that
# far outside, and there are more cells to fit in:
#
# $$\text{start} = p \cdot \text{stride} - \text{padding}$$
#
# $$\text{number of windows}
#   = \left\lfloor \frac{n + 2 \cdot \text{padding} - \text{kernel}}{\text{stride}} \right\rfloor + 1$$
#
# The kernel is the number of cells in a window, and the brackets $\lfloor \; \rfloor$ mean: round down. Cells at the
# end that no further window reaches are left over, and their gradient is 0.
#
# > **Question.** 7 cells, windows of 3, stride 2, padding 1. How many windows are there, and which cells does each
# > hold?

# %% tags=["answer"]
table = fixed_windows(7, kernel=3, stride=2, padding=1)
for p, (start, stop, extent) in enumerate(table):
    print(f"window {p}: cells {start} to {stop - 1}, counted as {extent}")
assert len(table) == (7 + 2 * 1 - 3) // 2 + 1 == 4
assert table[0].tolist() == [0, 2, 3]  # begins at -1, which is outside

# %% [markdown]
# What is the value of a cell of padding? For the mean it is a zero, and it counts: a window at the border is divided
# by all its cells. For the maximum it must *not* be zero, or a window of negative numbers would be won by nothing.
# The framework cuts windows to the image, and a cell that is not there cannot win.

# %%
negative = np.full((1, 1, 3, 3), -5.0)
largest = minicnn.MaxPool2d(2, padding=1).to("reference").forward(negative)
means = minicnn.AvgPool2d(2, padding=1).to("reference").forward(negative)
print("largest", largest[0, 0].tolist())
print("means  ", means[0, 0].tolist())
assert (largest == -5).all()
assert means[0, 0, 0, 0] == -5 / 4  # one cell of the image and three zeros

# %% [markdown]
# ## All windows of all images
#
# > **Question.** Let `argmax` $(N, C, OH, OW)$ say for each output which cell won, as its place in the image laid out
# > as one row, and let `dx` $(N, C, H \cdot W)$ be zeros. Write backward in NumPy. Why would a single line for all
# > windows, `dx[n, c, argmax] += dy`, be wrong?

# %% [markdown] tags=["answer"]
# Where a place occurs twice among the indices of one `+=`, NumPy adds once: it computes all sums first, then writes,
# and the last one stays. Within one window each image and channel has its own place, so taken window by window it is
# right.

# %% tags=["answer"]
twice = np.zeros(3)
twice[[1, 1]] += 1
assert twice.tolist() == [0, 1, 0]

print("The answer, to be compared with yours:\n")
print(solution("minicnn.backends.reference.pooling", "max_pool2d_backward"))

# %% [markdown]
# ## Now you
#
# Do the exercise `pooling`:
#
#     minicnn learn check pooling
#
# Then compare with `minicnn/layers/pooling.py`, where four layers are two questions with two answers each, and with
# `minicnn/backends/reference/pooling.py`. The windows are in `minicnn/geometry.py`.
