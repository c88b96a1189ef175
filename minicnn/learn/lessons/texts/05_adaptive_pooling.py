# %% [markdown]
# # 5 · Adaptive pooling: pictures of any size
#
# The last layer of a classifier is linear, and a linear layer has a weight for each of its inputs. So their number is
# fixed once and for all. Pictures come in all sizes. Somewhere between the two, an image of whatever size has to
# become a fixed number of numbers. Here is what happens if nothing does that:

# %%
import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import minicnn
from minicnn import geometry
from minicnn.learn.exercises.source import solution
from minicnn.learn.lessons.figures import COLOURS, GREY, as_text, show

stubborn = minicnn.Sequential(
    conv=minicnn.Conv2d(1, 4, kernel_size=3, padding=1, rng=0),
    flatten=minicnn.Flatten(),
    fc=minicnn.Linear(4 * 8 * 8, 10, rng=0),
).to("reference", np.float64)
print(stubborn.predict(np.zeros((1, 1, 8, 8))).shape)

refusal = ""
try:
    stubborn.predict(np.zeros((1, 1, 9, 8)))
except ValueError as error:
    refusal = str(error)
print(refusal)
assert "(N, 256), got (1, 288)" in refusal

# %% [markdown]
# One can resize every picture beforehand, and squash some of them, or pad them all to the largest, and compute with
# nothing. Or one can let the *pooling* adapt: instead of the size of a window fix the number of windows, and spread
# them over the image, however large it is. Convolutions do not mind: their weights belong to a small window, and they
# pass over a large image as over a small one.
#
# ## Where the windows lie
#
# One axis first: $n$ cells are to be covered by $m$ windows. Ideally each would be $n / m$ long, and window $p$ would
# reach from $p \, n / m$ to $(p + 1) \, n / m$. These are no whole numbers. So a window takes every cell that its
# ideal stretch touches: round the start down and the stop up.
#
# $$\text{start}_p = \left\lfloor \frac{p \, n}{m} \right\rfloor
#   \qquad
#   \text{stop}_p = \left\lceil \frac{(p + 1) \, n}{m} \right\rceil$$
#
# The brackets $\lfloor \; \rfloor$ round down and $\lceil \; \rceil$ round up; the stop is the first cell *not* in
# the window.
#
# > **Question.** Five cells and three windows. Which cells does each window hold, and which cells lie in two windows?

# %% tags=["answer"]
for p, (start, stop, _) in enumerate(geometry.adaptive_windows(5, 3)):
    ideal = f"{p * 5 / 3:.2f} to {(p + 1) * 5 / 3:.2f}"
    print(f"window {p}: ideally {ideal}, so cells {start} to {stop - 1}")
assert geometry.adaptive_windows(5, 3).tolist() == [[0, 2, 2], [1, 4, 3], [3, 5, 2]]

# %% [markdown] tags=["answer"]
# Cells 1 and 3 lie in two windows: the ideal borders, 1.67 and 3.33, fall within them, and both neighbours touch
# them.

# %% [markdown]
# From the two formulas follows all that one wants of windows:
#
# - No window is empty, since $\text{stop}_p$ is at least $(p + 1) n / m$, which is more than $p \, n / m$, which is at
#   least $\text{start}_p$. That holds even where $m > n$: then windows repeat.
# - No cell is missed: window $p + 1$ starts at the border $(p + 1) n / m$ rounded down, window $p$ stops at the same
#   border rounded up.
# - Neighbours share a cell exactly where that border is no whole number. If $m$ divides $n$, no windows overlap, and
#   this is ordinary pooling.

# %%
for n in range(1, 40):
    for m in range(1, 40):
        start, stop, extent = geometry.adaptive_windows(n, m).T
        assert (extent >= 1).all()
        assert start[0] == 0
        assert stop[-1] == n
        borders = np.arange(1, m) * n
        assert np.array_equal(start[1:], borders // m)
        assert np.array_equal(stop[:-1] - start[1:], (borders % m != 0).astype(int))

# %% tags=["picture"]
figure = Figure(figsize=(7.5, 4.2), layout="constrained")
rows = figure.subplots(3, 1, height_ratios=[4, 3, 5])
for axes, (n, m) in zip(rows, [(14, 4), (5, 3), (3, 5)], strict=True):
    for cell in range(n):
        axes.add_patch(Rectangle((cell, 0), 1, 0.9, facecolor="white", edgecolor=GREY))
        axes.text(cell + 0.5, 0.45, cell, ha="center", va="center", color="black")
    for p, (start, _, extent) in enumerate(geometry.adaptive_windows(n, m)):
        colour = COLOURS[("gradient", "weight", "value")[p % 3]]
        axes.add_patch(
            Rectangle((start, 1.15 + 0.9 * p), extent, 0.6, facecolor=colour, alpha=0.6)
        )
        ideal = np.array([p, p + 1]) * n / m
        axes.plot(ideal, [1.45 + 0.9 * p] * 2, "|-", color=colour, linewidth=2)
    axes.set(xlim=(-0.1, n + 0.1), ylim=(1.1 + 0.9 * m, -0.1))
    axes.set_title(f"{n} cells, {m} windows", fontsize=11)
    axes.set_axis_off()
show(
    figure,
    "The thin line is the ideal stretch, the bar is the window: "
    "every cell that the stretch touches.",
)

# %% [markdown]
# > **Question.** In Python `a // b` divides whole numbers and rounds down. How does one round *up* with it?

# %% [markdown] tags=["answer"]
# Add just too little for one more: `(a + b - 1) // b`. If $b$ divides $a$, the $b - 1$ are not enough to reach the
# next whole number; if it leaves any remainder, they are. (`-(-a // b)` does it too.)

# %% tags=["answer"]
assert all(
    (a + b - 1) // b == math.ceil(a / b) for a in range(99) for b in range(1, 99)
)
print("The answer, to be compared with yours:\n")
print(solution("minicnn.geometry", "adaptive_stop"))

# %% [markdown]
# So windows need whole numbers alone. Whoever takes the length $n / m$ first and multiplies it by $p + 1$ then, with
# fractions rounded as computers round them, gets other windows now and then:

# %%
wrong = [
    (n, m, p)
    for n in range(1, 65)
    for m in range(1, 65)
    for p in range(m)
    if math.ceil((p + 1) * (n / m)) != geometry.adaptive_stop(p, n, m)
]
n, m, p = wrong[0]
print(f"{len(wrong)} wrong stops for sizes up to 64")
print(f"the first: {n} cells, {m} windows, window {p}")
rounded = (p + 1) * (n / m)
print(f"  (p + 1) * (n / m) = {rounded!r}, rounded up {math.ceil(rounded)}")
print(f"  in whole numbers      {geometry.adaptive_stop(p, n, m)}")
assert wrong
assert math.ceil(25 * (7 / 25)) == 8  # of 7, one cell past the end

# %% [markdown]
# ## Forward and backward
#
# In two dimensions a window is a stretch of rows and a stretch of columns. From there on everything is as in lesson
# 4: the largest cell or the mean, and backward to the winner, or to all cells in equal shares. Only now windows
# overlap as a rule and not by choice, so that the sums of the chain rule have several terms, and the windows differ
# in size: the share is one over the area of *this* window.
#
# $$\mathrm{dx}_{rs} = \sum_{(p, q) \text{ won by } (r, s)} \mathrm{dy}_{pq}
#   \qquad\qquad
#   \mathrm{dx}_{rs} = \sum_{(p, q) \text{ over } (r, s)} \frac{\mathrm{dy}_{pq}}{A_{pq}}$$
#
# > **Question.** Three windows over the row $(1, 2, 9, 3, 4)$, as above. What are the maxima and the means? If all
# > prices are 6, what is `dx` in each case?

# %% tags=["answer"]
x = np.array([[[[1.0, 2, 9, 3, 4]]]])
dy = np.full((1, 1, 1, 3), 6.0)

largest = minicnn.AdaptiveMaxPool2d((1, 3)).to("reference")
print("maxima", largest.forward(x).ravel(), "  dx", largest.backward(dy).ravel())

mean = minicnn.AdaptiveAvgPool2d((1, 3)).to("reference")
print("means ", mean.forward(x).ravel(), "  dx", mean.backward(dy).ravel())

assert largest.forward(x).ravel().tolist() == [2, 9, 4]
assert largest.backward(dy).ravel().tolist() == [0, 6, 6, 0, 6]
assert np.allclose(mean.forward(x).ravel(), [3 / 2, 14 / 3, 7 / 2])
assert np.allclose(mean.backward(dy).ravel(), [3, 3 + 2, 2, 2 + 3, 3])

# %% [markdown] tags=["answer"]
# Cells 1 and 3 of the means get 3 from a window of two cells and 2 from the window of three. Both cases keep the sum:
# what is sent, 18, arrives.

# %% [markdown]
# ## The same as a linear layer
#
# The mean is a weighted sum. Write the weights of one axis as a matrix $R$ with a row for each window,
# $1 / \text{extent}$ at its cells and 0 elsewhere, and $C$ likewise for the other axis. Then pooling the image $X$ is
# two matrix products, and backward, as in lesson 1, multiplies with the transposed ones. The columns of $R$ with two
# entries are the cells where two windows overlap; that is where `+=` comes from.
#
# $$Y = R \, X \, C^{\mathsf T} \qquad\qquad \mathrm{dX} = R^{\mathsf T} \, \mathrm{dY} \, C$$


# %%
def weights(n, m):
    """R: row p has 1 / extent at the cells of window p."""
    matrix = np.zeros((m, n))
    for p, (start, stop, extent) in enumerate(geometry.adaptive_windows(n, m)):
        matrix[p, start:stop] = 1 / extent
    return matrix


rng = np.random.default_rng(0)
x, dy = rng.standard_normal((1, 1, 7, 5)), rng.standard_normal((1, 1, 4, 3))
R, C = weights(7, 4), weights(5, 3)
mean = minicnn.AdaptiveAvgPool2d((4, 3)).to("reference")
assert np.allclose(mean.forward(x)[0, 0], R @ x[0, 0] @ C.T)
assert np.allclose(mean.backward(dy)[0, 0], R.T @ dy[0, 0] @ C)
print(R.round(2))

# %% [markdown]
# The program with which SimpleNet was published shows the two layers on random pictures of 10 × 10: three windows
# along each axis, of four cells each, the last of one sharing its cell with the first of the next.

# %%
pictures = rng.standard_normal((1, 3, 10, 10))
for layer in (minicnn.AdaptiveMaxPool2d((3, 3)), minicnn.AdaptiveAvgPool2d((3, 3))):
    print(layer, pictures.shape, "->", layer.to("reference").forward(pictures).shape)
assert geometry.adaptive_windows(10, 3).tolist() == [[0, 4, 4], [3, 7, 4], [6, 10, 4]]

# %% [markdown]
# ## One window: what SimpleNet does
#
# SimpleNet has a single window, the whole image. Each of its 64 channels answers with its largest value anywhere, and
# the 64 answers go to the linear layer. Forward, that means: *wherever it is*. Backward it means that of all pixels
# of a channel a single one is taught.

# %%
network = minicnn.SimpleNet(num_classes=10, in_channels=1, rng=0)
network.to("reference", np.float64)
for height, width in [(8, 8), (17, 5), (3, 40)]:
    output = network.predict(rng.standard_normal((1, 1, height, width)))
    print(f"{height:2} x {width:2} -> {output.shape}")
    assert output.shape == (1, 10)

pool = minicnn.AdaptiveMaxPool2d(1).to("reference")
features = rng.standard_normal((1, 64, 12, 9))
dx = pool.backward(rng.standard_normal(pool.forward(features).shape))
print(f"{np.count_nonzero(dx)} of {dx.size} cells get a gradient")
assert (np.count_nonzero(dx, axis=(2, 3)) == 1).all()

# %% [markdown]
# ## A batch of mixed sizes
#
# A network that takes any size need not take one size at a time. `minicnn.Images` holds pictures one after another in
# one long row of numbers, each with its own height and width. Convolution, ReLU and pooling treat each at its own
# size, and adaptive pooling turns them into an ordinary array. All share the weights, so the weights' gradient is the
# sum over the images, as in lesson 1.

# %%
tall, wide, tiny = (
    rng.standard_normal((1, *size)) for size in [(20, 7), (6, 15), (2, 3)]
)
batch = minicnn.Images([tall, wide, tiny])
layers = minicnn.Sequential(
    conv=minicnn.Conv2d(1, 4, kernel_size=3, padding=1, rng=0),
    relu=minicnn.ReLU(),
    pool=minicnn.AdaptiveMaxPool2d((2, 2)),
).to("reference", np.float64)

y = layers.forward(batch)
dy = rng.standard_normal(y.shape)
dx = layers.backward(dy)
together = layers["conv"].grads["weight"]
print(batch, "->", y.shape)
print("dx:", dx)

alone = 0
for n, image in enumerate([tall, wide, tiny]):
    assert np.array_equal(layers.forward(image[None])[0], y[n])
    assert np.array_equal(layers.backward(dy[n][None])[0], dx[n])
    alone = alone + layers["conv"].grads["weight"]
assert np.allclose(together, alone)

# %% [markdown]
# > **Question.** The smallest picture has 2 × 3 pixels. Why does a global maximum say less about it than about a
# > large one, though the layer does not complain?

# %% [markdown] tags=["answer"]
# The maximum of many numbers is larger than that of few, other things equal. So a channel's answer depends on how
# many pixels there were to choose from, and a network that saw only large pictures in training meets unusual numbers
# in small ones. Any size is accepted; whether it is understood depends on what was learnt from.

# %% tags=["answer"]
few, many = (
    rng.standard_normal((1000, 6)).max(axis=1),
    rng.standard_normal((1000, 600)).max(axis=1),
)
print(f"the largest of 6 random numbers is {as_text(few.mean())} on average")
print(f"the largest of 600 is {as_text(many.mean())}")
assert few.mean() + 1 < many.mean()

# %% [markdown]
# ## Now you
#
# Do the exercise `adaptive_pooling`:
#
#     minicnn learn check adaptive_pooling
#
# Then compare. All window arithmetic of the framework is in `minicnn/geometry.py`. The layers are in
# `minicnn/layers/pooling.py`: adaptive and fixed pooling differ in their windows and in nothing else.
