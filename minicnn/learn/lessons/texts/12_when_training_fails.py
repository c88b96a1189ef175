# %% [markdown]
# # 12 · When training fails: how to find out what is wrong
#
# A program with a mistake usually crashes, or gives a wrong answer at once. A network with a mistake trains. It is a
# little worse, or a lot, and nothing says why. This lesson is a method: seven questions in an order in which each
# answer rules out as much as it can, each with a small experiment. After it you can read the curves of runs in which
# something is wrong, and there is a lab full of them.
#
# Two rules before all others. *Change one thing at a time*, or you will not know which of two changes it was. And *make
# the experiment small*: ten seconds on sixteen pictures tell you more than a night on all of them.

# %%
import textwrap

import numpy as np
from matplotlib.figure import Figure

import minicnn
from minicnn.data import Batches, load_digits
from minicnn.learn import symptoms
from minicnn.learn.lessons.figures import COLOURS, show

digits = load_digits()
train, validation = digits.train.split(144, rng=0)


def make_network(relu=minicnn.ReLU):
    """A small network for the digits; always the same first weights."""
    rng = np.random.default_rng(0)
    return minicnn.Sequential(
        conv1=minicnn.Conv2d(1, 8, 3, padding=1, rng=rng),
        bn1=minicnn.BatchNorm2d(8),
        relu1=relu(),
        conv2=minicnn.Conv2d(8, 16, 3, padding=1, rng=rng),
        bn2=minicnn.BatchNorm2d(16),
        relu2=relu(),
        pool=minicnn.AdaptiveMaxPool2d(2),
        flatten=minicnn.Flatten(),
        fc=minicnn.Linear(64, 10, rng=rng),
    )


LAYERS = ("conv1", "conv2", "fc")


def watched(network, images, labels, lr=0.02, epochs=6):
    """Train, and write down what every run should; returns a dict of lists."""
    loss, optimizer = minicnn.CrossEntropyLoss(), minicnn.SGD(network, lr, momentum=0.9)
    notes = {
        "loss": [],
        "val_loss": [],
        "val_accuracy": [],
        "gradient": [],
        "ratio": [],
    }
    for epoch in range(epochs):
        for x, y in Batches(images, labels, 32, shuffle=True, rng=epoch):
            notes["loss"].append(loss.forward(network.forward(x), y))
            network.backward(loss.backward())
            before = [network[name].params["weight"].copy() for name in LAYERS]
            optimizer.step()
            norms = [np.linalg.norm(network[name].grads["weight"]) for name in LAYERS]
            ratios = [
                np.linalg.norm(network[name].params["weight"] - old)
                / np.linalg.norm(old)
                for name, old in zip(LAYERS, before, strict=True)
            ]
            notes["gradient"].append(norms)
            notes["ratio"].append(ratios)
        output = network.predict(validation.images)
        notes["val_loss"].append(loss.forward(output, validation.labels))
        notes["val_accuracy"].append(minicnn.accuracy(output, validation.labels))
    return notes


# %% [markdown]
# ## Four runs
#
# Before the method, look at four runs of this network on the digits. One is healthy. In one the learning rate is ten
# thousand times too small. In one the network was given only forty pictures. And in one the backward pass of ReLU is
# wrong: somebody forgot the mask, so that the gradient goes through everywhere, where $x$ was negative too.


# %%
class UnmaskedReLU(minicnn.ReLU):
    """ReLU with a wrong backward pass: dx = dy everywhere."""

    def backward(self, dy, need_dx=True):
        dy, _ = self.recall(dy)
        return dy


# %% tags=["picture"]
runs = {
    "A": watched(make_network(UnmaskedReLU), train.images, train.labels),
    "B": watched(make_network(), train.images, train.labels, lr=0.02 / 10_000),
    "C": watched(make_network(), train.images, train.labels),
    "D": watched(make_network(), train.images[:40], train.labels[:40], epochs=60),
}

figure = Figure(figsize=(9, 5.4), layout="constrained")
for axes, (name, notes) in zip(figure.subplots(2, 2).flat, runs.items(), strict=True):
    steps, epochs = len(notes["loss"]), len(notes["val_loss"])
    ends = steps / epochs * np.arange(1, epochs + 1)
    axes.plot(notes["loss"], color=COLOURS["weight"], label="training, each batch")
    axes.plot(ends, notes["val_loss"], color=COLOURS["gradient"], label="validation")
    axes.set(title=name, yscale="log", ylim=(0.001, 6), xlabel="step", ylabel="loss")
axes.legend(frameon=False)
show(figure, "Four runs of one network on the digits.")

# %% [markdown]
# > **Question.** Which is which?

# %% [markdown] tags=["answer"]
# B hardly falls: the learning rate. D falls to nothing in training and stays high in validation: forty pictures learned
# by heart. And A and C look like each other. A is the one with the wrong gradient.

# %% tags=["answer"]
accuracies = {name: notes["val_accuracy"][-1] for name, notes in runs.items()}
print({name: round(accuracy, 3) for name, accuracy in accuracies.items()})
assert accuracies["A"] > 0.9
assert accuracies["C"] > 0.9
assert abs(accuracies["A"] - accuracies["C"]) < 0.06
assert accuracies["B"] < 0.3
assert accuracies["D"] < 0.9
assert np.mean(runs["D"]["loss"][-10:]) < 0.02

# %% [markdown]
# Keep that in mind. **A network that learns is no proof that its gradients are right.** A rough direction is often
# enough to go downhill. What a wrong gradient costs is speed, or the last few per cent, or the day when the network
# gets deeper. No curve will tell you that it is wrong, but one of the questions will.
#
# ## 1. Is the first loss what it should be?
#
# A network that finds all $K$ classes equally likely has the loss $\log\,K$ (lesson 10), here $\log\,10 = 2.303$. A new
# network is not always as undecided. So make it: set the weights and biases of the last layer to 0. All scores are then
# 0, and the loss must be $\log\,K$ to the last digits. Whatever it is instead points at the loss, at the labels, or at
# the number of outputs.

# %%
network, loss = make_network(), minicnn.CrossEntropyLoss()
x, y = train.images[:16], train.labels[:16]
untouched = loss.forward(network.forward(x), y)
for param in network["fc"].params.values():
    param[:] = 0
undecided = loss.forward(network.forward(x), y)
print(f"as drawn {untouched:.3f}, with the last layer 0 {undecided:.6f}")
assert abs(undecided - np.log(10)) < 1e-6

# %% [markdown]
# > **Question.** Somebody trains on ten classes, sets the last layer to 0, and the loss is 6.91. What happened?

# %% tags=["answer"]
print(np.exp(6.91))
assert 990 < np.exp(6.91) < 1010

# %% [markdown] tags=["answer"]
# $e^{6.91}$ is about 1000: the network has a thousand outputs. The last layer was taken over from another program. It
# would have trained, too.

# %% [markdown]
# ## 2. Can it learn one batch by heart?
#
# Take sixteen pictures and train on these alone. Any network of this kind can learn sixteen labels by heart within a
# hundred steps, *even if the labels are wrong*. So the test does not depend on the data, only on the code: forward,
# loss, backward, update.


# %%
def losses_by_heart(network, labels, steps=100):
    """The losses of training on one batch of sixteen pictures, x."""
    loss, optimizer = (
        minicnn.CrossEntropyLoss(),
        minicnn.SGD(network, lr=0.02, momentum=0.9),
    )
    losses = []
    for _ in range(steps):
        losses.append(loss.forward(network.forward(x), labels))
        network.backward(loss.backward())
        optimizer.step()
    return losses


any_labels = np.random.default_rng(0).integers(0, 10, 16)
for name, labels in (("right labels", y), ("any labels", any_labels)):
    losses = losses_by_heart(make_network(), labels)
    print(f"{name}, every 20 steps:", np.round(losses[::20], 3))
    assert losses[-1] < 0.01

# %% [markdown]
# Here is another wrong ReLU: it asks whether `dy` is positive, where it should ask whether `y` is. One letter.


# %%
class WrongLetterReLU(minicnn.ReLU):
    """ReLU with a wrong backward pass: the mask is taken from dy, not from y."""

    def backward(self, dy, need_dx=True):
        dy, _ = self.recall(dy)
        return np.where(dy > 0, dy, np.zeros_like(dy))


wrong_letter = losses_by_heart(make_network(WrongLetterReLU), y)
print("wrong letter, every 20 steps:", np.round(wrong_letter[::20], 3))
assert wrong_letter[-1] > 1

# %% [markdown]
# It does not learn them. This is a result of great value: you need not look at the data, nor at the amount of it, nor
# wait for a better night. Something in the sixteen-picture program is wrong.
#
# > **Question.** What would you measure next?

# %% [markdown] tags=["answer"]
# The gradients. The loss was right (question 1), so what remains is backward and the update, and backward has more
# lines.

# %% [markdown]
# ## 3. Are the gradients right?
#
# Measure them, as in lesson 1: a random `dy`, float64, move one number up and down. `minicnn.gradcheck` does it for a
# layer or a whole network, parameters included. It stays away from kinks, and refuses checks that cannot fail. Here it
# is, on a small batch of random numbers, for the network of run A, the one that trains so well.

# %%
some = np.random.default_rng(1).standard_normal((4, 1, 6, 5))
report = minicnn.gradcheck(make_network(UnmaskedReLU).to("reference"), some)
for array in report.arrays:
    print(f"{array.name:13} {array.verdict}")
assert not report

# %% [markdown]
# > **Question.** The last layers pass, and the first do not. Between which two does the mistake sit?

# %% tags=["answer"]
verdicts = {array.name: array.verdict for array in report.arrays}
assert verdicts["conv2.weight"] == "passed"
assert verdicts["bn1.weight"] == verdicts["conv1.weight"] == verdicts["x"] == "WRONG"

alone = minicnn.gradcheck(UnmaskedReLU().to("reference"), some)
print(alone)
assert not alone
assert not minicnn.gradcheck(WrongLetterReLU().to("reference"), some)
assert minicnn.gradcheck(minicnn.ReLU().to("reference"), some)
assert minicnn.gradcheck(make_network().to("reference"), some)

# %% [markdown] tags=["answer"]
# Between `conv2`, whose weights are the last with a right gradient on the way back, and `bn1`, the first with a wrong
# one. There stand the input gradient of `conv2`, `relu1`, and what `bn1` does with what it is given. Check these alone,
# and it is `relu1`. (`relu2` has the same mistake, and why does it not show? Because max pooling sends gradients to
# winners only, and a winner is hardly ever negative or 0.)

# %% [markdown]
# ## 4. Do the signals arrive?
#
# If the gradients are right and the loss still does not fall, see whether the numbers get through the network, forward
# and back. Three measurements for each layer:
#
# - the **spread** (standard deviation) of its output. If it shrinks or grows from layer to layer by a large factor, the
#   gradients on their way back mostly do, too.
# - the **norm of its gradient**, the root of the sum of squares. A layer whose norm is a thousand times smaller than
#   its neighbour's does not take part.
# - the share of **dead units** after a ReLU: channels that are 0 at every pixel of every picture. Lesson 2 tells why
#   they stay dead.


# %%
def signals(network, pictures):
    """For each layer the spread of its output, and the dead share of each ReLU."""
    spreads, dead = {}, {}
    a = pictures
    for name, layer in network.named_layers():
        a = layer.predict(a)
        spreads[name] = float(a.std())
        if isinstance(layer, minicnn.ReLU):
            dead[name] = float(np.mean((a <= 0).all(axis=(0, 2, 3))))
    return spreads, dead


trained = make_network()
watched(trained, train.images, train.labels, epochs=2)
spreads, dead = signals(trained, validation.images)
print("spread:", {name: round(spread, 2) for name, spread in spreads.items()})
print("dead:", dead)
assert all(0.05 < spread < 20 for spread in spreads.values())
assert all(share < 0.3 for share in dead.values())

# %% [markdown]
# ## 5. Are the steps of a sensible size?
#
# A gradient of norm 0.5 is neither large nor small. What counts is how far the step moves the weights, compared with
# the weights:
#
# $$ \text{ratio} = \frac{\lVert w_\text{after} - w_\text{before} \rVert}{\lVert w_\text{before} \rVert} $$
#
# In a run that learns well it is often around one in a thousand, give or take a factor of ten. At one in a million, a
# thousand steps change next to nothing; near one, each step forgets what the last ones found.
#
# > **Question.** Runs B and C differ only in their learning rate. Which of the two measurements tells them apart, the
# > norm of the gradient or the ratio?

# %% tags=["answer"]
middle = {
    what: {run: np.median(runs[run][what], axis=0) for run in ("B", "C")}
    for what in ("gradient", "ratio")
}
for what, of_runs in middle.items():
    for run, numbers in of_runs.items():
        print(what, run, [f"{number:.1e}" for number in numbers])

assert np.all(middle["ratio"]["C"] > 50 * middle["ratio"]["B"])
assert np.all(np.abs(np.log10(middle["ratio"]["C"]) + 2.5) < 1)  # 0.0003 to 0.03
assert np.all(middle["ratio"]["B"] < 1e-4)
assert np.all(middle["gradient"]["B"] > middle["gradient"]["C"])

# %% tags=["answer", "picture"]
figure = Figure(figsize=(9, 3.2), layout="constrained")
colours = COLOURS.values()
for axes, what in zip(figure.subplots(1, 2), ("gradient", "ratio"), strict=True):
    for layer, (name, colour) in enumerate(zip(LAYERS, colours, strict=True)):
        for run, style in (("C", "-"), ("B", "--")):
            numbers = np.array(runs[run][what])[:, layer]
            axes.plot(numbers, style, color=colour, label=f"{name}, {run}", linewidth=1)
    axes.set(yscale="log", xlabel="step")
    axes.set_title(
        {"gradient": "norm of the gradient", "ratio": "update / weights"}[what]
    )
figure.legend(
    *axes.get_legend_handles_labels(), loc="outside right center", frameon=False
)
show(
    figure,
    "Solid, the healthy run C; dashed, run B, "
    "whose learning rate is ten thousand times smaller.",
)

# %% [markdown] tags=["answer"]
# The ratio. The gradients of B are even larger than those of C, since it never gets to where they are small. Only the
# ratio says that nothing is done with them.

# %% [markdown]
# ## 6. Does evaluation measure the same network?
#
# Training and evaluation are two functions wherever there is batchnorm (lesson 8). Before you believe that a network
# generalises badly, compare the two modes *on the same pictures*. If they differ there, it is not a matter of unseen
# pictures.
#
# One difference is harmless and surprises everybody once. The running statistics start at mean 0 and variance 1, and
# each step moves them a tenth of the way.


# %%
def both_modes(network):
    """The loss of the same 64 pictures in training mode and in evaluation mode."""
    pictures, labels = train.images[:64], train.labels[:64]
    loss = minicnn.CrossEntropyLoss()
    kept = network.state_dict()
    in_training = loss.forward(network.forward(pictures), labels)
    network.load_state_dict(kept)  # the forward pass has moved the running statistics
    return in_training, loss.forward(network.predict(pictures), labels)


network = make_network()
differences = []
for images, epochs in ((512, 1), (768, 1)):  # 16 steps, then 24 more
    watched(network, train.images[:images], train.labels[:images], epochs=epochs)
    in_training, in_evaluation = both_modes(network)
    differences.append(in_evaluation - in_training)
    print(f"in training mode {in_training:.2f}, in evaluation mode {in_evaluation:.2f}")

assert differences[0] > 0.2
assert abs(differences[1]) < 0.2

# %% [markdown]
# > **Question.** After how many steps do the initial values weigh less than one in a hundred?

# %% tags=["answer"]
assert 0.9**44 < 0.01 < 0.9**43

# %% [markdown] tags=["answer"]
# After 44, since $0.9^{44} < 0.01$. Until then evaluation lags behind, and looks worse than the network is.

# %% [markdown]
# ## 7. Is the data what you think it is?
#
# Look at it *where the network gets it*: not the file, but the arrays that `forward` is called with, after all scaling
# and shuffling, with their labels beside them. Sixteen pictures are enough, and nothing replaces it. Print their mean
# and spread, too, and count the labels.

# %%
x, y = next(iter(Batches(train.images, train.labels, 32, shuffle=True, rng=0)))
print(f"{x.dtype} {x.shape}, values from {x.min():.2f} to {x.max():.2f}")
print(f"mean {x.mean():.2f}, spread {x.std():.2f}")
print("labels:", np.bincount(train.labels))
assert x.min() >= 0
assert x.max() <= 1
assert np.bincount(train.labels).min() > 100

# %% tags=["picture"]
figure = Figure(figsize=(9, 1.5), layout="constrained")
for axes, picture, label in zip(figure.subplots(1, 10), x[:, 0], y, strict=False):
    axes.imshow(picture, cmap="gray_r")
    axes.set(title=str(label), xticks=[], yticks=[])
show(figure, "Ten pictures of a batch as the network gets them, under their labels.")

# %% [markdown]
# ## From what you see to what you ask
#
# | you see | ask |
# |---|---|
# | the first loss is not $\log\,K$ with the last layer 0 | what the loss is given: scores, labels, number of classes |
# | the loss is not a number | at which step, and which layer's output was the first |
# | the training loss does not fall | 2, one batch by heart |
# | one batch cannot be learned | 3, gradients; then 4 and 5 |
# | one batch can be learned, all together cannot | 7, the data |
# | everything falls, but slowly | 5, the steps; then 3 |
# | training is good, validation is not | 6, both modes on the *training* pictures; then more data |
# | everything looks well | 3, all the same |
#
# For the second row there is help: `Trainer` stops at the first loss that is not finite, says at which step, and leaves
# the parameters as they were before it.

# %%
spoilt = train.images[:32].copy()
spoilt[5, 0, 3, 3] = np.nan
network = make_network()
trainer = minicnn.Trainer(
    network, minicnn.CrossEntropyLoss(), minicnn.SGD(network, 0.02)
)
before = network.state_dict()
try:
    trainer.step(spoilt, train.labels[:32])
except RuntimeError as error:
    message = str(error)
print(textwrap.fill(message, 80))
assert "step 1" in message
after = network.state_dict()
assert all(np.array_equal(before[name], after[name]) for name in before)

# %% [markdown]
# ## Now you
#
# The symptom lab has ten runs of another small network on the same digits, and in each of them one thing is wrong. You
# get their curves, beside those of a healthy run: losses, accuracies, norms, ratios, dead units, spreads, and some that
# this lesson did not measure. You say what is wrong, and the lab tells you whether the curves agree.
#
# Know the healthy run before you look at the others. Here are some of its numbers.

# %%
curves = symptoms.healthy().curves
ratio = np.median(curves["update_norm"] / curves["weight_norm"], axis=0)
print("validation loss, first and last:", curves["val_loss"][[0, -1]].round(3))
print("update / weights, layer by layer:", ratio.round(4))
print("dead units at the end:", curves["dead"][-1])

# %% [markdown]
# > **Question.** Which of the seven questions do these numbers answer, and how?

# %% [markdown] tags=["answer"]
# The first: the untrained network's loss is close to $\log\,10 = 2.303$. The fifth: each update is a few thousandths of
# the weights. A part of the fourth: no unit is dead. And the last loss says that it learns, which, as you know, is no
# proof of the third.

# %% tags=["answer"]
assert abs(curves["val_loss"][0] - np.log(10)) < 0.05
assert curves["val_loss"][-1] < 0.2
assert ratio.min() > 0.0005
assert ratio.max() < 0.02
assert not curves["dead"][-1].any()

# %% [markdown]
# Now the others. The list says what their owners complain of:
#
#     minicnn learn symptoms
