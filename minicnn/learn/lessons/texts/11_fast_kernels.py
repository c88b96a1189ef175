# %% [markdown]
# # 11 · Fast kernels: the same sum, sooner
#
# The convolution you wrote in lesson 6 is right, and slow. `minicnn/backends/cpu/convolution` has it four times, each
# rung of the ladder with the numbers of the one below and made to be faster. Nothing on it is a trick of one machine.
# All of it follows from three facts: memory is slow and comes in lines, registers are fast and few, and a product that
# is not computed costs nothing.
#
# Times below are *printed* when the lesson runs and belong to the machine it ran on. What the text claims does not
# depend on them.

# %%
import itertools
import time
from collections import OrderedDict
from fractions import Fraction

import numba
import numpy as np
from matplotlib.figure import Figure

import minicnn
from minicnn.backends import reference
from minicnn.backends.cpu import conv
from minicnn.backends.cpu.convolution import plain, shifts, tile, winograd
from minicnn.backends.cpu.convolution.registers import ROWS
from minicnn.learn.lessons.figures import COLOURS, show, tables

# %% [markdown]
# ## How much work is it?
#
# Take four pictures of 32 × 32 with 32 channels, and 64 filters of 3 × 3. Every output is a sum of $32 \cdot 9$
# products, and each of them is one multiplication and one addition, two *operations*.
#
# > **Question.** How many operations are that in all? How many bytes are read and written at the least, at 4 bytes a
# > number? How many operations is that for every byte?

# %% tags=["answer"]
N, C, F, SIDE = 4, 32, 64, 32
operations = 2 * N * F * SIDE * SIDE * C * 9
smallest = 4 * (N * C * SIDE * SIDE + F * C * 9 + N * F * SIDE * SIDE)
print(f"{operations / 1e6:.0f} million operations, {smallest / 1e6:.2f} million bytes")
print(f"{operations / smallest:.0f} operations a byte")
assert operations == 150_994_944
assert 90 < operations / smallest < 95
assert 350 < 8 * (operations / 2) / smallest < 400  # bytes, two numbers a product

# %% [markdown] tags=["answer"]
# 151 million operations on 1.65 million bytes, 92 for each. That is much, and good news. Say memory delivers 20 billion
# bytes a second. Fetched once, the numbers are there in a tenth of a millisecond, and from then on only arithmetic
# counts. But plain loops do not fetch a number once. They fetch two numbers, 8 bytes, for every *two* operations. If
# all of these came from memory, they would be nearly four hundred times as many bytes. So the whole art is: once a
# number has been fetched, use it often.

# %% [markdown]
# ## Rung 1: the definition
#
# Seven loops around one line. This is its heart, from `plain.py`:
#
# ```python
# for c in range(n_channels):
#     for p in range(y.shape[0]):
#         for q in range(y.shape[1]):
#             for i in range(kernel_h):
#                 for j in range(kernel_w):
#                     r = p * stride[0] - padding[0] + i
#                     s = q * stride[1] - padding[1] + j
#                     if 0 <= r < x.shape[1] and 0 <= s < x.shape[2]:
#                         y[p, q] += weight[c, i, j] * x[c, r, s]
# ```
#
# A modern processor can multiply and add 8 or 16 numbers with one instruction, if they lie next to each other. Here it
# cannot: the innermost loop has length 3, and an `if` in it.
#
# ## Memory comes in lines
#
# A processor does not fetch single numbers. It fetches *lines* of 64 bytes, 16 float32 numbers that lie next to each
# other, and keeps the lines it used last in a small fast memory, the cache. An array (C, H, W) lies row after row: the
# neighbour to the right is the next number, the neighbour below is W numbers further on.
#
# > **Question.** A channel of 64 × 64 numbers is added up, once row by row and once column by column. The cache holds 8
# > lines, and drops the one that was not used for longest. How many lines are fetched each time?


# %% tags=["answer"]
def lines_fetched(addresses, lines_in_cache=8, numbers_in_line=16):
    """How often a line has to come from memory when these numbers are read in turn."""
    cache, fetched = OrderedDict(), 0
    for address in addresses:
        line = address // numbers_in_line
        if line in cache:
            cache.move_to_end(line)
            continue
        fetched += 1
        cache[line] = True
        if len(cache) > lines_in_cache:
            cache.popitem(last=False)
    return fetched


by_rows = lines_fetched(64 * r + s for r in range(64) for s in range(64))
by_columns = lines_fetched(64 * r + s for s in range(64) for r in range(64))
print(f"by rows {by_rows}, by columns {by_columns}")
assert by_rows == 64 * 64 // 16
assert by_columns == 64 * 64

# %% [markdown] tags=["answer"]
# 256 and 4096. Row by row, each line that is fetched serves 16 additions. Down a column every number lies in another
# line, and 64 lines do not fit: when the next column comes, its lines are gone again. The same additions, sixteen times
# the traffic. That is why the order of loops matters although the sum is the same. (Real caches are larger, and so are
# real images.)

# %% [markdown]
# ## Rung 2: an order that vectorises
#
# Lesson 6 turned the loops round: fix the tap $(i, j)$, and let the outputs run. Now lay the image out flat, row after
# row, `pitch` numbers to a row. Output $(p, q)$ is then number $t = p \cdot \mathrm{pitch} + q$, and the pixel it meets
# through the tap is number
#
# $$ (p + i) \cdot \mathrm{pitch} + (q + j) = t + \underbrace{i \cdot \mathrm{pitch} + j}_{\text{shift}} . $$
#
# The shift does not depend on $t$. So for each tap the outputs, all of them in one long row, meet pixels in one long
# row. One loop without an `if`, over neighbours in memory:

# %%
image = np.arange(1, 21).reshape(4, 5)
weight = np.array([[1, 0], [2, -1]])
pitch, out_h, out_w = 5, 3, 4

flat = np.append(image.ravel(), 0)  # the last shift looks one cell past the end
long_row = np.zeros(out_h * pitch, int)
for i, j in np.ndindex(2, 2):
    shift = i * pitch + j
    long_row += weight[i, j] * flat[shift : shift + out_h * pitch]

with_leftovers = long_row.reshape(out_h, pitch)
y = with_leftovers[:, :out_w]
expected = reference.conv2d_forward(
    image[None, None], weight[None, None], None, (1, 1), (0, 0)
)
assert np.array_equal(y, expected[0, 0])

# %% tags=["picture"]
leftovers = [(p, out_w) for p in range(out_h)]
figure = tables(
    [
        (image, "the image"),
        (weight, "the kernel", "weight"),
        (with_leftovers, "what the long rows give", "value", leftovers),
    ]
)
show(figure, "The framed column is computed along with the others and thrown away.")

# %% [markdown]
# > **Question.** What are the numbers in the framed column?

# %% [markdown] tags=["answer"]
# There the window hangs over the edge: its left half is at the end of one row, its right half at the start of the next.
# They are sums of pixels that do not belong together. Computing and dropping them is cheaper than stopping the loop at
# every row's end.

# %% [markdown]
# ## Rung 3: keep the sums in registers
#
# On rung 2 every product still reads one pixel and reads and writes one sum. Registers, the few numbers a processor
# holds in its hands, are free to read. Take a *tile* of the output, $R$ pixels times $V$ filters, and keep its
# $R \cdot V$ sums in registers over the whole long sum. Each step of that sum then fetches $R$ pixels and $V$ weights,
# and makes a product of each with each:
#
# $$ \frac{\text{fetches}}{\text{products}} = \frac{R + V}{R \cdot V} $$
#
# | tile | fetches for a product |
# |---|---|
# | 1 × 1, a plain loop | 2 |
# | 4 × 2 | 0.75 |
# | 8 × 2 | 0.625 |
# | 8 × 8 | 0.25 |
#
# Why not 100 × 100, then? Because there are 16 or 32 registers, and a sum that does not fit goes back to memory. The
# framework's tile has 2 vectors of filters and 6 or 8 pixels; a vector is 8 or 16 numbers that one instruction works
# on.

# %%
fetches = {(R, V): (R + V) / (R * V) for R, V in [(1, 1), (4, 2), (8, 2), (8, 8)]}
assert list(fetches.values()) == [2, 0.75, 0.625, 0.25]

sums, weights_held, pixels_held = 2 * ROWS, 2, 1
print(f"a tile of {ROWS} x 2 needs {sums + weights_held + pixels_held} registers")
assert ROWS in (6, 8)
assert sums + weights_held + pixels_held <= (16 if ROWS == 6 else 32)

# %% [markdown]
# All three passes use this one tile, since all three are sums of products (lesson 7); only what is called a pixel and
# what a weight changes. The input gradient with a stride is cut into the phases of lesson 7, and never multiplies by a
# zero.
#
# ## Rung 4: fewer multiplications
#
# Take it in one dimension: four pixels $d_0 \ldots d_3$, a kernel $g_0, g_1, g_2$, two outputs.
#
# $$ y_0 = d_0 g_0 + d_1 g_1 + d_2 g_2 \qquad\qquad y_1 = d_1 g_0 + d_2 g_1 + d_3 g_2 $$
#
# Six products. Winograd (1980) found that four are enough:
#
# $$ m_1 = (d_0 - d_2)\, g_0 \qquad m_2 = (d_1 + d_2)\, \frac{g_0 + g_1 + g_2}{2} $$
#
# $$ m_3 = (d_2 - d_1)\, \frac{g_0 - g_1 + g_2}{2} \qquad m_4 = (d_1 - d_3)\, g_2 $$
#
# $$ y_0 = m_1 + m_2 + m_3 \qquad\qquad y_1 = m_2 - m_3 - m_4 $$
#
# > **Question.** Do it by hand for $d = (1, 2, 3, 4)$ and $g = (1, 2, 3)$. What are the four products?


# %% tags=["answer"]
def four_products(d, g):
    """The products m of Winograd's F(2, 3)."""
    return [
        (d[0] - d[2]) * g[0],
        (d[1] + d[2]) * (g[0] + g[1] + g[2]) / 2,
        (d[2] - d[1]) * (g[0] - g[1] + g[2]) / 2,
        (d[1] - d[3]) * g[2],
    ]


def two_outputs(m):
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


d, g = [Fraction(k) for k in (1, 2, 3, 4)], [Fraction(k) for k in (1, 2, 3)]
print(
    [str(m) for m in four_products(d, g)],
    [str(y) for y in two_outputs(four_products(d, g))],
)
assert four_products(d, g) == [-2, 15, 1, -6]
assert two_outputs(four_products(d, g)) == [14, 20]
assert list(np.correlate([1, 2, 3, 4], [1, 2, 3], "valid")) == [14, 20]

# %% [markdown] tags=["answer"]
# $-2, 15, 1, -6$, which give $y_0 = 14$ and $y_1 = 20$, as the plain sums do.

# %% [markdown]
# Why it works: add $m_2$ and $m_3$ and multiply out. The terms with $d_1 g_0$, $d_1 g_2$ and $d_2 g_1$ cancel, and what
# is left is $d_1 g_1 + d_2\,(g_0 + g_2)$. In $y_0$ the product $m_1$ then takes $d_2 g_0$ away and puts $d_0 g_0$ in
# its place. In $m_2 - m_3$ the other terms remain, $d_1\,(g_0 + g_2) + d_2 g_1$, and $m_4$ replaces $d_1 g_2$ by
# $d_3 g_2$.
#
# That can also be *proved* by a program. Both sides are linear in $d$ and linear in $g$. So it is enough to compare
# them for the 4 · 3 pairs of unit vectors: every other case is a sum of these.

# %%
units_d = [[Fraction(int(k == n)) for k in range(4)] for n in range(4)]
units_g = [[Fraction(int(k == n)) for k in range(3)] for n in range(3)]
for d, g in itertools.product(units_d, units_g):
    plain_sums = [sum(d[p + i] * g[i] for i in range(3)) for p in range(2)]
    assert two_outputs(four_products(d, g)) == plain_sums

# %% [markdown]
# What was gained? There are *more* additions than before, but they are cheap to share. Those of the kernel are made
# once for a whole batch. Those of the pixels are made once and serve all filters. Those of the outputs come after the
# sum over all channels. Only the four products are made for each pixel, channel and filter.
#
# In two dimensions do it along the rows and then along the columns: $4 \cdot 4 = 16$ products for $2 \cdot 2$ outputs,
# where plain sums need 36. The framework uses the larger $F(4, 3)$, six products for four outputs, so $6 \cdot 6 = 36$
# instead of $16 \cdot 9 = 144$: a quarter. Its transforms are plain Python, too, and can be proved in the same way (up
# to rounding, since sixths are no binary fractions).

# %%
for d, g in itertools.product(np.eye(6).tolist(), np.eye(3).tolist()):
    transformed = zip(winograd.input_1d(d), winograd.weight_1d(g), strict=True)
    outputs = winograd.output_1d([a * b for a, b in transformed])
    assert np.allclose(outputs, np.correlate(d, g, "valid"), atol=1e-15)

plain_products, winograd_products = 4 * 4 * 9, 6 * 6
assert plain_products == 4 * winograd_products

# %% [markdown]
# Nothing is free. The transforms of $F(4, 3)$ add numbers with weights of up to 3.4, and differences of large numbers
# lose digits. And a whole tile of 4 × 4 outputs shares its products: a pixel that is not a number would spoil all 16,
# also those that do not look at it, and a huge one would drown its neighbours. So each tile is looked at as it is
# transformed, and where its numbers are too far apart, it is summed plainly (`convolution/winograd/balance.py`).
#
# ## All four, measured

# %%
rng = np.random.default_rng(0)
x = rng.standard_normal((N, C, SIDE, SIDE), np.float32)
w = rng.standard_normal((F, C, 3, 3), np.float32)
windows = (None, (1, 1), (1, 1))  # no bias, stride, padding
rungs = {
    "plain": lambda x, w: plain.forward(x, w, *windows),
    "shifts": lambda x, w: shifts.forward(x, w, *windows),
    "tile": lambda x, w: conv.convolve(tile, x, w, *windows),
    "winograd": lambda x, w: conv.convolve(winograd, x, w, *windows),
}
exact = reference.conv2d_forward(x.astype(np.float64), w.astype(np.float64), *windows)

speeds, errors = {}, {}
for name, forward in rungs.items():
    y = forward(x, w)  # the first call compiles
    errors[name] = np.abs(y - exact).max() / np.abs(exact).max()
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        forward(x, w)
        seconds.append(time.perf_counter() - started)
    speeds[name] = operations / min(seconds) / 1e9
    print(
        f"{name:9} {1000 * min(seconds):7.2f} ms {speeds[name]:6.1f} billion a second, "
        f"largest error {errors[name]:.0e}"
    )

assert all(error < 2e-5 for error in errors.values())  # in float32

spoilt = x.copy()
spoilt[0, 0, 9, 9] = np.nan
not_numbers = {
    name: np.isnan(rungs[name](spoilt, w)[0, 0]).sum() for name in ("tile", "winograd")
}
print("spoilt by one pixel:", {name: int(n) for name, n in not_numbers.items()})
assert not_numbers == {
    "tile": 9,
    "winograd": 9,
}  # the 3 × 3 outputs that look at it, and no other

row, last_tap_alone = [1, 2, np.nan, 4, 5, 6], [0, 0, 1]
transformed = zip(
    winograd.input_1d(row), winograd.weight_1d(last_tap_alone), strict=True
)
without_the_look = winograd.output_1d([a * b for a, b in transformed])
print("by definition:", row[2:], "  without that look:", without_the_look)
assert np.isnan(without_the_look).all()

# %% tags=["picture"]
figure = Figure(figsize=(7, 2.6), layout="constrained")
axes = figure.subplots()
axes.barh(list(speeds), list(speeds.values()), color=COLOURS["weight"])
axes.invert_yaxis()
axes.set(xlabel="billion operations a second, counted as plain sums", xscale="log")
show(
    figure,
    "Forward on the machine this lesson ran on; each rung gives the same numbers.",
)

# %% [markdown]
# ## Who owns what
#
# Two threads can share the work only if they do not write to the same place. `total += 3` is three steps: read, add,
# write. Here are two workers who add to one number, step by step, in an unlucky order:

# %%
total = 5
read_by_first = total
read_by_second = total  # before the first has written
total = read_by_first + 1
total = read_by_second + 2
print(total)
assert total == 7  # not 8: the first worker's addition is lost

# %% [markdown]
# No error, only a wrong sum, now and then. So in every parallel loop of the framework each worker *owns* what it
# writes, and the file says so in one line. Which loops may be shared out follows from where the sum goes:
#
# - forward, $y_{nfpq}$: a worker may own some images, or some filters. Either way nobody else writes there.
# - weight gradient, $\mathrm{dw}_{fcij}$: it sums over all images. Sharing out the images would make two workers add to
#   the same weight.
#
# > **Question.** And the input gradient as a scatter, where every filter adds its stamps to $\mathrm{dx}_{ncrs}$: may
# > the filters be shared out? The images?

# %% [markdown] tags=["answer"]
# Not the filters: all of them stamp on the same image. The images, yes. Or write it as a gather, the second way of
# lesson 7: then every pixel collects its own sum, and anything may be shared out.

# %% [markdown]
# There is one more reason to be strict. A sum of rounded numbers depends on its order:

# %%
large, small = np.float32(1e8), np.float32(1)
print(large + small - large, large - large + small)
assert large + small - large == 0
assert large - large + small == 1

# %% [markdown]
# If the order depended on which thread came first, two runs of the same program would give different networks. In
# minicnn the order depends on the sizes only: where several partial sums are needed, their number is fixed, and they
# are added in order. The result is the same to the last bit for any number of threads.

# %%
most = numba.get_num_threads()
results = []
for threads in (1, most):
    minicnn.set_num_threads(threads)
    layer = minicnn.Conv2d(C, F, 3, padding=1, rng=0)
    y = layer.forward(x)
    dx = layer.backward(y)
    results.append((y, dx, layer.grads["weight"]))
assert all(np.array_equal(one, many) for one, many in zip(*results, strict=True))

# %% [markdown]
# ## Now you
#
# Do the exercise `fast_kernels`:
#
#     minicnn learn check fast_kernels
#
# Then read the ladder from below, in `minicnn/backends/cpu/convolution`:
#
# - `__init__.py`: the rungs, with what each was measured at.
# - `plain.py`: three passes, each seven loops around another line.
# - `shifts.py`: the long rows, for any stride. A stride of 2 deals the image out to four planes.
# - `gather_gemm.py`: the tile, one function for all passes.
# - `winograd/transforms.py`: the five transforms you can read; the rest is about keeping everything close to the
#   processor.
