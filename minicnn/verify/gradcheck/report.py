"""What a gradient check has found: a row for each array, and a sentence that says what to look at first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from minicnn.io.html import preformatted

# What is said of an array. Of the last two, nothing is shown: neither that backward is right nor that it is wrong.
PASSED, WRONG, NEAR_ZERO, KINKS = "passed", "WRONG", "near zero", "too many kinks"

# Fewer elements than this in all show nothing: a flipped, transposed or averaged array of so few is often the same one.
FEWEST = 4

# What to do where a layer takes out again what an earlier one has learnt.
TAKEN_OUT = "as a second batchnorm does with what the first has learnt, check the earlier layer without the later one"


@dataclass(frozen=True)
class ArrayCheck:
    """What was found of the gradient of one array, the input "x" or a parameter such as "conv1.weight".

    verdict: "passed", "WRONG", "near zero" or "too many kinks"; of the last two nothing is shown.
    index: where backward is furthest off; of Images the first number is the image's. None where each element tried is
        right, but not the sum of all. Of an array near zero, the largest quotient; of too many kinks, the first.
    backward, quotient: the gradient there, by backward and by the difference quotient.
    error: their difference, relative to the largest quotient of the array; None where nothing is shown.
    tried, size: how many elements were tried, of how many.
    kinks: how many of those tried were left out, since the quotient means nothing there.
    all_at_once: whether all elements were moved together as well.
    factor: if backward is WRONG and is one multiple of the quotient at all elements, this multiple; else None.
    """

    name: str
    verdict: str
    index: tuple[int, ...] | None
    backward: float
    quotient: float
    error: float | None
    tried: int
    size: int
    kinks: int
    all_at_once: bool = False
    factor: float | None = None


@dataclass(frozen=True)
class GradientReport:
    """The outcome of `gradcheck`. It is true if every gradient is shown to be right; `print` shows a table.

    Attributes:
        subject: what was checked, and how.
        arrays: an `ArrayCheck` for the input and each parameter.
        layers: the names of a network's layers, in forward order; none of a single layer.
        breaches: sentences about what a layer must not do, whatever its numbers: write into x, dy or parameters, add to
            gradients, keep what belongs to an earlier pass.
        x_is_random: whether the numbers of x are of about 1 and no two alike, so that another x is no remedy.
    """

    subject: str
    arrays: tuple[ArrayCheck, ...]
    layers: tuple[str, ...] = ()
    breaches: tuple[str, ...] = ()
    x_is_random: bool = False

    @property
    def verdict(self) -> str:
        """ "passed", "WRONG", or "refused" where too little is shown."""
        if self._all(WRONG) or self.breaches:
            return WRONG
        return "refused" if self._refusal() else PASSED

    def __bool__(self) -> bool:
        return self.verdict == PASSED

    def require(self) -> GradientReport:
        """Raise AssertionError with the table unless all passed. Returns the report."""
        if not self:
            raise AssertionError(str(self))
        return self

    def __repr__(self) -> str:
        return f"GradientReport({self.verdict}: {self.subject})"

    def __str__(self) -> str:
        return "\n".join([f"gradcheck of {self.subject}", "", *_table(self.arrays), "", self.sentence])

    def _repr_html_(self) -> str:
        return preformatted(str(self))

    @property
    def sentence(self) -> str:
        """The verdict, and what to look at first where it is not "passed"."""
        if self.breaches:
            also = " Numbers are WRONG as well, maybe by that: mend it first." if self._all(WRONG) else ""
            return f"WRONG: {self.breaches[0]}.{also}"
        if self._all(WRONG):
            return f"WRONG: {self._where_to_look()}"
        if self._refusal():
            return f"Refused: {self._refusal()}"
        near_zero = [row.name for row in self._all(NEAR_ZERO)]
        but = f". Nothing is shown of {_listed(near_zero)}: the gradient is near zero" if near_zero else ""
        return f"Passed: backward is the derivative of forward{but}."

    def _all(self, verdict: str) -> list[ArrayCheck]:
        return [row for row in self.arrays if row.verdict == verdict]

    def _refusal(self) -> str | None:
        """Why what was found shows too little, or None. Supposes that nothing is wrong."""
        x, *params = self.arrays
        shown = {_layer_of(row.name) for row in self._all(PASSED)} if self.layers else set()
        empty = [row.name for row in params if row.verdict == NEAR_ZERO and _layer_of(row.name) not in shown]
        if x.verdict == NEAR_ZERO:
            return (
                "the gradient of x is near zero, where a backward that is wrong may well give 0 too. Look for what "
                "keeps x from the output, such as a ReLU without a positive input; or for a loss that weighs all "
                f"outputs alike, which batchnorm does not pass on. {self._remedy()}"
            )
        if self._all(KINKS):
            row = self._all(KINKS)[0]
            return (
                f"at {row.kinks} of {row.tried} elements of {row.name} the slope jumps within the smallest step, as "
                f"at {row.index}, or rounding drowns it. No input of a ReLU should be 0, and no two cells of a max "
                f"pooling alike. {self._remedy()} With a loss, try other labels if the network fits these already."
                + ("" if not self.layers or row is x else f" Where a later layer takes {row.name} out, {TAKEN_OUT}.")
            )
        if empty:
            return (
                f"the gradient of {_listed(empty)} is near zero, where a backward that is wrong may well give 0 too. "
                f"{self._remedy(taken_out=bool(self.layers))}"
            )
        compared = sum(row.tried - row.kinks for row in self._all(PASSED))
        if compared < FEWEST:
            return f"elements compared: {compared}, and few mistakes show in so few. Try a larger x."
        return None

    def _remedy(self, taken_out: bool = False) -> str:
        """What to change, so that the check can show something; where parameters alone, and not x, are without effect,
        they may have been `taken_out` by a later layer of the network."""
        if taken_out:
            or_x = "" if self.x_is_random else "; or try an x of random numbers of about 1"
            return f"Look for a later layer that takes it out again, {TAKEN_OUT}{or_x}."
        if self.x_is_random:
            return (
                "x is random already: change the parameters, such as weights that are 0 or alike, or biases so far "
                "from 0 that a ReLU never opens."
            )
        return "Try an x of random numbers of about 1, or a smaller one."

    def _where_to_look(self) -> str:
        """Of a network, the wrong layer nearest to the output: what it hands down makes those before it wrong, too."""
        wrong = self._all(WRONG)
        layer = _layer_of(wrong[-1].name)
        row = next(row for row in wrong if _layer_of(row.name) == layer)
        right = [_quantity(other.name) for other in self._all(PASSED) if _layer_of(other.name) == layer]
        what = _quantity(row.name)
        beside = f"{_listed(right)} {'is' if len(right) == 1 else 'are'} right" if right else ""
        if self.layers and layer and right:
            where = f"how the backward of {layer} computes {what}; {beside}, so what comes down to {layer} is"
        elif self.layers:
            where = f"the backward of {_listed(self._suspects(layer), 'or')}"
        elif len(wrong) > 1:
            together = _listed([_quantity(other.name) for other in wrong])
            where = f"what {together} share, in backward or in forward" + (f"; {beside}" if beside else "")
        else:
            where = f"how backward computes {what}" + (f"; {beside}" if beside else "")
        return f"look first at {where}. {_symptom(row)}"

    def _suspects(self, layer: str) -> tuple[str, ...]:
        """The layers that may have spoilt the gradient of `layer`: itself, and those after it up to one whose
        parameters are right, whose dx is in question then.
        """
        first = self.layers.index(layer) if layer else 0
        with_params = {_layer_of(row.name) for row in self.arrays} - {"", layer}
        stop = next((n for n in range(first, len(self.layers)) if self.layers[n] in with_params), len(self.layers) - 1)
        return self.layers[first : stop + 1][::-1]


def _layer_of(name: str) -> str:
    """The layer that a parameter belongs to; "" for x, and for parameters of a single layer."""
    return name.rpartition(".")[0]


def _quantity(name: str) -> str:
    """The gradient as it is called in a layer's code: dx or grads["weight"]."""
    return "dx" if name == "x" else f'grads["{name.rpartition(".")[2]}"]'


def _listed(names: Sequence[str], word: str = "and") -> str:
    """The names in words.

    >>> _listed(["a"]), _listed(["a", "b", "c"], "or")
    ('a', 'a, b or c')
    """
    *others, last = names
    return f"{', '.join(others)} {word} {last}" if others else last


def _symptom(row: ArrayCheck) -> str:
    """What is known of how a row is wrong."""
    if row.factor == 0:
        return f"For {row.name} backward gives 0 throughout."
    if row.factor is not None:
        return f"For {row.name} backward gives {row.factor:.6g} times the quotient: a factor or a sign."
    if row.index is None:
        return f"Of {row.name} all elements tried are right, but not their sum over all: few elements are wrong."
    return f"{row.name} is furthest off at {row.index}."


def _table(arrays: Iterable[ArrayCheck]) -> list[str]:
    """The rows as lines, in columns as wide as they need."""
    titles = ("gradient of", "worst at", "backward", "quotient", "rel. error", "tried", "kinks", "")
    lines = [titles, *map(_cells, arrays)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    left = (0, 1, 5, 7)  # the columns of words
    return [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _cells(row: ArrayCheck) -> tuple[str, ...]:
    return (
        row.name,
        "all at once" if row.index is None else str(row.index),
        f"{row.backward:.6g}",
        f"{row.quotient:.6g}",
        "-" if row.error is None else f"{row.error:.1e}",
        f"{row.tried} of {row.size}" + (" + all at once" if row.all_at_once else ""),
        str(row.kinks),
        row.verdict,
    )
