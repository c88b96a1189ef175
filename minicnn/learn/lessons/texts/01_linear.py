# %% [markdown]
# # 1 · Linear: sums, and the way back
#
# A network is a chain of layers. Forward, each layer turns numbers into other numbers, and at the end of the chain
# stands a single number, the loss $L$: how wrong the answer was. Learning means to ask of every number on the way:
# *if you were a little larger, how would $L$ change?* The answer is the derivative of $L$ with respect to that
# number. For an array `x` we collect these derivatives in an array `dx` of the same shape, the *gradient* of `x`:
#
# $$\mathrm{dx}_{nd} = \frac{\partial L}{\partial x_{nd}}$$
#
# So `dx` is not a small change of `x`. It is a list of prices: what one more unit in each cell costs, in units of
# $L$.
#
# A layer need not know the rest of the network to do its part. It is handed `dy`, the prices of its outputs, and has
# to say what its inputs and its weights are worth. This lesson does that for the layer that only multiplies and adds.

# %%
import numpy as np
from matplotlib.figure import Figure

import minicnn
from minicnn.learn.exercises.source import solution
from minicnn.learn.lessons.figures import COLOURS, show, tables

# %% [markdown]
# ## Forward, in small integers
#
# A linear layer has $D$ inputs and $K$ outputs. Each output is a weighted sum of all inputs, plus a number of its
# own, the bias. Three letters keep order: $d$ counts inputs, $k$ outputs, and $n$ the images of a batch. We begin
# with one image and leave $n$ out.
#
# $$y_k = b_k + \sum_d W_{kd} \, x_d$$

# %%
fc = minicnn.Linear(2, 3).to(
    "reference", np.float64
)  # the backend made to be read, in double precision
fc.params["weight"][:] = [[1, -1], [4, 2], [0, 5]]
fc.params["bias"][:] = [10, 0, -1]

x = np.array([[2.0, 3.0]])  # one image of two numbers: shape (N, D) = (1, 2)
y = fc.forward(x)
print("y =", y)
assert y.tolist() == [[1 * 2 - 1 * 3 + 10, 4 * 2 + 2 * 3 + 0, 0 * 2 + 5 * 3 - 1]]

# %% [markdown]
# ## Backward: the input
#
# Now the rest of the network tells us what the outputs are worth: $\mathrm{dy} = (1, -2, 3)$. One unit more in $y_0$
# raises the loss by 1, one unit more in $y_1$ lowers it by 2, one unit more in $y_2$ raises it by 3.
#
# > **Question.** Raise $x_0$ from 2 to $2 + t$. By how much does each output change, and by how much does the loss?

# %% [markdown] tags=["answer"]
# $x_0$ meets the weights of the first column, $(1, 4, 0)$. So the outputs change by $1t$, $4t$ and $0t$, and each
# change has its price:
#
# $$1 \cdot 1t + (-2) \cdot 4t + 3 \cdot 0t = -7t$$
#
# The price of $x_0$ is $-7$: the sum, over all outputs, of *the weight it went through* times *what came back*.

# %% [markdown]
# In symbols. The loss depends on $x_d$ only by way of the outputs, and on all of them. The chain rule for several
# ways says: multiply along each way, and add the ways.
#
# $$\mathrm{dx}_d = \frac{\partial L}{\partial x_d}
#   = \sum_k \frac{\partial L}{\partial y_k} \, \frac{\partial y_k}{\partial x_d}
#   = \sum_k \mathrm{dy}_k \, W_{kd}$$
#
# The last step reads $\partial y_k / \partial x_d = W_{kd}$ off the formula of $y_k$: among its terms only
# $W_{kd} x_d$ holds $x_d$. Mind the index of the sum. Forward runs over $d$, along a *row* of $W$; backward runs over
# $k$, down a *column*. That is all there is to the transposed matrix that one sees in backward passes.

# %%
dy = np.array([[1.0, -2.0, 3.0]])
dx = fc.backward(dy)
print("dx =", dx)
assert dx.tolist() == [[1 * 1 - 2 * 4 + 3 * 0, 1 * -1 - 2 * 2 + 3 * 5]]

# %% [markdown]
# ## Backward: weights and bias
#
# > **Question.** Raise the weight $W_{10}$, the 4, by a little $t$. Which outputs change? And which cells of
# > `dweight` would be zero if $x$ were $(2, 0)$?

# %% [markdown] tags=["answer"]
# Only $y_1$ changes, by $x_0 t = 2t$, and that costs $-2 \cdot 2t$. With $x = (2, 0)$ the second column of `dweight`
# would be zero: a weight that was multiplied by 0 had no say in the loss.

# %% [markdown]
# Again the chain rule, now with respect to $W_{kd}$. Of all outputs only $y_k$ holds this weight, so of the sum over
# the ways a single term is left. The bias has the factor 1 in the place of $x_d$.
#
# $$\mathrm{dW}_{kd} = \mathrm{dy}_k \, \frac{\partial y_k}{\partial W_{kd}} = \mathrm{dy}_k \, x_d
#   \qquad\qquad \mathrm{db}_k = \mathrm{dy}_k$$
#
# Every product $W_{kd} x_d$ of the forward pass thus sends two messages back, and they mirror each other: to the
# input, *you were multiplied by this weight*, and to the weight, *you were multiplied by this input*. Convolution
# will turn out to be the same sentence with more indices.

# %%
print(fc.grads["weight"])
assert np.array_equal(fc.grads["weight"], np.outer(dy[0], x[0]))
assert np.array_equal(fc.grads["bias"], dy[0])

# %% tags=["picture"]
figure = tables(
    [(x, "x"), (fc.params["weight"], "weight", "weight"), (y.T, "y (upright)")],
    [
        (dx, "dx", "gradient"),
        (fc.grads["weight"], "dweight", "gradient"),
        (dy.T, "dy (upright)", "gradient"),
    ],
)
show(
    figure,
    "Above, forward: each y is a row of the weights times x, plus its bias. "
    "Below, backward: each dx is a column of the weights times dy.",
)

# %% [markdown]
# ## Several images at once
#
# A batch brings one row of `x` for each image. All images use the *same* weights, so there are as many ways from a
# weight to the loss as there are images, and the ways add. An input belongs to its own image, and nothing adds.
#
# $$\mathrm{dx}_{nd} = \sum_k \mathrm{dy}_{nk} W_{kd} \qquad
#   \mathrm{dW}_{kd} = \sum_n \mathrm{dy}_{nk} \, x_{nd} \qquad
#   \mathrm{db}_k = \sum_n \mathrm{dy}_{nk}$$
#
# A sum over an index that two arrays share is what a matrix product does.
#
# > **Question.** Write each of the three sums as one line of NumPy, with `dy`, `x` and `weight`. The shapes lead the
# > way: `dy` is $N \times K$, `x` is $N \times D$, `weight` is $K \times D$.

# %% tags=["answer"]
print("The answer, to be compared with yours:\n")
for name in ("input_gradient", "weight_gradient", "bias_gradient"):
    print(solution("minicnn.backends.reference.linear", f"linear_{name}"))

# %%
rng = np.random.default_rng(0)
x = rng.integers(-3, 4, (4, 2)).astype(float)
dy = rng.integers(-3, 4, (4, 3)).astype(float)
fc.forward(x)
fc.backward(dy)
assert np.array_equal(fc.grads["weight"], sum(np.outer(dy[n], x[n]) for n in range(4)))

# %% [markdown]
# Note that `backward` *assigns* `grads`; what an earlier batch left there is gone. So there is nothing to zero
# between two steps.
#
# ## How to know that a gradient is right
#
# A wrong gradient seldom crashes. The network learns a little worse, and nobody knows why. But a derivative can
# always be measured: move one number by a small $h$, up and down, and look at the loss.
#
# $$\frac{\partial L}{\partial x_d} \approx \frac{L(x_d + h) - L(x_d - h)}{2h}$$
#
# That costs two forward passes for each number, which is why nobody trains so. As a check it is unbeatable, since it
# knows nothing of your derivation. In five lines:


# %%
def measured_gradient(loss, array, h=1e-5):
    """The gradient of loss() by `array`, whose numbers are moved up and down."""
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + h
        above = loss()
        array[index] = kept - h
        gradient[index] = (above - loss()) / (2 * h)
        array[index] = kept
    return gradient


# %% [markdown]
# It needs a loss. The one that suits a layer is $L = \sum \mathrm{dy}_{nk} \, y_{nk}$ with numbers `dy` of our
# choice: then $\partial L / \partial y_{nk}$ is just $\mathrm{dy}_{nk}$, so `backward(dy)` must give its gradient.


# %%
def loss():
    return (dy * fc.predict(x)).sum()


fc.forward(x)
dx = fc.backward(dy)
for name, computed, array in (
    ("dx", dx, x),
    ("dweight", fc.grads["weight"], fc.params["weight"]),
    ("dbias", fc.grads["bias"], fc.params["bias"]),
):
    error = np.abs(measured_gradient(loss, array) - computed).max()
    print(f"{name:8} differs by at most {error:.0e}")
    assert error < 1e-8

# %% [markdown]
# > **Question.** Why up *and* down? Moving only up, $(L(x + h) - L(x)) / h$, needs half the work. And why not take
# > $h = 10^{-12}$, which is closer to a derivative?

# %% [markdown] tags=["answer"]
# Taylor's formula knows:
#
# $$L(x \pm h) = L \pm h L' + \tfrac12 h^2 L'' \pm \tfrac16 h^3 L''' + \dots$$
#
# Moving only up leaves an error of about $\tfrac12 h L''$. In the difference of up and down the even terms cancel,
# and what is left is $\tfrac16 h^2 L'''$: where $h$ is a hundred times smaller, that is ten thousand times smaller.
#
# And a computer rounds. Each $L$ is off by about $10^{-16}$ of its size, and dividing by $h$ makes that
# $10^{-16} / h$. Small $h$ is paid for with digits. The picture shows both errors for a loss that is not a straight
# line.

# %%
steps = 10.0 ** np.arange(-13, 0)
exact = np.cos(1.0)  # the derivative of sin at 1
one_sided = np.abs((np.sin(1 + steps) - np.sin(1)) / steps - exact)
central = np.abs((np.sin(1 + steps) - np.sin(1 - steps)) / (2 * steps) - exact)

assert np.isclose(
    central[-2] / central[-4], 10**4, rtol=0.01
)  # h = 0.01 against h = 0.0001
assert central[1] > 1e-6  # h = 1e-12

# %% tags=["picture"]
figure = Figure(figsize=(6.5, 3.6), layout="constrained")
axes = figure.subplots()
axes.loglog(steps, one_sided, "s-", color=COLOURS["gradient"], label="only up")
axes.loglog(steps, central, "o-", color=COLOURS["weight"], label="up and down")
axes.set(xlabel="step h", ylabel="error of the derivative of sin at 1")
axes.legend(frameon=False)
show(
    figure,
    "To the right the formula's error, to the left that of rounding. "
    "Between them, up and down is best.",
)
assert central.min() < 1e-10
assert central.min() < one_sided.min() / 10

# %% [markdown]
# ## A check that cannot fail
#
# Here is a wrong backward: it gives each weight the `dy` of another output. Watch what happens if the check takes
# $\mathrm{dy} = (1, 1, 1)$, which many do since the loss is then the sum of all outputs.


# %%
def wrong_weight_gradient(dy, x):
    return dy[:, ::-1].T @ x  # the outputs in reverse order


drawn = dy
for name, chosen in (("all ones", np.ones_like(dy)), ("drawn at random", drawn)):
    dy = chosen
    error = np.abs(
        measured_gradient(loss, fc.params["weight"]) - wrong_weight_gradient(dy, x)
    ).max()
    verdict = "caught" if error > 1e-6 else "passed as right!"
    print(f"dy {name:16} largest difference {error:.0e}   {verdict}")
    assert (error > 1e-6) == (name == "drawn at random")

# %% [markdown]
# Where all prices are equal, it does not matter whose price one takes. So draw `dy` at random, work in float64, and
# see every check reject a planted bug before you trust it. `minicnn.gradcheck` does all that for any layer.
#
# ## Now you
#
# Do the exercise `linear`:
#
#     minicnn learn check linear
#
# Then compare with the framework. In the layer, `minicnn/layers/linear.py`, `forward` remembers `x`, since `dweight`
# multiplies by it, and `backward` is the derivation above. The arithmetic is in `minicnn/backends/reference/linear.py`.
