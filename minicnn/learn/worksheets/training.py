"""Worksheets about training: two steps of SGD and of Adam, and a whole network from pixels to a step."""

from typing import Any

import numpy as np

import minicnn
from minicnn.learn.worksheets.sheet import (
    MINUS,
    Grid,
    Number,
    Problem,
    Question,
    Worksheet,
    decimal,
    equation,
    factor,
    grid,
    logarithm,
    minus,
    nonzero,
    plus,
    products,
    text,
    worked,
)
from minicnn.optim.optimizer import Optimizer
from minicnn.plain import Array

STEPS = ("step 1", "step 2")
# The gradients of two steps for which v_hat is a square number in both: then Adam needs no calculator.
PAIRS = ((1, 1), (1, -1), (2, 2), (2, -2), (3, 3), (3, -3), (5, 1), (5, -1), (10, 2), (10, -2))


def optimisers(rng: np.random.Generator) -> Worksheet:
    """A parameter of two numbers, two gradients."""
    start = rng.integers(-4, 6, 2).astype(np.float64)
    pairs = np.array([PAIRS[k] for k in rng.choice(len(PAIRS), 2, replace=False)], dtype=np.float64)
    gradients = (pairs * rng.choice([-1, 1], (2, 1))).T.copy()
    sgd = _steps(start, gradients, minicnn.SGD, lr=0.1, momentum=0.5)
    adam = _steps(start, gradients, minicnn.Adam, lr=1.0, betas=(0.5, 0.5), eps=0.0)

    def before(steps: dict[str, Array], name: str, t: int, k: int, first: Array) -> float:
        return steps[name][t - 1, k] if t else first[k]

    nothing = np.zeros(2)
    shrunk = np.array([[1 / 2], [3 / 4]])  # 1 − beta ** step
    m_hat, v_hat = adam["m"] / shrunk, adam["v"] / shrunk

    def velocity(t: int, k: int) -> str:
        return f"0.5·{factor(before(sgd, 'velocity', t, k, nothing), decimal)}{plus(gradients[t, k], decimal)}"

    def by_sgd(t: int, k: int) -> str:
        return f"{decimal(before(sgd, 'param', t, k, start))} {MINUS} 0.1·{factor(sgd['velocity'][t, k], decimal)}"

    def of_m(t: int, k: int) -> str:
        return f"1/2·{factor(before(adam, 'm', t, k, nothing))} + 1/2·{factor(gradients[t, k])}"

    def of_v(t: int, k: int) -> str:
        return f"1/2·{factor(before(adam, 'v', t, k, nothing))} + 1/2·{factor(gradients[t, k])}²"

    def by_adam(t: int, k: int) -> str:
        param = before(adam, "param", t, k, start)
        return f"{text(param)} {MINUS} {factor(m_hat[t, k])}/sqrt({text(v_hat[t, k])})"

    return Worksheet(
        "Two steps of SGD, two steps of Adam",
        ("optimisers",),
        "A parameter of two numbers, and its gradient in two steps. Both optimisers begin at the same numbers; "
        "velocity, m and v begin at 0.",
        (grid("param", start), grid("grad", gradients, (), STEPS)),
        (
            Problem(
                "SGD with lr = 0.1 and momentum = 0.5. Write decimals.",
                (
                    "velocity = 0.5 · velocity + grad",
                    "param = param − 0.1 · velocity",
                ),
                (
                    worked("velocity", sgd["velocity"], velocity, (), STEPS, decimal),
                    worked("param", sgd["param"], by_sgd, (), STEPS, decimal),
                ),
            ),
            Problem(
                "Adam with lr = 1, beta1 = beta2 = 1/2, eps = 0, beginning again at the given param. Write fractions.",
                (
                    "m = 1/2 · m + 1/2 · grad",
                    "v = 1/2 · v + 1/2 · grad²",
                    "m_hat = m / (1 − (1/2)^step)",
                    "v_hat = v / (1 − (1/2)^step)",
                    "param = param − m_hat / sqrt(v_hat)",
                ),
                (
                    worked("m", adam["m"], of_m, (), STEPS),
                    worked("v", adam["v"], of_v, (), STEPS),
                    worked("m_hat", m_hat, lambda t, k: _over(adam["m"][t, k], shrunk[t, 0]), (), STEPS),
                    worked("v_hat", v_hat, lambda t, k: _over(adam["v"][t, k], shrunk[t, 0]), (), STEPS),
                    worked("param", adam["param"], by_adam, (), STEPS),
                ),
            ),
        ),
        (
            Question(
                "In Adam's first step both numbers move by 1. Would they with gradients a hundred times as large?",
                "Yes. At step 1 m_hat = grad and v_hat = grad², so the step is lr · grad / |grad|: the sign alone.",
            ),
            Question(
                "A program counts steps from 1 again in each epoch. What goes wrong when the second begins?",
                "m and v are no longer near 0 there, but are enlarged as if they were, so that the steps are of the "
                "wrong size.",
            ),
        ),
    )


def _over(value: Number, divisor: Number) -> str:
    return f"{factor(value)}/{factor(divisor)}"


def _steps(start: Array, gradients: Array, kind: type[Optimizer], **settings: Any) -> dict[str, Array]:
    """The parameter and its slots after each step of an optimiser: {name: array of a row for each step}."""
    network = minicnn.Sequential(fc=minicnn.Linear(2, 1, bias=False, rng=0)).to("reference", np.float64)
    fc = network["fc"]
    fc.params["weight"][0] = start
    optimiser = kind(network, **settings)
    rows: dict[str, list[Array]] = {name: [] for name in (*optimiser.slots, "param")}
    for gradient in gradients:
        fc.grads["weight"] = gradient[None].copy()
        optimiser.step()
        for slot in optimiser.slots:
            rows[slot].append(optimiser.state[slot]["fc.weight"][0].copy())
        rows["param"].append(fc.params["weight"][0].copy())
    return {name: np.array(arrays) for name, arrays in rows.items()}


def simplenet(rng: np.random.Generator) -> Worksheet:
    """Nine pixels, one filter, two classes: convolution, ReLU, global maximum, linear, log-softmax, loss, one step."""
    network, x, odds, shift = _tiny_network(rng)
    target = int(rng.integers(2))
    kernel = network["conv"].params["weight"][0, 0].copy()
    weight = network["fc"].params["weight"][:, 0].copy()
    values, gradients, loss = _passes(network, x, target)
    z, feature = values["conv"][0, 0], values["flatten"][0, 0]
    p, d_score, dz = np.exp(values["log_softmax"][0]), gradients["fc"][0], gradients["conv"][0, 0]
    d_feature, winner = gradients["flatten"][0, 0], divmod(int(np.argmax(z)), 2)
    dweight, dkernel = network["fc"].grads["weight"][:, 0], network["conv"].grads["weight"][0, 0]
    minicnn.SGD(network, lr=1.0).step()
    after = network["conv"].params["weight"][0, 0]

    odds_of = dict(enumerate(odds))
    bias = [_with_logarithm(whole, count) for whole, count in zip((0, shift), odds, strict=True)]
    scores = [_with_logarithm(weight[0] * feature, count) for count in odds]
    added_to = [(plus(shift) if k and shift else "") + (f" + ln {odds[k]}" if odds[k] > 1 else "") for k in range(2)]
    of_scores = [equation("score", (k,), products((weight[k], feature)) + added_to[k], scores[k]) for k in range(2)]
    return Worksheet(
        "A whole network, there and back",
        ("simplenet",),
        "Convolution, ReLU, the maximum of what is left, a fully connected layer with two outputs, log-softmax, "
        "negative log-likelihood. One image. Leave ln 3 as it is: exp(2 + ln 3) = exp(2) · 3.",
        (
            grid("x", x),
            grid("kernel", kernel),
            grid("weight", weight),
            Grid("bias", (tuple(bias),)),
            Grid("target", ((str(target),),)),
        ),
        (
            Problem(
                "Forward, as far as one number.",
                (
                    "z[p, q] = sum over i, j of kernel[i, j] · x[p + i, q + j]",
                    "a = max(z, 0)",
                    "feature = max of a",
                ),
                (
                    worked("z", z, lambda p, q: _met(kernel, x[p : p + 2, q : q + 2])),
                    grid("a", values["relu"][0, 0]),
                    grid("feature", feature),
                ),
            ),
            Problem(
                "Forward to the loss.",
                (
                    "score[k] = weight[k] · feature + bias[k]",
                    "p[k] = exp(score[k]) / sum of both",
                    "loss = −ln p[target]",
                ),
                (
                    Grid("score", (tuple(scores),), tuple(of_scores)),
                    worked("p", p, lambda k: f"{odds_of[k]}/({odds[0]} + {odds[1]})"),
                    Grid("loss", ((logarithm(1 / p[target]),),), (_of_loss(loss, p[target]),)),
                ),
            ),
            Problem(
                "Backward through loss and log-softmax at once, to the one number.",
                (
                    "d_score[k] = p[k] − (1 where k = target)",
                    "dweight[k] = d_score[k] · feature",
                    "d_feature = sum over k of d_score[k] · weight[k]",
                ),
                (
                    worked("d_score", d_score, lambda k: text(p[k]) + minus(int(k == target))),
                    worked("dweight", dweight, lambda k: products((d_score[k], feature))),
                    worked("d_feature", d_feature, lambda: products(*zip(d_score, weight, strict=True))),
                ),
            ),
            Problem(
                "Backward to the kernel, and one step with lr = 1.",
                (
                    "dz = d_feature where a won and z > 0, else 0",
                    "dkernel[i, j] = sum over p, q of dz[p, q] · x[p + i, q + j]",
                    "kernel = kernel − 1 · dkernel",
                ),
                (
                    grid("dz", dz),
                    worked("dkernel", dkernel, lambda i, j: products((dz[winner], x[winner[0] + i, winner[1] + j]))),
                    worked("kernel", after, lambda i, j: text(kernel[i, j]) + minus(dkernel[i, j])),
                ),
            ),
        ),
        (
            Question(
                "If a pixel of x changes by very little, which of the nine can change the loss?",
                f"The four under the window that won, from row {winner[0]} and column {winner[1]} on. All others only "
                "have a part in numbers that lost.",
            ),
            Question(
                "If every z had been negative, what would have learned something in this step?",
                "The bias of the last layer alone. The feature would have been 0, so dweight = 0, and the ReLU would "
                "have been shut, so dkernel = 0.",
            ),
        ),
    )


def _tiny_network(rng: np.random.Generator) -> tuple[minicnn.Sequential, Array, tuple[int, int], float]:
    """(network, x, odds, shift) whose probabilities are fractions: biases are ln odds[0] and shift + ln odds[1]."""
    while True:
        x, kernel, weight = rng.integers(-2, 4, (3, 3)).astype(np.float64), nonzero(rng, 2, 2, most=2), nonzero(rng, 2)
        conv = minicnn.Conv2d(1, 1, 2, bias=False, rng=0).to("reference", np.float64)
        conv.params["weight"][0, 0] = kernel
        z = conv.predict(x[None, None]).ravel()
        one_wins = (z == z.max()).sum() == 1
        if one_wins and 1 <= z.max() <= 6 and z.min() < 0 and weight[0] != weight[1]:
            break
    fc = minicnn.Linear(1, 2, rng=0).to("reference", np.float64)
    odds = [(1, 3), (3, 1), (1, 1)][rng.integers(3)]
    shift = (weight[0] - weight[1]) * z.max()
    fc.params["weight"][:, 0], fc.params["bias"][:] = weight, np.log(odds) + np.array([0, shift])
    network = minicnn.Sequential(
        conv=conv,
        relu=minicnn.ReLU(),
        pool=minicnn.AdaptiveMaxPool2d(1),
        flatten=minicnn.Flatten(),
        fc=fc,
        log_softmax=minicnn.LogSoftmax(),
    )
    return network.to("reference"), x, odds, shift


def _passes(network: minicnn.Sequential, x: Array, target: int) -> tuple[dict[str, Array], dict[str, Array], float]:
    """(the output of each layer, the gradient with respect to each output, the loss), the first two by name."""
    values, gradients = {}, {}
    value = x[None, None]
    for name, layer in network.children.items():
        values[name] = value = layer.forward(value)
    criterion = minicnn.NLLLoss().to("reference")
    loss = criterion.forward(value, [target])
    gradient = criterion.backward()
    for name, layer in reversed(network.children.items()):
        gradients[name] = gradient
        gradient = layer.backward(gradient)
    return values, gradients, loss


def _with_logarithm(whole: float, count: int) -> str:
    """whole + ln count; ln 1 is 0 and left out."""
    if count == 1:
        return text(whole)
    return f"{text(whole)} + ln {count}" if whole else f"ln {count}"


def _of_loss(loss: float, p: float) -> str:
    return f"loss = {MINUS}{logarithm(p)} = {logarithm(1 / p)} ≈ {loss:.2f}"


def _met(kernel: Array, cells: Array) -> str:
    return products(*zip(kernel.ravel(), cells.ravel(), strict=True))
