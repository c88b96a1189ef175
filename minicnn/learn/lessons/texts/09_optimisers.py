# %% [markdown]
# # 9 · Optimisers: from gradients to steps
#
# Backward tells, for every parameter, in which direction the loss rises and how steeply. It does not tell how far to
# go. A gradient is a statement about the place where you stand, and after one step you stand elsewhere. Optimisers are
# rules for what to do with it. All of minicnn's are a few lines long. This lesson derives what those lines do, and
# shows two bugs that no gradient check can find, because every gradient is right.

# %%
import numpy as np
from matplotlib.figure import Figure

import minicnn
from minicnn.learn.lessons.figures import COLOURS, GREY, MARK, show


def at(*numbers):
    """A network whose only parameter is a row of numbers, for an optimiser to move."""
    network = minicnn.Sequential(fc=minicnn.Linear(len(numbers), 1, bias=False))
    network.to("reference", np.float64)["fc"].params["weight"][:] = numbers
    return network


def moved(optimizer, gradient):
    """Make one step with this gradient; returns where the point now is."""
    layer = optimizer.network["fc"]
    layer.grads["weight"] = np.array([gradient], np.float64)
    optimizer.step()
    return layer.params["weight"][0].copy()


# %% [markdown]
# ## A small case first
#
# Call the parameters $\theta$, their gradient $g$ and the learning rate $\eta$. The plainest rule, stochastic gradient
# descent, is one step downhill: $\theta \leftarrow \theta - \eta\, g$. "Stochastic" says that $g$ comes from one batch
# and is therefore only an estimate.
#
# *Momentum* keeps a second number for each parameter, the velocity $v$, which begins at 0:
#
# $$ v \leftarrow \mu v + g \qquad\qquad \theta \leftarrow \theta - \eta\, v $$
#
# Take $\eta = 1$ and $\mu = \frac12$, start at $\theta = 0$, and let the gradient be 8 every time. The velocity is 8,
# then $4 + 8 = 12$, then $6 + 8 = 14$, so $\theta$ goes to $-8$, to $-20$, to $-34$.

# %%
optimizer = minicnn.SGD(at(0), lr=1, momentum=0.5)
places = [moved(optimizer, [8]).item() for _ in range(4)]
print(places)
assert places == [-8, -20, -34, -49]

# %% [markdown]
# > **Question.** Which number does the velocity approach if this goes on? And which, in size, if the gradient is
# > $8, -8, 8, -8, \ldots$ instead?

# %% tags=["answer"]
steady, zigzag = (
    minicnn.SGD(at(0), lr=1, momentum=0.5),
    minicnn.SGD(at(0), lr=1, momentum=0.5),
)
for step in range(40):
    moved(steady, [8])
    moved(zigzag, [8 * (-1) ** step])

velocities = [
    optimizer.state["velocity"]["fc.weight"].item() for optimizer in (steady, zigzag)
]
print(velocities)
assert np.allclose(np.abs(velocities), [8 / (1 - 0.5), 8 / (1 + 0.5)])

# %% [markdown] tags=["answer"]
# It approaches 16, and in the second case $5\frac13$. If $v$ no longer changes, $v = \mu v + g$, so
# $v = g / (1 - \mu)$. If it only changes sign each time, then $v = -\mu v + g$, so $v = g / (1 + \mu)$.

# %% [markdown]
# With the usual $\mu = 0.9$ these are $10 g$ and $0.53 g$. Where successive gradients agree momentum goes ten times as
# far, and where they contradict each other it goes half as far. To see why one would want that, look at a valley.
#
# ## A narrow valley
#
# $$ L(\theta) = \tfrac12 \, (\theta_0^2 + 100\, \theta_1^2) \qquad\qquad g = (\theta_0, \; 100\, \theta_1) $$
#
# It is a hundred times as steep across as along. One step of plain gradient descent multiplies each coordinate by a
# number of its own:
#
# $$ \theta_0 \leftarrow (1 - \eta)\, \theta_0 \qquad\qquad \theta_1 \leftarrow (1 - 100\, \eta)\, \theta_1 $$
#
# > **Question.** From which learning rate on does this not converge? How fast does $\theta_0$ shrink just below it?


# %% tags=["answer"]
def walk(optimizer, steps):
    """Follow the valley's gradient; returns all places, (steps + 1, 2)."""
    places = [optimizer.network["fc"].params["weight"][0].copy()]
    for _ in range(steps):
        u, v = places[-1]
        places.append(moved(optimizer, [u, 100 * v]))
    return np.array(places)


below = walk(minicnn.SGD(at(-10, 1), lr=0.0198), 200)
above = walk(minicnn.SGD(at(-10, 1), lr=0.0202), 200)
print("across the valley, after 200 steps:", below[-1, 1], above[-1, 1])
assert abs(below[-1, 1]) < 0.02
assert abs(above[-1, 1]) > 50
assert np.allclose(below[:, 0], -10 * (1 - 0.0198) ** np.arange(201))

# %% [markdown] tags=["answer"]
# From $\eta = 0.02$ on, where $1 - 100\,\eta = -1$. Below it $\theta_1$ jumps from one slope to the other and shrinks;
# above it each jump is larger than the one before. In general the learning rate has to stay below 2 divided by the
# largest curvature, and no layer knows that number. And with $\eta < 0.02$ the other coordinate shrinks by less than a
# fiftieth each step: the steep direction dictates the pace for the flat one.

# %% [markdown]
# Momentum is the remedy: across the valley successive gradients contradict each other, along it they agree.
#
# ## Nesterov: the gradient from where you will be
#
# If the velocity will carry us on by $-\eta\mu v$ anyway, the gradient had better be taken *there* and not here. This
# is Nesterov's method (in the form of Sutskever and others, 2013):
#
# $$ v \leftarrow \mu v + g(\theta - \eta \mu v) \qquad\qquad \theta \leftarrow \theta - \eta\, v $$
#
# In a network that is awkward: forward and backward run at the parameters that are stored, not at others. So store the
# place where the gradient is wanted, $\tilde\theta = \theta - \eta\mu v$. What is the rule for $\tilde\theta$? Write
# $v'$ and $\theta'$ for the values after the step; then
#
# $$ \tilde\theta' = \theta' - \eta\mu v' = \theta - \eta v' - \eta\mu v'
#    = \tilde\theta + \eta\mu v - \eta v' - \eta\mu v' = \tilde\theta - \eta\, (v' - \mu v) - \eta\mu v' , $$
#
# and $v' - \mu v$ is just the gradient $g$ that was taken at $\tilde\theta$. So
#
# $$ \tilde\theta' = \tilde\theta - \eta\, (g + \mu v') , $$
#
# which is the line in the framework. Check it: run the textbook's rule beside it and compare the places.

# %%
lr, momentum = 0.01, 0.9
framework = walk(minicnn.SGD(at(-10, 1), lr, momentum=momentum, nesterov=True), 50)

theta, velocity = np.array([-10.0, 1.0]), np.zeros(2)
looked_from = [theta]
for _ in range(50):
    ahead = theta - lr * momentum * velocity
    velocity = momentum * velocity + ahead * [1, 100]  # the gradient there
    theta = theta - lr * velocity
    looked_from.append(theta - lr * momentum * velocity)

np.testing.assert_allclose(framework, looked_from, atol=1e-12)

# %% [markdown]
# ## Adam: every parameter at its own scale
#
# The trouble in the valley was that one learning rate has to serve a steep and a flat direction. Adam (Kingma and Ba,
# 2015) measures for each parameter how large its gradients usually are, and divides by it. It keeps two running
# averages, of the gradient and of its square (everything elementwise, for each parameter by itself):
#
# $$ m \leftarrow \beta_1 m + (1 - \beta_1)\, g \qquad\qquad s \leftarrow \beta_2 s + (1 - \beta_2)\, g^2 $$
#
# (The papers and the code say $v$ for the second one; here $v$ is taken.) The step is, but for one correction,
# $\eta\, m / \sqrt{s}$.
#
# **Why a correction.** Both averages begin at 0, which nobody measured. Unroll the first one over $t$ steps: the
# gradient of step $k$ has been multiplied by $\beta_1$ another $t - k$ times since. So
#
# $$ m_t = (1 - \beta_1) \sum_{k=1}^{t} \beta_1^{\,t-k} g_k . $$
#
# Suppose all gradients are the same $g$. The powers sum to $(1 - \beta_1^t) / (1 - \beta_1)$, so
# $m_t = (1 - \beta_1^t)\, g$: too small by exactly the factor $1 - \beta_1^t$, and likewise
# $s_t = (1 - \beta_2^t)\, g^2$. Dividing by these factors makes both right,
#
# $$ \hat m = \frac{m_t}{1 - \beta_1^t} \qquad \hat s = \frac{s_t}{1 - \beta_2^t} \qquad
#    \theta \leftarrow \theta - \eta\, \frac{\hat m}{\sqrt{\hat s} + \varepsilon} , $$
#
# and then the step is $\eta\, g / |g|$: its length is $\eta$, whatever the size of the gradient.
# ($\varepsilon = 10^{-8}$ only prevents a division by zero.)
#
# > **Question.** Without the correction, would the first step be too small or too large? By how much, with the usual
# > $\beta_1 = 0.9$ and $\beta_2 = 0.999$?

# %% tags=["answer"]
gradients = (0.001, 1.0, 1000.0)
first_steps = [-moved(minicnn.Adam(at(0), lr=1), [g]).item() for g in gradients]
print("first steps:", np.round(first_steps, 4))
assert np.allclose(first_steps, 1, atol=1e-4)  # whatever the gradient's size

steps = np.arange(1, 301)
# The length of the step without the correction, in units of lr.
uncorrected = (1 - 0.9**steps) / np.sqrt(1 - 0.999**steps)
print(f"uncorrected: first {uncorrected[0]:.2f}, largest {uncorrected.max():.2f}")
assert 3.1 < uncorrected[0] < 3.2
assert 6 < uncorrected.max() < 7

# %% [markdown] tags=["answer"]
# Too large: $m$ is 0.1 of what it should be, but $\sqrt s$ is only $\sqrt{0.001} = 0.03$ of what *it* should be, and
# the second is divided by. The first step would be 3.2 times too long, and it gets worse before it gets better.

# %% [markdown]
# ## The step counter counts the whole run
#
# In the correction stands $t$, the number of steps since $m$ and $s$ were 0. A program with a loop over epochs and a
# loop over batches inside it invites the mistake of counting $t$ from 1 in every epoch, while $m$ and $s$ go on. Then
# they are divided by factors they no longer need. Let us do it, with a constant gradient, for which every step should
# have the length $\eta$.

# %%
EPOCH = 100
right, restarted = minicnn.Adam(at(0), lr=1), minicnn.Adam(at(0), lr=1)
places = {"right": [0.0], "restarted": [0.0]}
for step in range(3 * EPOCH):
    if step % EPOCH == 0:
        restarted.steps = 0  # the mistake
    places["right"].append(moved(right, [1]).item())
    places["restarted"].append(moved(restarted, [1]).item())
lengths = {name: -np.diff(places_) for name, places_ in places.items()}

assert np.allclose(lengths["right"], 1, atol=1e-6)
first, third = lengths["restarted"][:EPOCH], lengths["restarted"][2 * EPOCH :]
assert np.allclose(first, 1, atol=1e-6)  # the first epoch shows nothing
print(f"third epoch: shortest step {third.min():.2f}, on average {third.mean():.2f}")
assert third.min() < 0.4
assert third.mean() < 0.7

# %% tags=["picture"]
figure = Figure(figsize=(8, 3.6), layout="constrained")
axes = figure.subplots()
axes.plot(
    steps,
    lengths["right"],
    label="counted over the whole run",
    color=COLOURS["weight"],
    linewidth=2,
)
axes.plot(
    steps,
    lengths["restarted"],
    label="t restarted every 100 steps",
    color=COLOURS["gradient"],
)
axes.plot(
    steps,
    uncorrected,
    label="no correction at all",
    color=COLOURS["value"],
    linestyle="--",
)
axes.set(
    xlabel="step",
    ylabel="length of the step / lr",
    yscale="log",
    yticks=[0.3, 0.5, 1, 2, 3, 5],
)
axes.set_yticklabels(["0.3", "0.5", "1", "2", "3", "5"])
axes.minorticks_off()
axes.legend(frameon=False)
show(
    figure,
    "Adam's step under a constant gradient; "
    "done right, its length is the learning rate every time.",
)

# %% [markdown]
# The first epoch is perfect, so that a test over a few steps finds nothing. From then on a restart makes most steps too
# short: $m$ is right at once, within ten steps or so, but the factor for $s$ is wrong for hundreds. The network learns,
# only more slowly than it should, with a small hiccup at the start of each epoch. Nothing crashes and every gradient is
# right. It is found by comparing the *parameters* after a few hundred steps with those of another program.
#
# ## The paths side by side

# %%
STEPS = 60
runs = {
    "SGD, lr 0.018": minicnn.SGD(at(-10, 1), lr=0.018),
    "momentum 0.9, lr 0.01": minicnn.SGD(at(-10, 1), lr=0.01, momentum=0.9),
    "Nesterov 0.9, lr 0.01": minicnn.SGD(
        at(-10, 1), lr=0.01, momentum=0.9, nesterov=True
    ),
    "Adam, lr 0.5": minicnn.Adam(at(-10, 1), lr=0.5),
}
paths = {name: walk(optimizer, STEPS) for name, optimizer in runs.items()}
losses = {
    name: (path[-1] ** 2 * [1, 100]).sum().item() / 2 for name, path in paths.items()
}
for name, loss in losses.items():
    print(f"{name:22} loss {loss:.2g}")

plain, with_momentum, nesterov, adam = losses.values()
assert nesterov < with_momentum < plain

# %% tags=["picture"]
u, v = np.meshgrid(np.linspace(-11, 6, 200), np.linspace(-1.6, 1.6, 200))
valley = (u**2 + 100 * v**2) / 2
colours = (COLOURS["value"], COLOURS["gradient"], MARK, COLOURS["weight"])
figure = Figure(figsize=(9, 6), layout="constrained")
for axes, (name, path), colour in zip(
    figure.subplots(2, 2).flat, paths.items(), colours, strict=True
):
    axes.contour(
        u, v, valley, levels=[1, 5, 15, 30, 50, 80], colors=GREY, linewidths=0.7
    )
    axes.plot(path[:, 0], path[:, 1], ".-", color=colour)
    axes.plot(0, 0, "+", color=GREY, markersize=12)
    axes.set(title=name, xlim=(-11, 6), ylim=(-1.6, 1.6))
show(
    figure,
    f"{STEPS} steps in the valley from the same start, (-10, 1). The lines are heights.",
)

# %% [markdown]
# Plain descent jumps across and creeps along. Momentum swings, overshoots the middle and comes back; Nesterov, which
# looks ahead, damps the swinging. Adam does not see that the valley is narrow: its first step has the same length in
# both coordinates, although one gradient is ten times the other.
#
# Do not read a ranking out of sixty steps in a bowl of two parameters: each learning rate was chosen by hand, and
# another choice changes the order. What the picture shows is *how* each one moves.
#
# ## Weight decay: through the gradient or past it
#
# Large weights often mean that a network has learned its pictures by heart. So one lets them shrink a little at each
# step. There are two ways to write it, with a decay $\lambda$:
#
# - **L2**: add $\frac\lambda2 \theta^2$ to the loss. Its derivative adds to the gradient:
#   $g \leftarrow g + \lambda\theta$.
# - **decoupled**: leave the gradient alone and multiply: $\theta \leftarrow (1 - \eta\lambda)\,\theta$, then the step.
#
# For plain gradient descent they are the same, since
# $\theta - \eta\,(g + \lambda\theta) = (1 - \eta\lambda)\,\theta - \eta g$.
#
# > **Question.** Are they the same for Adam? Think of a parameter whose gradients are large.
#
# To find out, give Adam gradients that say nothing, $G, -G, G, -G, \ldots$, so that the decay alone decides where
# $\theta$ goes. It starts at 1. With $\eta = 0.01$ and $\lambda = 0.1$, a thousand steps of decoupled decay make it
# $0.999^{1000} = 0.37$.

# %% tags=["answer"]
after = {}
for kind in (minicnn.Adam, minicnn.AdamW):
    for size in (0.1, 1.0, 10.0):
        optimizer = kind(at(1), lr=0.01, weight_decay=0.1)
        for step in range(1000):
            place = moved(optimizer, [size * (-1) ** step]).item()
        after[kind.__name__, size] = place
        print(f"{kind.__name__:6} gradients of size {size:4}: from 1 to {place:.2f}")

assert all(abs(after["AdamW", size] - 0.999**1000) < 0.02 for size in (0.1, 1.0, 10.0))
assert after["Adam", 0.1] < 0.05
assert after["Adam", 10.0] > 0.85

# %% [markdown] tags=["answer"]
# No. In Adam, L2's share $\lambda\theta$ goes through the division by $\sqrt{\hat s}$ like everything else in $g$. A
# parameter with gradients around 10 decays a tenth as fast as it should, and one with gradients around 0.1 is gone
# altogether. AdamW (Loshchilov and Hutter, 2019) decouples the two, and all decay alike. That is all the W stands for.

# %% [markdown]
# ## Now you
#
# Do the exercise `optimisers`:
#
#     minicnn learn check optimisers
#
# Then compare with the framework:
#
# - `minicnn/backends/reference/optim.py`: both steps, fifteen lines.
# - `minicnn/optim/`: what is kept for each parameter, where `steps` is counted, and why a run that is saved and
#   resumed must save them.
# - `minicnn/backends/cpu/optim.py`: the same in one loop for each parameter. Each number is read and written once.
