# %% [markdown]
# # 6 · Convolution: the same few weights everywhere
#
# A linear layer has a weight for every pair of an input and an output. For an image that is a great many, and what it
# has learnt about an edge in the upper left it would have to learn again for the lower right. A *convolution* has a
# small table of weights, the *kernel*, and lays it on every place of the image in turn. This lesson has its forward
# pass and the gradients of its weights and bias. The gradient of its input is in lesson 7.

# %%
import numpy as np
from matplotlib.figure import Figure

import minicnn
from minicnn.learn.exercises.source import solution
from minicnn.learn.lessons.figures import show, tables

# %% [markdown]
# ## Forward, in small integers
#
# One image of one channel, 3 × 3, and one kernel $w$ of 2 × 2. There are 2 × 2 places where it fits. At place
# $(p, q)$ the kernel's cell $(i, j)$ lies on the pixel $(p + i, q + j)$; multiply what lies on each other, and add.
#
# $$y_{pq} = b + \sum_{i, j} w_{ij} \; x_{p + i, \, q + j}$$

# %%
x = np.array([[1, 2, 0], [0, 3, 1], [2, 1, 4]], float)
w = np.array([[1, -1], [2, 3]], float)

conv = minicnn.Conv2d(1, 1, kernel_size=2, bias=False).to("reference", np.float64)
conv.params["weight"][:] = w
y = conv.forward(x[None, None])[0, 0]
print(y)
assert y[0, 0] == 1 * 1 - 1 * 2 + 2 * 0 + 3 * 3
assert y[1, 1] == 1 * 3 - 1 * 1 + 2 * 1 + 3 * 4

# %% [markdown]
# ## As a sum of shifted pictures
#
# The formula says: for each output, go over the kernel. Swap the two. Take one cell of the kernel, $(i, j)$, and let
# $p$ and $q$ run: the pixels it meets are the image itself, shifted by $i$ rows and $j$ columns and cut to the size
# of the output. Call that the *view* of $(i, j)$. The output is the sum of four views, each times one number:

# %%
out_h, out_w = y.shape
views = {(i, j): x[i : i + out_h, j : j + out_w] for i in range(2) for j in range(2)}
assert np.array_equal(y, sum(w[i, j] * view for (i, j), view in views.items()))

# %% tags=["picture"]
figure = tables(
    [
        (x, "x", "value", [(0, 1), (0, 2), (1, 1), (1, 2)]),
        (w, "w", "weight", [(0, 1)]),
        (y, "y"),
    ],
    [
        (views[0, 0], "view of w[0, 0]"),
        (views[0, 1], "view of w[0, 1]", "value", np.ndindex(2, 2)),
    ],
    [(views[1, 0], "view of w[1, 0]"), (views[1, 1], "view of w[1, 1]")],
)
show(
    figure,
    "The framed weight meets the framed pixels, one for each output. "
    "y is the sum of the four views, each times its weight.",
)

# %% [markdown]
# This costs the same products in another order. But it turns the innermost work into operations on whole pictures,
# which is what NumPy is fast at, and, better still, it makes the backward pass easy to see.
#
# ## Channels and filters
#
# A colour image has three channels, and inside a network there are dozens. Each filter $f$ has a kernel for every
# channel $c$, and adds over all of them; each filter makes one channel of the output. Stride and padding are those of
# lesson 4. With all letters:
#
# $$y_{nfpq} = b_f + \sum_{c, i, j} w_{fcij} \; x_{n, c, \; p \cdot \text{stride} + i - \text{padding}, \;
#   q \cdot \text{stride} + j - \text{padding}}$$
#
# where a pixel outside the image counts as 0. For a single cell $(i, j)$ of the kernel, what is left is a sum over
# the channels. That is the linear layer of lesson 1, with a matrix of $F \times C$ weights, applied to every pixel of
# the view. This is how the framework's readable backend computes it:

# %%
print(solution("minicnn.backends.reference.conv", "conv2d_forward"))
print(solution("minicnn.backends.reference.conv", "_tap_view"))

# %% [markdown]
# > **Question.** SimpleNet's second convolution has 16 channels, 32 filters and kernels of 3 × 3. How many weights
# > does it have? How many would a linear layer need between the same inputs and outputs, for images of 32 × 32?

# %% tags=["answer"]
second = minicnn.SimpleNet()["conv2"]
print(f"convolution: {second.params['weight'].size:,} weights")
print(f"linear:      {(16 * 32 * 32) * (32 * 32 * 32):,}")
assert second.params["weight"].size == 32 * 16 * 3 * 3 == 4608

# %% [markdown]
# A remark on the name. In mathematics *convolution* turns the kernel by half a circle before laying it on, and what
# is computed here is called *cross-correlation*. All frameworks say convolution and do not turn. Since the weights
# are learnt, it makes no difference which way round they are learnt. (In lesson 7 the turned kernel appears after
# all.)
#
# ## What a kernel sees
#
# A kernel whose right column is positive and whose left column is negative answers where the image gets brighter from
# left to right. Here it passes over a disc; the padding of 1 keeps the size.

# %%
r, s = np.mgrid[:40, :40]
disc = (np.hypot(r - 19.5, s - 19.5) < 13).astype(float)
edge = minicnn.Conv2d(1, 1, kernel_size=3, padding=1, bias=False).to(
    "reference", np.float64
)
edge.params["weight"][:] = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
answer = edge.forward(disc[None, None])[0, 0]
assert answer.shape == disc.shape
assert (
    answer[20, 6] == 4
)  # the left side of the disc: darkness to the left, light to the right
assert answer[20, 33] == -4
assert answer[20, 20] == 0  # inside

# %% tags=["picture"]
figure = Figure(figsize=(7.5, 2.9), layout="constrained")
left, middle, right = figure.subplots(1, 3, width_ratios=[1, 0.45, 1])
left.imshow(disc, cmap="gray")
left.set_title("x", fontsize=11)
middle.imshow(edge.params["weight"][0, 0], cmap="RdBu_r", vmin=-4, vmax=4)
middle.set_title("w", fontsize=11)
for (i, j), number in np.ndenumerate(edge.params["weight"][0, 0]):
    middle.text(j, i, f"{number:.0f}", ha="center", va="center", color="black")
right.imshow(answer, cmap="RdBu_r", vmin=-4, vmax=4)
right.set_title("y", fontsize=11)
for axes in (left, middle, right):
    axes.set(xticks=[], yticks=[])
show(
    figure,
    "Nine weights find the left edge of a disc (red, positive) "
    "and its right edge (blue, negative), wherever the disc lies.",
)

# %% [markdown]
# ## Backward: the bias and the weights
#
# Now the prices `dy` of the outputs come back. The bias $b_f$ was added to every output of its filter, so it is worth
# their sum. For the weights, back to the small example.
#
# > **Question.** Raise the weight $w_{01}$ by a little $t$. Which outputs change, and each by how much?

# %% [markdown] tags=["answer"]
# All of them: every output used this weight. Output $(p, q)$ changes by $t$ times the pixel it met there, which is
# $x_{p, \, q + 1}$, the cell $(p, q)$ of the view framed above. So the loss changes by $t$ times the sum of the
# view's pixels, each times the price of its output.

# %% [markdown]
# In symbols, for one channel, one filter, stride 1 and no padding. The chain rule adds over all outputs, and from the
# formula of $y_{pq}$ one reads off the slope: of its terms only the one with $w_{ij}$ counts.
#
# $$\mathrm{dw}_{ij} = \sum_{p, q} \frac{\partial L}{\partial y_{pq}} \, \frac{\partial y_{pq}}{\partial w_{ij}}
#   = \sum_{p, q} \mathrm{dy}_{pq} \; x_{p + i, \, q + j}$$
#
# Compare with the forward formula: it is the same sum of products, with $\mathrm{dy}$ in the place of $w$. *The
# gradient of the weights is a convolution of the image with dy*. With all letters the sum also runs over the images,
# since they share the weights:
#
# $$\mathrm{dw}_{fcij} = \sum_{n, p, q} \mathrm{dy}_{nfpq} \; x_{n, c, \; p \cdot \text{stride} + i - \text{padding}, \;
#   q \cdot \text{stride} + j - \text{padding}}
#   \qquad
#   \mathrm{db}_f = \sum_{n, p, q} \mathrm{dy}_{nfpq}$$

# %%
dy = np.array([[1, 10], [100, 1000]], float)
conv.backward(dy[None, None])
dw = conv.grads["weight"][0, 0]
print(dw)
for (i, j), view in views.items():
    assert dw[i, j] == (dy * view).sum()
assert dw[0, 1] == 1 * 2 + 10 * 0 + 100 * 3 + 1000 * 1

as_kernel = minicnn.Conv2d(1, 1, kernel_size=2, bias=False).to("reference", np.float64)
as_kernel.params["weight"][:] = dy
assert np.array_equal(as_kernel.forward(x[None, None])[0, 0], dw)

# %% tags=["picture"]
figure = tables(
    [(x, "x"), (dy, "dy", "gradient"), (dw, "dw", "gradient")],
)
show(
    figure,
    "dw comes from laying dy on the image as if it were a kernel. "
    "Thanks to the powers of ten, dw's digits are the pixels that its weight met.",
)

# %% [markdown]
# > **Question.** The forward pass above is a loop over the kernel with one `einsum` in it. (`np.einsum` multiplies
# > along the letters that both arrays have and adds over those that the result has not.) What has to stand there
# > instead, to compute `dweight`?

# %% tags=["answer"]
print("The answer, to be compared with yours:\n")
print(solution("minicnn.backends.reference.conv", "conv2d_weight_gradient"))

# %% [markdown]
# ## Sharing weights adds gradients
#
# There is another way to see why the sum is there. A convolution *is* a linear layer, from 9 pixels to 4 outputs,
# whose matrix is mostly zeros and holds each of the four weights four times. Let that layer compute the gradient of
# its matrix, as if all its entries were free. Each weight of the kernel then gets the sum of the gradients of its
# copies.

# %%
fc = minicnn.Linear(9, 4, bias=False).to("reference", np.float64)
fc.params["weight"][:] = 0
copies = {
    cell: [] for cell in views
}  # where in the matrix each weight of the kernel stands
for p, q, i, j in np.ndindex(2, 2, 2, 2):
    entry = 2 * p + q, 3 * (p + i) + (q + j)
    fc.params["weight"][entry] = w[i, j]
    copies[i, j].append(entry)

assert np.array_equal(fc.forward(x.reshape(1, 9)).reshape(2, 2), y)
fc.backward(dy.reshape(1, 4))
for cell, entries in copies.items():
    assert dw[cell] == sum(fc.grads["weight"][entry] for entry in entries)
print(fc.params["weight"].astype(int))

# %% [markdown]
# That is a rule for everything that is used more than once, be it a weight at many places, a weight for many images,
# or a pixel in many windows: *forward copies, backward adds*.
#
# ## A check by measurement
#
# As in lesson 1, with random `dy` and in double precision: two images, three channels, four filters, a kernel that is
# not square, stride 2 and padding, so that no index can be mistaken for another.

# %%
layer = minicnn.Conv2d(3, 4, kernel_size=(3, 2), stride=2, padding=1, rng=0)
pictures = np.random.default_rng(0).standard_normal((2, 3, 5, 6))
report = minicnn.gradcheck(layer.to("reference", np.float64), pictures)
print(report)
assert report

# %% [markdown]
# ## Now you
#
# The exercise `conv` asks for all three gradients of a convolution: do those of the bias and the weights now, and that
# of the input after lesson 7.
#
#     minicnn learn check conv
#
# Then compare with the layer, `minicnn/layers/conv.py`. In `minicnn/backends/reference/conv.py` forward and both
# gradients are one and the same loop over the kernel, read in three directions; the gradient of the input is there,
# too, so leave that file until after lesson 7.
