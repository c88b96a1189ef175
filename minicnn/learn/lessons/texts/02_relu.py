# %% [markdown]
# # 2 · ReLU: a switch for every number
#
# Two linear layers in a row are no better than one: weighted sums of weighted sums are weighted sums. Something
# between them has to be no straight line, or all depth is in vain. The plainest such thing is the *rectified linear
# unit*, which lets positive numbers pass and replaces all others by 0:
#
# $$y = \max(x, 0)$$
#
# Its backward pass is a single line. This lesson is about that line, about the one point where it has no right
# answer, and about the way in which it can stop a network from learning.

# %%
import numpy as np
from matplotlib.figure import Figure

import minicnn
from minicnn.backends.reference import activation as operations
from minicnn.learn.exercises.source import solution
from minicnn.learn.lessons.figures import COLOURS, show, tables

rng = np.random.default_rng(0)
x = rng.standard_normal((5, 4))
W1, W2 = rng.standard_normal((3, 4)), rng.standard_normal((2, 3))

assert np.allclose(
    x @ W1.T @ W2.T, x @ (W2 @ W1).T
)  # two linear layers, and the one that does the same

# With ReLU in between no linear layer can: for that, y(x) + y(-x) would have to be 0.
halfway = np.maximum(x @ W1.T, 0) @ W2.T + np.maximum(-x @ W1.T, 0) @ W2.T
assert np.abs(halfway).max() > 0.1

# %% [markdown]
# ## Forward and backward, in small integers
#
# > **Question.** Below are an `x` and the prices `dy` of the outputs. Which cells of `dx` are not zero, and what is
# > in them?

# %%
relu = minicnn.ReLU().to("reference")
x = np.array([[-2.0, 3.0, -1.0], [4.0, -5.0, 1.0]])
dy = np.array([[7.0, 8.0, -9.0], [-6.0, 5.0, 0.0]])

y = relu.forward(x)
print("x =", x.tolist())
print("y =", y.tolist())
print("dy =", dy.tolist())

# %% [markdown] tags=["answer"]
# Where $x$ is positive, $y = x$: one unit more in $x$ is one unit more in $y$, and costs the same. Where $x$ is
# negative, a small change of $x$ changes nothing, and costs nothing. So `dy` is let through exactly where $x$ was let
# through.

# %% tags=["answer"]
dx = relu.backward(dy)
print("dx =", dx.tolist())
assert dx.tolist() == [[0, 8, 0], [-6, 0, 0]]

# %% tags=["answer", "picture"]
positive = np.argwhere(x > 0)
figure = tables(
    [(x, "x", "value", positive), (y, "y", "value", positive)],
    [(dx, "dx", "gradient", positive), (dy, "dy", "gradient", positive)],
)
show(
    figure,
    "The framed cells are those where x is positive: "
    "numbers pass there in both directions, elsewhere in none.",
)

# %% [markdown]
# In symbols: let $a$ and $b$ count the cells. The chain rule adds over all outputs that an input can reach, but here
# each input reaches only the output in its own place, so that one term is left of the sum:
#
# $$\mathrm{dx}_a = \sum_b \mathrm{dy}_b \, \frac{\partial y_b}{\partial x_a}
#   = \mathrm{dy}_a \, \frac{\partial y_a}{\partial x_a}
#   \qquad
#   \frac{\partial y_a}{\partial x_a} = \begin{cases} 1 & x_a > 0 \\ 0 & x_a < 0 \end{cases}$$
#
# Note the signs. ReLU looks at the sign of $x$, never at that of $\mathrm{dy}$: a negative price passes like any
# other. In the example the $-6$ does, and the $7$ does not.
#
# To know whether $x$ was positive, backward may ask $y$ instead, since $y > 0$ exactly where $x > 0$. The framework
# keeps $y$ and forgets $x$: the next layer keeps that same array anyway, so the switch needs no memory of its own.

# %%
relu.forward(x)
print(
    "kept for backward:",
    [name for name in vars(relu.memory) if not name.startswith("y_")],
)
assert relu.memory.y is not None
assert not hasattr(relu.memory, "x")

# %% [markdown]
# ## The kink
#
# What about $x = 0$? Coming from the left the slope is 0, coming from the right it is 1, and at the point itself
# there is no derivative: the graph has a *kink*. One has to choose, and PyTorch and this framework choose 0.
#
# > **Question.** What does the numeric check of lesson 1, $(L(x + h) - L(x - h)) / 2h$, find at $x = 0$?

# %% [markdown] tags=["answer"]
# One half: upwards the output moves by $h$, downwards by nothing, and $h / 2h = \tfrac12$. That is neither slope. And
# it is not only the point itself: for every $x$ between $-h$ and $h$ the two ends of the measurement lie on different
# sides of the kink, and what is measured is some number between 0 and 1.

# %%
h = 0.1
places = np.linspace(-0.3, 0.3, 121)
measured = (np.maximum(places + h, 0) - np.maximum(places - h, 0)) / (2 * h)
relu.forward(places)
computed = relu.backward(np.ones_like(places))

assert measured[60] == 0.5
assert computed[60] == 0  # places[60] is 0
near = np.abs(places) < h - 1e-9
assert np.allclose(measured[~near], computed[~near])
assert (np.abs(measured - computed)[near & (places != 0)] > 0.01).all()

# %% tags=["picture"]
figure = Figure(figsize=(6.5, 3.2), layout="constrained")
axes = figure.subplots()
axes.plot(places, computed, color=COLOURS["gradient"], linewidth=2.5, label="backward")
axes.plot(
    places,
    measured,
    "--",
    color=COLOURS["weight"],
    linewidth=2.5,
    label="measured with h = 0.1",
)
axes.set(xlabel="x", ylabel="slope of max(x, 0)")
axes.legend(frameon=False)
show(
    figure,
    "Closer to the kink than h, a measurement says nothing about backward.",
)

# %% [markdown]
# So a check has to notice kinks and leave those cells out. It can: measure upwards alone and downwards alone. Where
# the function is smooth the two agree, but for something as small as $h$; over a kink they differ by the whole jump
# of the slope. A checker that instead widens its tolerance until the kinks pass will let real mistakes pass too.


# %%
def slopes(x, h=1e-5):
    """The slopes upwards and downwards."""
    return (np.maximum(x + h, 0) - np.maximum(x, 0)) / h, (
        np.maximum(x, 0) - np.maximum(x - h, 0)
    ) / h


for place in (-1.0, 0.0, 1.0):
    up, down = slopes(place)
    print(
        f"x = {place:4}: upwards {up:.3f}, downwards {down:.3f}",
        "  a kink" if abs(up - down) > 0.1 else "",
    )
    assert (abs(up - down) > 0.1) == (place == 0)

# %% [markdown]
# `minicnn.gradcheck(layer, x)` does this with four slopes instead of two, so that it does not take a curve for a
# kink. It checks every number that it can, and says how many kinks it left out:

# %%
report = minicnn.gradcheck(relu, np.array([[-2.0, 3.0, -1.0], [4.0, 0.0, 1.0]]))
print(report)
assert report

# %% [markdown]
# How much does the choice at 0 matter in training? Next to nothing: a sum of many random products is hardly ever
# exactly zero. But a network whose pictures have black borders, and whose biases begin at 0, has many exact zeros,
# and then all who compare their gradients with yours must have chosen alike.
#
# ## Units that never switch on again
#
# A unit whose switch is off for one image gets no gradient from that image. That is as it should be, and other images
# will teach it. But suppose it is off for *every* image. Then `dy` stops at the switch every time, the weights and
# the bias in front of it get gradients of exactly 0, they never change, and so the unit stays off for ever. It is
# called *dead*.

# %%
points = rng.uniform(-1, 1, (200, 2))  # to tell: does a point lie within a circle?
labels = (np.hypot(*points.T) > 0.7).astype(int)


def make(seed=0):
    """2 inputs, 32 units with a switch each, 2 classes."""
    return minicnn.Sequential(
        fc1=minicnn.Linear(2, 32, rng=seed),
        relu=minicnn.ReLU(),
        fc2=minicnn.Linear(32, 2, rng=seed + 1),
    ).to("reference", np.float64)


def train(network, lr, steps=100):
    """Gradient descent; returns how many units are dead after each step."""
    loss, optimizer, dead = (
        minicnn.CrossEntropyLoss().to("reference"),
        minicnn.SGD(network, lr=lr),
        [],
    )
    for _ in range(steps):
        loss.forward(network.forward(points), labels)
        network.backward(loss.backward())
        optimizer.step()
        dead.append(int((network["fc1"].predict(points) <= 0).all(axis=0).sum()))
    return dead


network = make()
# far below anything that the two inputs can add
network["fc1"].params["bias"][7] = -10
before = network["fc1"].params["weight"].copy()
train(network, lr=0.5)

moved = np.abs(network["fc1"].params["weight"] - before).max(axis=1)
print(f"unit 7 moved by {moved[7]}, the others by up to {moved.max():.2f}")
assert moved[7] == 0
assert network["fc1"].params["bias"][7] == -10
assert moved.max() > 0.1

# %% [markdown]
# Nobody sets a bias to $-10$. But one step that is too long does the same, and with a large learning rate many do at
# once:

# %%
rates = {0.3: "weight", 3: "value", 10: "gradient"}
dead = {lr: train(make(), lr) for lr in rates}

assert dead[0.3][-1] < dead[3][-1] < dead[10][-1] == 32

# %% tags=["picture"]
figure = Figure(figsize=(6.5, 3.2), layout="constrained")
axes = figure.subplots()
for lr, kind in rates.items():
    axes.plot(
        range(1, 101),
        dead[lr],
        color=COLOURS[kind],
        linewidth=2.5,
        label=f"learning rate {lr}",
    )
axes.set(xlabel="step", ylabel="dead units, of 32", ylim=(-1, 33))
axes.legend(frameon=False, loc=(0.66, 0.55))
show(
    figure,
    "The larger the steps, the more units end where no point reaches them. "
    "With all 32 dead, nothing is learnt.",
)

# %% [markdown]
# A network of dead units still answers: the last layer's bias is left, and says the same for every point. So a
# training run whose loss jumps once and then stands perfectly still is worth this look at the switches. What helps is
# a smaller learning rate, and batch normalisation in front of the switch (lesson 8): it shifts each channel so that
# about half of its values are positive, wherever the weights have wandered.
#
# ## Numbers that are none
#
# > **Question.** Write backward as one line of NumPy, given `dy` and `y`. The obvious `dy * (y > 0)` is right for all
# > ordinary numbers. What does it do where a price is infinite and the switch closed? And where $y$ is "not a number"
# > (NaN, what a computer gives for $0 / 0$)?

# %% [markdown] tags=["answer"]
# Infinity times 0 is NaN, so an infinite price would come through a closed switch. And NaN is not larger than 0, so
# the product would turn a broken number into an innocent 0, and hide that something broke. Better ask for what is
# *known not to be positive*, and choose instead of multiplying:

# %% tags=["answer"]
print("The answer, to be compared with yours:\n")
print(solution("minicnn.backends.reference.activation", "relu_backward"))

nan, inf = np.nan, np.inf
assert operations.relu_backward(np.array([inf]), np.array([0.0]))[0] == 0
with np.errstate(invalid="ignore"):
    assert np.isnan(np.array([inf]) * (np.array([0.0]) > 0))[0]

assert np.isnan(operations.relu_forward(np.array([nan])))[0]
assert operations.relu_backward(np.array([5.0]), np.array([nan]))[0] == 5

# %% [markdown]
# ## Now you
#
# Do the exercise `relu`:
#
#     minicnn learn check relu
#
# Then compare with the layer in `minicnn/layers/activation.py` and both directions in
# `minicnn/backends/reference/activation.py`.
