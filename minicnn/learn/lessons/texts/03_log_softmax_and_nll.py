# %% [markdown]
# # 3 · Log-softmax and NLL: from scores to a loss
#
# The last linear layer gives each class a *score*, any number at all. The loss wants a probability for each class.
# And backward needs a formula that does not break when a score is large. Two small layers do this together, and their
# joint gradient is the most pleasant one in the whole network.

# %%
import numpy as np
from matplotlib.figure import Figure

import minicnn
from minicnn.learn.exercises.source import solution
from minicnn.learn.lessons.figures import COLOURS, show, tables

# %% [markdown]
# ## Forward, with numbers to do by hand
#
# *Softmax* makes scores $x_k$ into probabilities: take $e$ to the power of each, which is positive, and divide by the
# sum, so that they add to 1. *Log-softmax* is the logarithm of that:
#
# $$p_k = \frac{e^{x_k}}{\sum_l e^{x_l}}
#   \qquad\qquad
#   y_k = \log p_k = x_k - \log \sum_l e^{x_l}$$
#
# Take three classes with the scores $\log\,1$, $\log\,2$ and $\log\,5$. Then the powers are 1, 2 and 5, and the
# probabilities are eighths. Let class 1 be the true one: the *target* is $t = 1$, counted from 0.

# %%
x = np.log([[1.0, 2.0, 5.0]])  # scores, shape (N, K) = (1, 3)
target = np.array([1])

log_softmax = minicnn.LogSoftmax().to("reference")
y = log_softmax.forward(x)
print("probabilities in eighths:", np.exp(y) * 8)
assert np.allclose(np.exp(y) * 8, [[1, 2, 5]])

# %% [markdown]
# The loss is the *negative log-likelihood*: minus the log-probability of the true class, averaged over the $N$
# images.
#
# $$L = -\frac{1}{N} \sum_n y_{n t_n}$$
#
# Why a logarithm? The probability that all $N$ answers are right together is a product, and the logarithm makes it a
# sum, one term for each image. And it is strict: a true class that was given the probability 1 costs 0, one that was
# given $\tfrac12$ costs $\log\,2 = 0.69$, and one that was thought impossible costs without bound.

# %%
nll = minicnn.NLLLoss().to("reference")
print(f"loss {nll.forward(y, target):.4f} = log 4 = {np.log(4):.4f}")
assert np.isclose(nll.forward(y, target), -np.log(2 / 8))

# A network of ten classes that knows nothing gives each the probability 1/10.
assert np.isclose(nll.forward(log_softmax.predict(np.zeros((1, 10))), [3]), np.log(10))
print(f"knowing nothing of ten classes costs {np.log(10):.4f}")

# %% [markdown]
# Remember that 2.3026. A network for ten classes whose first loss is far above it is not ignorant but sure of
# something wrong, and one whose loss stays there has learnt nothing.
#
# ## Large scores, and the shift that tames them
#
# Written down as it stands, the formula breaks on a computer. In double precision $e^{710}$ is already too large for
# a number, and in single precision $e^{89}$ is.

# %%
large = np.array([[1000.0, 1001.0]])
with np.errstate(over="ignore", invalid="ignore"):
    print("as it stands:", large - np.log(np.exp(large).sum()))
print("framework:   ", log_softmax.predict(large))

with np.errstate(over="ignore"):
    assert np.isinf(np.exp(710.0))
    assert np.isinf(np.exp(np.float32(89)))

# %% [markdown]
# The remedy is one line. Let $m$ be any number, take $e^m$ out of every term of the sum, and the logarithm turns the
# factor into a summand:
#
# $$\log \sum_l e^{x_l} = \log \left( e^m \sum_l e^{x_l - m} \right) = m + \log \sum_l e^{x_l - m}$$
#
# So $y_k = (x_k - m) - \log \sum_l e^{x_l - m}$ whatever $m$ is. Choose the largest score of the row: then every
# power is at most $e^0 = 1$, none overflows, and the sum is at least 1, whose logarithm is harmless. The same
# equation says something about softmax itself: *a constant added to all scores changes nothing*. Only differences
# count.

# %%
assert np.allclose(
    log_softmax.predict(large), log_softmax.predict(large - 1000), atol=1e-12
)

# %% [markdown]
# > **Question.** Write log-softmax with the shift for a batch of rows, in two lines of NumPy.

# %% tags=["answer"]
print("The answer, to be compared with yours:\n")
print(solution("minicnn.backends.reference.log_softmax", "log_softmax_forward"))

# %% [markdown]
# > **Question.** Softmax with the shift is safe. Could one compute that, and take its logarithm afterwards?

# %% [markdown] tags=["answer"]
# No. For the scores 0 and 1000 the first probability is $e^{-1000}$, which a computer rounds to 0, and $\log\,0$ is
# $-\infty$: the loss is infinite and its gradient useless, though the right answer is just $-1000$. Log-softmax never
# goes by way of the probability. That is why it is a layer of its own.

# %% tags=["answer"]
apart = np.array([[0.0, 1000.0]])
shifted = np.exp(apart - apart.max())
with np.errstate(divide="ignore"):
    assert np.log(shifted / shifted.sum())[0, 0] == -np.inf
assert log_softmax.predict(apart)[0, 0] == -1000

# %% [markdown]
# ## Backward: the loss
#
# > **Question.** How many cells of `dy`, the gradient of the loss by the log-probabilities, are not zero?

# %% [markdown] tags=["answer"]
# One for each image: the loss reads a single cell of each row, $y_{n t_n}$, with the factor $-1/N$.

# %% [markdown]
# $$\mathrm{dy}_{nk} = \frac{\partial L}{\partial y_{nk}}
#   = \begin{cases} -1/N & k = t_n \\ 0 & \text{else} \end{cases}$$

# %%
nll.forward(y, target)
dy = nll.backward()
print("dy =", dy)
assert dy.tolist() == [[0, -1, 0]]

# %% [markdown]
# ## Backward: log-softmax
#
# Now every input reaches every output, by way of the sum. How does $y_k$ change with $x_l$? The first part, $x_k$,
# contributes 1 if $l = k$ and 0 otherwise; write $\delta_{kl}$ for that. For the second part, differentiate the
# logarithm and then what is in it:
#
# $$\frac{\partial y_k}{\partial x_l}
#   = \delta_{kl} - \frac{1}{\sum_j e^{x_j}} \cdot e^{x_l}
#   = \delta_{kl} - p_l$$
#
# The chain rule multiplies by the price of each output and adds:
#
# $$\mathrm{dx}_l = \sum_k \mathrm{dy}_k \left( \delta_{kl} - p_l \right)
#   = \mathrm{dy}_l - p_l \sum_k \mathrm{dy}_k$$
#
# The $K \times K$ table of derivatives has been summed away: no matrix is ever built. And $p_l = e^{y_l}$, so
# backward needs $y$ alone.

# %%
dx = log_softmax.backward(dy)
table = np.eye(3) - np.exp(y)  # row k, column l: how y_k changes with x_l
assert np.allclose(dx, dy @ table)

# %% [markdown]
# > **Question.** Write that for a batch, in one line of NumPy with `dy` and `y`.

# %% tags=["answer"]
print("The answer, to be compared with yours:\n")
print(solution("minicnn.backends.reference.log_softmax", "log_softmax_backward"))

# %% [markdown]
# ## Both together
#
# Put the gradient of the loss into this: its sum over a row is $-1/N$, and its only cell lies at the target.
#
# $$\mathrm{dx}_{nl} = \frac{p_{nl} - \delta_{l t_n}}{N}$$
#
# Softmax minus one-hot, where the *one-hot* row has a 1 at the target and 0 elsewhere. Each wrong class is pressed
# down by the probability it was given, the true class is pulled up by what it lacks to 1.
#
# > **Question.** What is the sum of `dx` over a row, and why must it be so?

# %% [markdown] tags=["answer"]
# Zero: the $p_l$ add to 1, and 1 is taken off. It must be so, since adding the same number $a$ to all scores of a row
# changes no probability, hence not the loss; and that change costs $a$ times the sum of `dx`.

# %%
print("dx in eighths:", dx * 8)
assert np.allclose(dx * 8, [[1, 2 - 8, 5]])
assert np.isclose(dx.sum(), 0)

# %% tags=["picture"]
true = [(0, target[0])]
figure = tables(
    [
        (x, "scores x", "value", true),
        (y, "y = log p", "value", true),
        (np.exp(y), "p", "value", true),
    ],
    [(dx, "dx = p − onehot", "gradient", true), (dy, "dy", "gradient", true)],
)
show(
    figure,
    "The true class is framed. Its score is to rise and the others are to fall, "
    "the likeliest of them most.",
)

# %%
# Both together, against differences of the loss itself, on a larger batch.
rng = np.random.default_rng(0)
scores, targets = 3 * rng.standard_normal((4, 5)), rng.integers(0, 5, 4)
report = minicnn.gradcheck(log_softmax, scores, targets, loss=minicnn.NLLLoss())
print(report)
assert report

# %% [markdown]
# ## Log-softmax twice
#
# `CrossEntropyLoss` is log-softmax and NLL in one, to be put on top of scores. Yet the program with which SimpleNet
# was published ends in a log-softmax layer *and* uses `CrossEntropyLoss`, so that log-softmax is taken twice. It
# looks like a bug. Does it do harm?
#
# **Forward.** Let $y$ be the output of the first. Its powers are the probabilities, and these add to 1:
#
# $$y_k - \log \sum_l e^{y_l} = y_k - \log \sum_l p_l = y_k - \log\,1 = y_k$$
#
# The second log-softmax gives back what it was given.
#
# **Backward.** The second one hands down $\mathrm{dy} = (p - \text{onehot}) / N$, where $p$ is the softmax of $y$, so
# the same $p$ as before. Its sum over the row is 0, as answered above. The first one takes off $p_l$ times this sum:
#
# $$\mathrm{dx}_l = \mathrm{dy}_l - p_l \cdot 0 = \mathrm{dy}_l$$
#
# So the gradient passes through the first log-softmax unchanged, and it is the one that the scores would have got
# anyway. The loss is the same, the gradients are the same, and so is the training run. Here it is with the network
# itself:

# %%
network = minicnn.SimpleNet(rng=0).to("reference", np.float64)
images, labels = rng.standard_normal((4, 3, 8, 8)), np.array([0, 3, 7, 7])

losses, gradients = [], []
for loss in (
    minicnn.NLLLoss().to("reference"),
    minicnn.CrossEntropyLoss().to("reference"),
):
    losses.append(loss.forward(network.forward(images), labels))
    network.backward(loss.backward())
    gradients.append(network["conv1"].grads["weight"])

print(f"NLLLoss {losses[0]:.12f}, CrossEntropyLoss {losses[1]:.12f}")
largest = np.abs(gradients[0] - gradients[1]).max()
print(f"largest difference of conv1's weight gradient: {largest:.0e}")
assert np.isclose(*losses, rtol=1e-12)
assert np.allclose(*gradients, atol=1e-12)

# %% [markdown]
# What *does* do harm is its neighbour: `CrossEntropyLoss` on top of plain probabilities. They lie between 0 and 1, so
# as scores they hardly differ, and even a perfect answer is far from a loss of 0. With $K$ classes it costs at least
# $\log(e + K - 1) - 1$, and for ten classes that is 1.46. The picture shows two classes, the score of the true one
# rising.

# %%
cross_entropy = minicnn.CrossEntropyLoss().to("reference")
leads = np.linspace(-6, 6, 121)  # by how much the true class is ahead
rows = np.stack([leads, np.zeros_like(leads)], axis=1)
inputs = {
    "scores": rows,
    "log-softmax of them": log_softmax.predict(rows),
    "softmax of them (wrong)": np.exp(log_softmax.predict(rows)),
}
curves = {
    name: np.array([cross_entropy.forward(row[None], [0]) for row in arrays])
    for name, arrays in inputs.items()
}

assert np.allclose(curves["scores"], curves["log-softmax of them"])
assert np.isclose(cross_entropy.forward(np.eye(10)[:1], [0]), np.log(np.e + 9) - 1)
assert round(float(np.log(np.e + 9) - 1), 2) == 1.46
slope = np.gradient(curves["softmax of them (wrong)"], leads)
assert abs(slope[0]) < 0.01 < 0.9 < abs(np.gradient(curves["scores"], leads)[0])

# %% tags=["picture"]
figure = Figure(figsize=(6.5, 3.4), layout="constrained")
axes = figure.subplots()
styles = zip(
    curves.items(),
    ("value", "weight", "gradient"),
    ("-", "--", "-"),
    (5, 2, 2.5),
    strict=True,
)
for (name, curve), kind, line, width in styles:
    axes.plot(leads, curve, line, color=COLOURS[kind], linewidth=width, label=name)
axes.set(xlabel="score of the true class, above the other's", ylabel="CrossEntropyLoss")
axes.legend(title="given", frameon=False)
show(
    figure,
    "Given scores or log-probabilities the loss is the same curve; "
    "given probabilities it is flat at both ends.",
)

# %% [markdown]
# To the left, where the network is most wrong and should learn most, the wrong curve has almost no slope. The network
# learns, but slowly and never well, and nothing crashes.
#
# ## Now you
#
# Do the exercises `log_softmax` and `nll`:
#
#     minicnn learn check log_softmax
#     minicnn learn check nll
#
# Then compare with `minicnn/layers/log_softmax.py`, and with `minicnn/losses.py` for the two losses.
# `CrossEntropyLoss.backward` goes through both steps in turn instead of using the short formula; with class weights or
# label smoothing the short one would not be right.
