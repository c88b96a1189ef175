"""What a possible cause is: a mistake that can be made, and the signature by which its curves are known."""

import math
from dataclasses import dataclass

from minicnn.learn.symptoms.curves import Curves
from minicnn.learn.symptoms.experiment import Experiment
from minicnn.learn.symptoms.measures import Measure


@dataclass(frozen=True)
class Sign:
    """One prediction: a measure lies between `low` and `high`, both included."""

    measure: Measure
    low: float = -math.inf
    high: float = math.inf

    def holds(self, curves: Curves) -> bool:
        """False, too, where the measure is not a number."""
        return bool(self.low <= self.measure.of(curves) <= self.high)

    @property
    def expected(self) -> str:
        """The bounds in words: "at least 0.9"."""
        if self.low == self.high:
            return f"{self.low:g}"
        if self.high == math.inf:
            return f"at least {self.low:g}"
        if self.low == -math.inf:
            return f"at most {self.high:g}"
        return f"from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Cause:
    """A mistake, its signature and its explanation.

    Attributes:
        name: by which it is answered.
        title: what was done wrong, in a few words.
        experiment: the `Experiment` with the mistake in it.
        place: the one method or attribute of `Experiment` that it overrides.
        signature: the signs that hold together for this mistake and for no other of the ten.
        shown: why the curves look as they do.
        confused: {name: difference} of the causes that look alike.
        fix: what to change.
    """

    name: str
    title: str
    experiment: type[Experiment]
    place: str
    signature: tuple[Sign, ...]
    shown: str
    confused: dict[str, str]
    fix: str

    def matches(self, curves: Curves) -> bool:
        """Whether the whole signature holds."""
        return all(sign.holds(curves) for sign in self.signature)

    @property
    def fixed(self) -> type[Experiment]:
        """The same experiment with what it overrides taken back."""
        return type("Fixed", (self.experiment,), {self.place: getattr(Experiment, self.place)})
