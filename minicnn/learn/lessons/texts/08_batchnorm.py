# %% [markdown]
# # 8 · Batchnorm: three paths from a pixel to the loss
#
# Every layer so far treated a pixel as the affair of one output, or of the few outputs whose windows contain it. Batch
# normalisation is different: it subtracts the mean of *all* pixels of a channel and divides by their spread. Change one
# pixel, and every output of the channel moves, in every image of the batch. The backward pass has to account for all of
# it, and it does so by following three paths. In this lesson you take them one at a time.

# %%
import numpy as np
from matplotlib.figure import Figure

import minicnn
from minicnn.backends import reference
from minicnn.backends.reference.batchnorm import batchnorm2d_train_paths
from minicnn.data import load_digits
from minicnn.learn.lessons.figures import show

# %% [markdown]
# ## A small case first
#
# Take one channel with the four pixels $x = (1, 1, 5, 5)$. Their mean is $\mu = 3$. Their deviations from it are
# $(-2, -2, 2, 2)$, the mean of the squared deviations (the variance) is $v = 4$, and its root, the standard deviation,
# is $\sigma = 2$. Normalised,
#
# $$ \hat x = \frac{x - \mu}{\sigma} = (-1, -1, 1, 1), \qquad y = w\,\hat x + b . $$
#
# Whatever the pixels were, $\hat x$ has mean 0 and variance 1. The weight $w$ and the bias $b$ are learned, so that the
# network may choose another spread and another mean if it wants one. Let $w = 2$ and $b = 0$.
#
# Now a gradient comes back, $\mathrm{dy} = (8, 0, 4, 0)$. The loss does not care about outputs 1 and 3 at all (counting
# from 0).

# %%
x = np.array([1.0, 1.0, 5.0, 5.0]).reshape(1, 1, 2, 2)
dy = np.array([8.0, 0.0, 4.0, 0.0]).reshape(1, 1, 2, 2)
weight, bias, eps = np.array([2.0]), np.array([0.0]), 0.0

mean, var = reference.batchnorm2d_statistics(x)
assert (mean, var) == (3, 4)

# %% [markdown]
# > **Question.** What is the gradient of pixel 1? Is it 0?

# %% tags=["answer"]
dx, dweight, dbias = reference.batchnorm2d_train_backward(dy, x, weight, mean, var, eps)
print("dx     ", dx.ravel())
print("dweight", dweight, "  dbias", dbias)

assert np.array_equal(dx.ravel(), [4, -4, 2, -2])

# %% [markdown] tags=["answer"]
# It is $-4$. If pixel 1 grows a little, the mean grows, and with it output 0 falls, about which the loss does care. The
# spread changes, too. Neither effect asks whether anybody cared about output 1.

# %% [markdown]
# The framework will show where each share came from:

# %%
direct, via_mean, via_variance = batchnorm2d_train_paths(dy, x, weight, mean, var, eps)
for path in (direct, via_mean, via_variance):
    print(path.ravel())

assert np.array_equal(direct.ravel(), [8, 0, 4, 0])
assert np.array_equal(via_mean.ravel(), [-3, -3, -3, -3])
assert np.array_equal(via_variance.ravel(), [-1, -1, 1, 1])
assert np.array_equal(direct + via_mean + via_variance, dx)

# %% [markdown]
# The second path gives every pixel the same. The third is proportional to $\hat x$. Now to why.
#
# ## The derivation
#
# Number all pixels of the channel, in all images, by $k = 1 \ldots n$. To be general put back the small constant
# $\varepsilon$ that keeps a constant channel from dividing by zero: $\sigma = \sqrt{v + \varepsilon}$. Written as three
# steps,
#
# $$ \mu = \frac1n \sum_m x_m \qquad v = \frac1n \sum_m (x_m - \mu)^2 \qquad
#    y_m = w \, \frac{x_m - \mu}{\sqrt{v + \varepsilon}} + b . $$
#
# Pixel $x_k$ occurs in all three. So by the chain rule its gradient has three terms, one for each place where it
# occurs:
#
# $$ \mathrm{dx}_k \;=\; \underbrace{\mathrm{dy}_k \,\frac{\partial y_k}{\partial x_k}}_{\text{directly}}
#    \;+\; \underbrace{\frac{\partial L}{\partial \mu}\,\frac{\partial \mu}{\partial x_k}}_{\text{via the mean}}
#    \;+\; \underbrace{\frac{\partial L}{\partial v}\,\frac{\partial v}{\partial x_k}}_{\text{via the variance}} $$
#
# In each term the other two steps are held fixed.
#
# **Directly.** With $\mu$ and $v$ fixed, $y_k$ is a straight line in $x_k$ of slope $w/\sigma$. Call this slope $a$:
#
# $$ \mathrm{dy}_k \cdot a, \qquad a = \frac{w}{\sqrt{v + \varepsilon}} . $$
#
# **Via the mean.** Each output falls by $a$ when $\mu$ grows by one, so
# $\partial L / \partial \mu = \sum_m \mathrm{dy}_m \cdot (-a)$. And $\partial \mu / \partial x_k = 1/n$. Together:
#
# $$ -a \cdot \frac1n \sum_m \mathrm{dy}_m = -a \cdot \mathrm{mean}(\mathrm{dy}) . $$
#
# Nothing in it depends on $k$: every pixel has the same share in the mean, so each gets the same part of the blame.
#
# **Via the variance.** The derivative of $(v + \varepsilon)^{-1/2}$ is $-\frac12 (v + \varepsilon)^{-3/2}$, so
#
# $$ \frac{\partial L}{\partial v}
#    = \sum_m \mathrm{dy}_m \, w \, (x_m - \mu) \cdot \left(-\frac12\right) (v + \varepsilon)^{-3/2}
#    = -\frac{a}{2\sigma} \sum_m \mathrm{dy}_m \, \hat x_m , $$
#
# where one factor $1/\sigma$ went into $\hat x_m = (x_m - \mu)/\sigma$ and one into $a = w/\sigma$. For the second
# factor,
#
# $$ \frac{\partial v}{\partial x_k} = \frac2n (x_k - \mu) = \frac{2\sigma}{n} \hat x_k . $$
#
# (The variance contains $\mu$ as well, which contains $x_k$. That detour adds nothing:
# $\partial v/\partial \mu = -\frac2n \sum_m (x_m - \mu) = 0$, since deviations from the mean sum to 0.) The product of
# the two is
#
# $$ -a \cdot \hat x_k \cdot \frac1n \sum_m \mathrm{dy}_m \, \hat x_m
#    = -a \cdot \hat x_k \cdot \mathrm{mean}(\mathrm{dy} \cdot \hat x) . $$
#
# All three together are the formula in the layer's docstring:
#
# $$ \mathrm{dx}_k
#    = a \, \big( \mathrm{dy}_k - \mathrm{mean}(\mathrm{dy}) - \hat x_k \mathrm{mean}(\mathrm{dy} \, \hat x) \big) . $$
#
# The parameters are easier, since $y_m = w \hat x_m + b$ is a straight line in both:
# $\mathrm{dw} = \sum_m \mathrm{dy}_m \hat x_m$ and $\mathrm{db} = \sum_m \mathrm{dy}_m$. Both sums are needed for
# $\mathrm{dx}$ anyway; look at how the framework uses them twice.
#
# ## Each path, checked by itself
#
# A path is what is left when the others are held fixed. So write the layer with three inputs in place of one: the
# pixels it normalises, those whose mean it takes, and those whose variance it takes. Then nudge one pixel of one of
# them.

# %%
rng = np.random.default_rng(0)
x = rng.normal(5, 3, (2, 1, 4, 4))
dy = rng.normal(size=x.shape)
weight, bias, eps = np.array([1.5]), np.array([0.3]), 1e-5


def loss(pixels, for_mean, for_variance):
    """A loss whose gradient with respect to y is dy: the sum of dy * y."""
    x_hat = (pixels - for_mean.mean()) / np.sqrt(for_variance.var() + eps)
    return (dy * (weight * x_hat + bias)).sum()


def slopes(which, step=1e-5):
    """The measured slope of the loss in each pixel of input number `which`."""
    gradient = np.empty_like(x)
    for k in np.ndindex(x.shape):
        up, down = [x.copy(), x.copy(), x.copy()], [x.copy(), x.copy(), x.copy()]
        up[which][k] += step
        down[which][k] -= step
        gradient[k] = (loss(*up) - loss(*down)) / (2 * step)
    return gradient


mean, var = reference.batchnorm2d_statistics(x)
paths = batchnorm2d_train_paths(dy, x, weight, mean, var, eps)
for which, path in enumerate(paths):
    np.testing.assert_allclose(slopes(which), path, atol=1e-8)

dx, *_ = reference.batchnorm2d_train_backward(dy, x, weight, mean, var, eps)
np.testing.assert_allclose(sum(paths), dx, atol=1e-12)
assert all(np.abs(path).max() > 0.01 for path in paths)  # no comparison of 0 with 0

# %% [markdown]
# ## What the paths look like
#
# Take a handwritten digit as $x$, and let the loss care about one single output pixel: $\mathrm{dy}$ is 1 there and 0
# elsewhere.

# %%
digit = load_digits().train.images[:1].astype(np.float64)
one_pixel = np.zeros_like(digit)
one_pixel[0, 0, 2, 3] = 1

mean, var = reference.batchnorm2d_statistics(digit)
one = np.ones(1)
paths = batchnorm2d_train_paths(one_pixel, digit, one, mean, var, eps=1e-5)

x_hat = (digit - mean) / np.sqrt(var + 1e-5)
ratio = paths[2] / x_hat
assert np.ptp(paths[1]) == 0  # the same everywhere
np.testing.assert_allclose(ratio, ratio[0, 0, 0, 0], rtol=1e-6)  # x_hat, scaled

# %% tags=["picture"]
figure = Figure(figsize=(11, 2.7), layout="constrained")
x_axes, *path_axes = figure.subplots(1, 5)
x_axes.imshow(digit[0, 0], cmap="gray_r")
x_axes.set(title="x", xticks=[], yticks=[])
titles = ("directly", "via the mean", "via the variance", "dx, their sum")
for axes, title, path in zip(path_axes, titles, (*paths, sum(paths)), strict=True):
    drawn = axes.imshow(path[0, 0], cmap="RdBu_r", vmin=-0.15, vmax=0.15)
    axes.set(title=title, xticks=[], yticks=[])
figure.colorbar(drawn, ax=path_axes, extend="both")
show(
    figure,
    "The gradient of one output pixel with respect to every pixel of x, "
    "and the three paths it is made of.",
)

# %% [markdown]
# The direct path is one dot, the second a grey veil, and the third a faint picture of the digit itself. The sum reaches
# every pixel. (The colours end at $\pm 0.15$; the dot is far beyond.)
#
# ## Two directions in which nothing can be asked
#
# In the small case $\mathrm{dx} = (4, -4, 2, -2)$ sums to 0. Its products with $\hat x = (-1, -1, 1, 1)$ sum to 0, too.
# Neither is chance.
#
# - Add the same constant to all pixels: $\mu$ takes it out again, $y$ stays as it was. So the loss has slope 0 in the
#   direction $(1, 1, \ldots, 1)$, and the slope in a direction is the sum of $\mathrm{dx}$ times the direction:
#   $\sum_k \mathrm{dx}_k = 0$.
# - Stretch all pixels away from their mean: $\sigma$ takes it out again (but for $\varepsilon$). So
#   $\sum_k \mathrm{dx}_k \hat x_k = 0$.
#
# That is what the two subtracted terms do: they remove from $\mathrm{dy}$ whatever points in these two directions.

# %%
along_x_hat = (dx * (x - x.mean()) / x.std()).sum()
print(f"sum of dx: {dx.sum():.1e}     sum of dx * x_hat: {along_x_hat:.1e}")
assert abs(dx.sum()) < 1e-10
assert abs(along_x_hat) < 1e-4  # not exactly 0: eps is not stretched along

# %% [markdown]
# ## A check that cannot fail
#
# Suppose you forget the third path, and want to test what you wrote. Many people take the simplest loss there is, the
# sum of all outputs, for which $\mathrm{dy}$ is 1 everywhere.


# %%
def forgetful(dy, x, weight, mean, var, eps):
    """The training dx without the path via the variance: wrong."""
    a = weight / np.sqrt(var + eps)
    return a * (dy - dy.mean())


# %% [markdown]
# > **Question.** What does that test say about this function? And about one that returns 0 always?

# %% tags=["answer"]
mean, var = reference.batchnorm2d_statistics(x)
for name, chosen in (("ones", np.ones_like(x)), ("random", rng.normal(size=x.shape))):
    right, *_ = reference.batchnorm2d_train_backward(chosen, x, weight, mean, var, eps)
    wrong = forgetful(chosen, x, weight, mean, var, eps)
    size, difference = np.abs(right).max(), np.abs(right - wrong).max()
    print(f"dy {name:7} right numbers up to {size:.0e}, differences {difference:.0e}")
    if name == "ones":
        assert max(size, difference) < 1e-12  # 0, and no difference from 0
    else:
        assert difference > 0.1

# %% [markdown] tags=["answer"]
# It lets both pass. The outputs of a channel sum to $n b$ whatever $x$ is, so a loss that is their sum is constant: the
# right gradient is 0, and the test compares 0 with 0. Such a check is called *vacuous*.

# %% [markdown]
# The next loss that comes to mind, half the sum of the squared outputs, has $\mathrm{dy} = y$, and is no better. The
# squares of $\hat x$ sum to $n$, the $\hat x$ sum to 0, so this loss is constant as well: $\frac n2 (w^2 + b^2)$.

# %%
y = reference.batchnorm2d_forward(x, weight, bias, mean, var, eps)
squared, *_ = reference.batchnorm2d_train_backward(y, x, weight, mean, var, eps)
print(f"with dy = y the largest number of dx is {np.abs(squared).max():.1e}")
assert np.abs(squared).max() < 1e-5

# %% [markdown]
# Use a random $\mathrm{dy}$. It points in all directions at once, and in no direction exactly. `minicnn.gradcheck`
# draws one, and refuses to pass a gradient that is 0.
#
# ## Two variances
#
# To normalise, the batch's variance is $v = \frac1n \sum (x_k - \mu)^2$, divided by $n$; that makes the variance of
# $\hat x$ exactly 1. But the layer also keeps *running* statistics, for the day when a single picture comes and there
# is no batch to take statistics of. They estimate the variance of the data at large, and for that $v$ is a little too
# small: the mean $\mu$ was fitted to these very pixels and lies closer to them than the true mean does. How much too
# small? The deviation of one of $n$ independent numbers from their common mean is
#
# $$ x_k - \mu = \left(1 - \frac1n\right) x_k - \frac1n \sum_{m \ne k} x_m , $$
#
# and as variances of independent terms add, with their factors squared, its variance is, in units of the true one,
#
# $$ \left(1 - \frac1n\right)^2 + \frac{n-1}{n^2} = \frac{n-1}{n} . $$
#
# So the running variance takes $v \cdot \frac{n}{n-1}$, which is the sum divided by $n - 1$: the *unbiased* variance.
# In the small case, $4 \cdot \frac43 = 5\frac13$, and with momentum 0.1 the running variance moves a tenth of the way
# from 1 to there.

# %%
batchnorm = minicnn.BatchNorm2d(1, momentum=0.1)
batchnorm.forward(np.float32([1, 1, 5, 5]).reshape(1, 1, 2, 2))
running = {name: array.item() for name, array in batchnorm.state.items()}
print(running)
assert np.isclose(running["running_mean"], 0.9 * 0 + 0.1 * 3)
assert np.isclose(running["running_var"], 0.9 * 1 + 0.1 * 16 / 3)

many = rng.normal(size=(100_000, 4))  # four numbers at a time, of true variance 1
biased, unbiased = many.var(axis=1).mean(), many.var(axis=1, ddof=1).mean()
print(f"on average, divided by n: {biased:.3f}, divided by n - 1: {unbiased:.3f}")
assert abs(biased - 3 / 4) < 0.01
assert abs(unbiased - 1) < 0.01

# %% [markdown]
# ## Evaluation is another function
#
# In evaluation mode the layer normalises with the running statistics. They are constants: $x$ does not reach them. Two
# of the three paths are gone, and what remains is the direct one, $\mathrm{dx} = a\,\mathrm{dy}$, with $a$ from the
# running variance. The sums for $\mathrm{dw}$ and $\mathrm{db}$ keep their form.
#
# When does anybody call backward in evaluation mode? When they want the gradient of a finished network with respect to
# a picture, to see which pixels it looked at. A layer with only the training formula would give a wrong answer there
# and no error.

# %%
layer = minicnn.BatchNorm2d(1).to("reference", np.float64)
layer.train().forward(x)  # moves the running statistics a little
layer.eval().forward(x)
dx_in_evaluation = layer.backward(dy)

a = layer.params["weight"] / np.sqrt(layer.state["running_var"] + layer.eps)
np.testing.assert_allclose(dx_in_evaluation, a * dy, rtol=1e-12)

layer.train().forward(x)
dx_in_training = layer.backward(dy)
assert np.abs(dx_in_training - dx_in_evaluation).max() > 0.1  # another function

# %% [markdown]
# ## Who counts how much
#
# The mean runs over pixels, not over pictures. In a batch of pictures of equal size that is the same thing. minicnn
# also takes batches of mixed sizes, and there it is not: a picture counts by its area.
#
# > **Question.** A batch holds a strip of 10 × 100 black pixels (0) and a little picture of 2 × 2 white ones (10).
# > Around which value does batchnorm centre the channel: 5, or what else?

# %% tags=["answer"]
strip, little = np.zeros((1, 10, 100), np.float32), np.full((1, 2, 2), 10, np.float32)
layer = minicnn.BatchNorm2d(1)
y = layer.forward(minicnn.Images([strip, little]))
(mean,), _ = reference.batchnorm2d_statistics(minicnn.Images([strip, little]))
print(f"mean {mean:.4f}")
print(f"the strip becomes {y[0][0, 0, 0]:.3f}, the little picture {y[1][0, 0, 0]:.2f}")

assert np.isclose(mean, 4 * 10 / 1004)
assert abs(y[0][0, 0, 0]) < 0.1
assert y[1][0, 0, 0] > 15

# %% [markdown] tags=["answer"]
# Around 0.04. The strip has 1000 of the 1004 pixels, so the statistics are its own, and it comes out as nearly nothing,
# while the little picture comes out almost 16 standard deviations away. This is right by the definition, and yet worth
# knowing: in training, what the network makes of your picture depends on the company it is in. In evaluation it does
# not.

# %% [markdown]
# ## Now you
#
# Do the exercise `batchnorm`. If you are told that you treat a statistic as a constant, go back to the small case:
# the rows $(8, 0, 4, 0)$, $(-3, -3, -3, -3)$ and $(-1, -1, 1, 1)$ tell you which one.
#
#     minicnn learn check batchnorm
#
# Then compare with the framework:
#
# - `minicnn/backends/reference/batchnorm.py`: `batchnorm2d_train_backward` and `batchnorm2d_train_paths`, ten lines
#   each.
# - `minicnn/layers/batchnorm.py`: what `forward` keeps ($x$, and not $\hat x$; why?), and how `backward` knows in which
#   mode the forward pass was, even if you have switched since.
# - `minicnn inspect --digit 4`, layer `bn1`: the three paths to any pixel you pick.
