# %% [markdown]
# # 7 · Convolution, backward: what each pixel is worth
#
# Lesson 6 ended with the gradients of the weights and the bias. Missing is the third message a convolution has to send:
# to its *input*, so that the layer before it can learn. It is the one that people get wrong most often, and it can be
# read in two ways that look different and are the same sum. You will see both, why the kernel turns round in one of
# them, and what padding and stride do to it.

# %%
import numpy as np

import minicnn
from minicnn.backends import reference
from minicnn.learn.lessons.figures import show, tables

# %% [markdown]
# ## A small case first
#
# One image of 3 × 3, one channel, one filter of 2 × 2, no padding, stride 1. The output has 2 × 2 cells. The pixels'
# own values do not matter here (each product is linear in its pixel, so its slope does not contain it); what matters
# are the weights and the gradient that comes back:
#
# $$ w = \begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} \qquad
#    \mathrm{dy} = \begin{pmatrix} 1 & 10 \\ 100 & 1000 \end{pmatrix} $$
#
# Recall that $\mathrm{dy}_{pq}$ is short for $\partial L / \partial y_{pq}$: by how much the loss grows for each unit
# that output $(p, q)$ grows. The powers of ten are chosen so that every digit of the answer shows which output it came
# from: units from $y_{00}$, tens from $y_{01}$, hundreds from $y_{10}$, thousands from $y_{11}$.
#
# Take the corner pixel $(0, 0)$. Only the window of $y_{00}$ contains it, and there it meets the weight $w_{00} = 1$.
# So if the pixel grows by one, $y_{00}$ grows by 1, and the loss by $1 \cdot 1 = 1$.
#
# Its neighbour $(0, 1)$ lies in two windows. In that of $y_{00}$ it meets $w_{01} = 2$; in that of $y_{01}$ it meets
# $w_{00} = 1$. If it grows by one, the loss grows by $2 \cdot 1 + 1 \cdot 10 = 12$.

# %%
weight = np.array([[1, 2], [3, 4]])
dy = np.array([[1, 10], [100, 1000]])

# %% [markdown]
# > **Question.** The centre pixel $(1, 1)$ lies in all four windows. What is its gradient? Write the number down, and
# > read its digits from left to right.

# %% tags=["answer"]
x_size, stride, padding = (3, 3), (1, 1), (0, 0)
dx = reference.conv2d_input_gradient(
    dy[None, None], weight[None, None], x_size, stride, padding
)[0, 0]
print(dx)

assert dx[0, 0] == 1
assert dx[0, 1] == 12
assert dx[1, 1] == 1234

# %% [markdown] tags=["answer"]
# It is 1234. The thousands come from the *last* output, $y_{11}$, and there the centre pixel met the *first* weight.
# The
#       units come from the first output, where it met the last weight. The later the output, the earlier the weight.
#       Keep that in mind: it is all there is to "flipping the kernel".

# %% [markdown]
# ## First way: scatter
#
# Go through the outputs. Each one stamps the kernel, times its own $\mathrm{dy}_{pq}$, on the window it looked at.
# Where stamps overlap they add up.

# %%
stamps = np.zeros((2, 2, 3, 3), int)
for p in range(2):
    for q in range(2):
        stamps[p, q, p : p + 2, q : q + 2] = weight * dy[p, q]

scattered = np.zeros((3, 3), int)
for p in range(2):
    for q in range(2):
        scattered[p : p + 2, q : q + 2] += weight * dy[p, q]

assert np.array_equal(scattered, dx)
assert np.array_equal(scattered, stamps.sum(axis=(0, 1)))

# %% tags=["picture"]
drawn = np.where(stamps > 0, stamps, np.nan)
figure = tables(
    [
        *((drawn[p, q], f"by dy[{p}, {q}]", "gradient") for p, q in np.ndindex(2, 2)),
        (scattered, "dx, their sum", "gradient", [(1, 1)]),
    ]
)
show(
    figure,
    "Four stamps of the kernel, each times its own dy, and the sum. "
    "The centre has a share in all four.",
)

# %% [markdown]
# > **Question.** Somebody writes `=` where the loop above has `+=`. Which of the nine numbers are still right, and what
# > does the centre become?

# %% tags=["answer"]
assigned = np.zeros((3, 3), int)
for p in range(2):
    for q in range(2):
        assigned[p : p + 2, q : q + 2] = weight * dy[p, q]
print(assigned)
print(assigned == dx)

assert assigned[1, 1] == 1000
assert np.array_equal(np.argwhere(assigned == dx), [[0, 0], [0, 2], [2, 0], [2, 2]])

# %% [markdown] tags=["answer"]
# The four corners, since each lies in one window only. Everywhere else the last stamp wins, and the centre keeps 1000
# of its 1234. Where windows do not overlap (stride at least as large as the kernel), the mistake makes no difference at
# all, so a test with such a case alone would not notice it.

# %% [markdown]
# ## The derivation
#
# For one image, one channel and one filter (the sums over the others come back below), with stride 1 and no padding:
#
# $$ y_{pq} = b + \sum_{i,j} w_{ij} \, x_{p+i,\,q+j} $$
#
# The loss depends on a pixel $x_{rs}$ only by way of the outputs, so by the chain rule
#
# $$ \mathrm{dx}_{rs} = \frac{\partial L}{\partial x_{rs}}
#    = \sum_{p,q} \frac{\partial L}{\partial y_{pq}} \, \frac{\partial y_{pq}}{\partial x_{rs}}
#    = \sum_{p,q} \mathrm{dy}_{pq} \, \frac{\partial y_{pq}}{\partial x_{rs}} . $$
#
# In the sum for $y_{pq}$ the pixel $x_{rs}$ occurs where $p + i = r$ and $q + j = s$, and there its factor is $w_{ij}$.
# Write $[\ldots]$ for 1 where the condition inside holds and 0 where not:
#
# $$ \frac{\partial y_{pq}}{\partial x_{rs}} = \sum_{i,j} w_{ij} \, [p + i = r] \, [q + j = s] . $$
#
# Put together,
#
# $$ \mathrm{dx}_{rs} = \sum_{p,q} \sum_{i,j} \mathrm{dy}_{pq} \, w_{ij} \, [p + i = r] \, [q + j = s] . $$
#
# This is the whole input gradient. The two conditions leave only one free index for each axis, and the two ways of
# reading it differ in *which* index you keep.
#
# - Keep $p, q$ and $i, j$, and let them decide which pixel to add to, $r = p + i$ and $s = q + j$. That is the
#   **scatter**.
# - Keep $r, s$ and $i, j$, and ask which output it was: $p = r - i$ and $q = s - j$. That is a **gather**: every pixel
#   collects its own sum, and no two pixels write to the same place.
#
# $$ \mathrm{dx}_{rs} = \sum_{i,j} w_{ij} \, \mathrm{dy}_{r-i,\,s-j} $$
#
# where $\mathrm{dy}$ counts as 0 outside the output.
#
# ## Second way: correlation of dy with the turned kernel
#
# The gather is nearly the forward formula, with $\mathrm{dy}$ in place of $x$, but for the minus signs. So count the
# kernel from its other end: $i' = K_h - 1 - i$ and $j' = K_w - 1 - j$, where $K_h \times K_w$ is its size. Then
#
# $$ \mathrm{dx}_{rs}
#    = \sum_{i',j'} w_{K_h - 1 - i',\; K_w - 1 - j'} \; \mathrm{dy}_{\,r - (K_h - 1) + i',\; s - (K_w - 1) + j'} $$
#
# and this *is* the forward formula: an ordinary convolution of the image $\mathrm{dy}$ with the kernel turned by half a
# turn, and with padding $K_h - 1$ and $K_w - 1$. The turn is the reversal you read off the digits of 1234.

# %%
turned = weight[::-1, ::-1]
print(turned)


def convolved(image, kernel, padding):
    """One image with one kernel: the forward pass, without bias."""
    return reference.conv2d_forward(
        image[None, None], kernel[None, None], None, (1, 1), padding
    )[0, 0]


assert np.array_equal(convolved(dy, turned, padding=(1, 1)), dx)

forgotten = convolved(dy, weight, padding=(1, 1))
print(forgotten)
assert forgotten[1, 1] == 4321

# %% [markdown]
# With the turn forgotten the centre reads 4321. Beware of kernels that look the same after half a turn, such as all
# ones or a Gaussian blur: with those the mistake cannot be seen.
#
# **Several channels and filters.** Pixel $x_{ncrs}$ was read by every filter, so its gradient is also a sum over $f$:
#
# $$ \mathrm{dx}_{ncrs} = \sum_{f} \sum_{i,j} w_{fcij} \; \mathrm{dy}_{n,f,\,r-i,\,s-j} $$
#
# Forward sums over the channels $c$ and leaves $f$; backward sums over the filters $f$ and leaves $c$. Compared with
# the forward formula, the first two axes of the weights have changed places. That is the matrix transposition of
# `Linear`'s $\mathrm{dx} = \mathrm{dy}\,W$, once for every tap $(i, j)$.

# %%
rng = np.random.default_rng(0)
many_weight = rng.integers(-3, 4, (5, 3, 2, 4))  # 5 filters, 3 channels, 2 × 4
many_dy = rng.integers(-3, 4, (2, 5, 6, 7))  # 2 images

many_dx = reference.conv2d_input_gradient(many_dy, many_weight, (7, 10), (1, 1), (0, 0))
exchanged = many_weight.transpose(1, 0, 2, 3)  # (C, F, KH, KW)
turned = exchanged[:, :, ::-1, ::-1]
again = reference.conv2d_forward(many_dy, turned, None, (1, 1), (2 - 1, 4 - 1))
assert np.array_equal(many_dx, again)

# %% [markdown]
# ## Padding: crop what nobody owns
#
# A convolution with padding is two steps: put $P$ rows and columns of zeros round the image, then convolve without
# padding. Backward takes the steps in reverse. Undo the convolution: that gives a gradient for every cell of the padded
# image. Then undo the padding: cell $r$ of the image was copied to cell $r + P$, so
#
# $$ \mathrm{dx}_{r} = \mathrm{d}\hat{x}_{r + P} \qquad\text{where } \hat{x} \text{ is the padded image.} $$
#
# What arrived in the border belongs to constants and is thrown away. In the second way, cropping $P$ cells on every
# side is the same as padding $\mathrm{dy}$ by $P$ less: $K - 1 - P$ instead of $K - 1$. For a 3 × 3 kernel with padding
# 1 this is 1 again, so the backward pass of a convolution that keeps the size is a convolution that keeps the size.

# %%
weight3 = rng.integers(-3, 4, (1, 1, 3, 3))
dy4 = rng.integers(-3, 4, (1, 1, 4, 4))

of_padded_image = reference.conv2d_input_gradient(dy4, weight3, (6, 6), (1, 1), (0, 0))
dx4 = reference.conv2d_input_gradient(dy4, weight3, (4, 4), (1, 1), (1, 1))
assert np.array_equal(dx4, of_padded_image[:, :, 1:5, 1:5])

turned3 = weight3[:, :, ::-1, ::-1]
assert np.array_equal(dx4, reference.conv2d_forward(dy4, turned3, None, (1, 1), (1, 1)))

# %% [markdown]
# ## Stride: some pixels are looked at less
#
# With stride $S$ and padding $P$ output $p$ looks at $r = pS + i - P$. In the scatter only the place of the stamp
# changes: it moves by $S$. In the gather we have to solve for $p$:
#
# $$ p = \frac{r + P - i}{S} \qquad\text{only for those } i \text{ where this is a whole number.} $$
#
# So pixels with different remainders $(r + P) \bmod S$ meet different taps. With a 3 × 3 kernel and stride 2, along one
# axis some pixels meet the taps 0 and 2, and the ones between them meet only tap 1.
#
# > **Question.** How many windows look at a pixel, for a 3 × 3 kernel with stride 2, padding 1, away from the border?
# > There are four kinds of pixel. Their four numbers add up to something you know.

# %% tags=["answer"]
ones = np.ones((1, 1, 3, 3))  # where all weights and all dy are 1, dx counts windows
counts = {}
for stride, padding in [(1, 1), (2, 1), (3, 0)]:
    out = (9 + 2 * padding - 3) // stride + 1
    dy = np.ones((1, 1, out, out))
    dx = reference.conv2d_input_gradient(
        dy, ones, (9, 9), (stride, stride), (padding, padding)
    )
    counts[stride] = dx[0, 0]

kinds = [counts[2][r, s] for r in (4, 5) for s in (4, 5)]
assert kinds == [1, 2, 2, 4]
assert sum(kinds) == 9

# %% tags=["answer", "picture"]
figure = tables(
    [(count, f"3 × 3, stride {stride}") for stride, count in counts.items()]
)
show(
    figure,
    "How many windows look at each pixel of a 9 × 9 image. "
    "Strides 1 and 2 have padding 1, stride 3 has none.",
)

# %% [markdown] tags=["answer"]
# 1, 2, 2 and 4: together the nine taps of the kernel, each of which belongs to exactly one kind of pixel. That
# chequered pattern is real: gradients of images through strided convolutions show it. It also tells how to compute the
# gather without multiplying a single zero: treat each kind of pixel as a convolution of its own, with stride 1 and only
# its own taps. The framework's fast kernel does this and calls the kinds *phases*.

# %% [markdown]
# A stride brings one more thing to get wrong. A 2 × 2 kernel with stride 2 fits four times along 8 pixels, and along 9
# pixels too; the ninth is looked at by nobody. Its gradient is 0, and `dx` must still have the size of the input. The
# size of $\mathrm{dy}$ alone does not tell that size, which is why the operation is given it (`input_size`).

# %%
conv = minicnn.Conv2d(1, 1, kernel_size=2, stride=2, rng=0)
sizes = {}
for side in (8, 9):
    y = conv.forward(np.ones((1, 1, side, side), np.float32))
    dx = conv.backward(np.ones_like(y))
    sizes[side] = y.shape[2:], dx.shape[2:]
    print(f"image {side} x {side}: output {y.shape[2:]}, gradient {dx.shape[2:]}")

assert sizes[8] == ((4, 4), (8, 8))
assert sizes[9] == ((4, 4), (9, 9))
assert not dx[0, 0, -1].any()

# %% [markdown]
# ## One product, three directions
#
# Look once more at what forward multiplies, and put $\mathrm{dy}$ in as a third factor:
#
# $$ T = \sum_{n,f,p,q} \; \sum_{c,i,j} \; \mathrm{dy}_{nfpq} \; w_{fcij} \; x_{n,c,\,pS+i-P,\,qS+j-P} $$
#
# $T$ is linear in each of its three factors. Leave one of them out and sum over the rest, and you have the three
# passes:
#
# | leave out | what remains is | |
# |---|---|---|
# | $\mathrm{dy}$ | $\partial T/\partial\, \mathrm{dy} = y$ (without the bias) | forward |
# | $w$ | $\partial T/\partial w = \mathrm{dw}$ | weight gradient |
# | $x$ | $\partial T/\partial x = \mathrm{dx}$ | input gradient |
#
# Multiplying the factor back in gives $T$ each time, so three sums must agree:
#
# $$ \sum \mathrm{dy} \cdot y \;=\; \sum \mathrm{dw} \cdot w \;=\; \sum \mathrm{dx} \cdot x . $$
#
# This costs three lines to check and needs no finite differences. With integers it must hold exactly.

# %%
x = rng.integers(-3, 4, (2, 3, 8, 9))
w = rng.integers(-3, 4, (4, 3, 3, 2))
stride, padding = (2, 1), (1, 0)
y = reference.conv2d_forward(x, w, None, stride, padding)
dy = rng.integers(-3, 4, y.shape)
dw = reference.conv2d_weight_gradient(dy, x, (3, 2), stride, padding)
dx = reference.conv2d_input_gradient(dy, w, (8, 9), stride, padding)

print((dy * y).sum(), (dw * w).sum(), (dx * x).sum())
assert (dy * y).sum() == (dw * w).sum() == (dx * x).sum() != 0

# %% [markdown]
# Each of the three passes therefore costs the same number of multiplications,
#
# $$ N \cdot F \cdot C \cdot K_h \cdot K_w \cdot O_h \cdot O_w $$
#
# for an output of $O_h \times O_w$ cells, so that a training step takes about three times the arithmetic of a
# prediction. About, because nobody asks for the gradient of the pictures themselves: the first layer of a network skips
# its input gradient (`need_dx=False`).
#
# > **Question.** In SimpleNet on 32 × 32 pixels, which share of the backward pass does that save?

# %% tags=["answer"]
pixels = 32 * 32
channels = {"conv1": (3, 16), "conv2": (16, 32), "conv3": (32, 64)}
products = {name: c * f * 9 * pixels for name, (c, f) in channels.items()}  # an image
both_gradients = 2 * sum(products.values())
print({name: f"{count / 1e6:.2f} million" for name, count in products.items()})
print(f"saved: {products['conv1'] / both_gradients:.1%} of the backward pass")

assert 0.005 < products["conv1"] / both_gradients < 0.01

# %% [markdown] tags=["answer"]
# Less than one per cent: three input channels make a cheap layer. (The fast kernels gain more than this count says,
# since three channels fill a vector register badly.)

# %% [markdown]
# ## Now you
#
# Do what is left of the exercise `conv`. If your numbers are wrong, put the powers of ten in as `dy`: the digits
# tell which output went missing, and which weight it met.
#
#     minicnn learn check conv
#
# Then compare with the framework:
#
# - `minicnn/backends/reference/conv.py`: the three passes differ in one line each, `y +=`, `view +=` and
#   `dweight[:, :, i, j] =`. Ask yourself why two of them add and one assigns.
# - `minicnn/backends/cpu/convolution/winograd/plan.py`, function `plan_input_gradient`: the padding $K - 1 - P$.
# - `minicnn/layers/conv.py`: what the layer keeps between forward and backward (one array), and who asks for what.
# - `minicnn inspect --digit 4`, layer `conv2`: pick a pixel, and see its sum once as scatter and once as correlation.
