"""Which changes of the right function give the learner's numbers, on every case: one change, or two at once.

One case, the probe, is tried first; what gives its numbers is then tried on all. How many pairs are tried is counted
and not timed, so that the answer is the same on every machine.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np

from minicnn.learn.diagnosis.agreement import agree
from minicnn.learn.diagnosis.evidence import Evidence, Observed
from minicnn.learn.diagnosis.forms import Form, forms
from minicnn.learn.diagnosis.inputs import InputChange, input_changes
from minicnn.learn.diagnosis.outputs import OutputChange, factors, output_changes
from minicnn.learn.diagnosis.program import program_changes
from minicnn.learn.diagnosis.syntax import ProgramChange, changed
from minicnn.plain import Array

LIKELY = 24  # changes that are tried two at once, for each form
FEW = 4  # pairs to which a third is added
FEWEST = 5  # numbers of a result by which changes can be told apart


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """The right function with changes, as a function that can be called.

    Attributes:
        form: how it is written.
        program, inputs: the changes of its text and of its arguments.
        output: None, or the change of its result.
    """

    form: Form
    program: tuple[ProgramChange, ...] = ()
    inputs: tuple[InputChange, ...] = ()
    output: OutputChange | None = None

    def result(self, evidence: Evidence, case: Observed, name: str) -> Array | None:
        """What it gives for the result called `name`; None where it ends with an error."""
        if not self.program and not self.inputs:
            found: Any = case.expected
        else:
            function = _compiled(self.form, self.program)
            if function is None:
                return None
            try:
                arguments = self._arguments(evidence, case)
            except (ValueError, TypeError, IndexError, KeyError, OverflowError, ZeroDivisionError):
                return None
            found = evidence.of(function, arguments)
        if found is None or name not in found:
            return None
        return found[name] if self.output is None else _of_output(self.output, found[name], evidence.named(case))

    def _arguments(self, evidence: Evidence, case: Observed) -> tuple[Any, ...]:
        if not self.inputs:
            return case.arguments
        named = evidence.named(case)
        with np.errstate(all="ignore"):
            replaced = {name: value for change in self.inputs for name, value in change.changed(named).items()}
        return tuple(replaced.get(name, value) for name, value in named.items())

    @property
    def words(self) -> list[str]:
        """The changes in words, without that of the result."""
        return [*(change.words for change in self.inputs), *(change.words for change in self.program)]


@dataclass
class Search:
    """The search for one wrong result. `probe` is the case that is tried first."""

    evidence: Evidence
    name: str
    probe: Observed
    tried: list[tuple[Hypothesis, Array]] = field(default_factory=list)  # with what they give for the probe

    def found(self) -> Hypothesis | None:
        """The first hypothesis that gives the learner's numbers on every case."""
        for hypotheses in (self._of_results(), self._single(), self._with_changed_results(), self._pairs()):
            for hypothesis in hypotheses:
                if self._holds(hypothesis):
                    return hypothesis
        return None

    def _holds(self, hypothesis: Hypothesis) -> bool:
        """Whether it gives the learner's numbers, on the probe and then on all cases."""
        got = _got(self.probe, self.name)
        result = hypothesis.result(self.evidence, self.probe, self.name)
        if result is not None and hypothesis.output is None:
            self.tried.append((hypothesis, result))
        if got is None or result is None or not agree(result, got):
            return False
        return holds(self.evidence, hypothesis, self.name)

    def _of_results(self) -> Iterator[Hypothesis]:
        task, named = self.evidence.task, self.evidence.named(self.probe)
        outputs = output_changes(task, self.name, self.probe.expected[self.name], named)
        return (Hypothesis(forms(task)[0], output=output) for output in (*factors(task, named), *outputs))

    def _single(self) -> Iterator[Hypothesis]:
        """Changes of arguments, which are tried on every form, since not each can be called with what they make; and
        changes of the text of every form, the likely ones of all forms first."""
        task = self.evidence.task
        inputs = list(input_changes(task, self.evidence.named(self.probe)))
        yield from (Hypothesis(form, inputs=(one,)) for one in inputs if not one.seldom for form in forms(task))
        programs = [(change, form) for form in forms(task) for change in program_changes(form.function)]
        programs.sort(key=lambda pair: pair[0].rank)
        yield from (Hypothesis(form, program=(change,)) for change, form in programs)
        yield from (Hypothesis(form, inputs=(one,)) for one in inputs if one.seldom for form in forms(task))

    def _with_changed_results(self) -> Iterator[Hypothesis]:
        """One change inside and one of the result."""
        task, named = self.evidence.task, self.evidence.named(self.probe)
        got = _got(self.probe, self.name)
        assert got is not None
        others = list(output_changes(task, self.name, self.probe.expected[self.name], named))
        for hypothesis, result in self._unlike():
            if result.size == got.size and np.count_nonzero(result) == np.count_nonzero(got):
                multiples = factors(task, named) if _is_multiple(got, result) else ()
                for output in (*multiples, *others):
                    after = _of_output(output, result, named)
                    if after is not None and _begin_alike(after, got) and agree(after, got):
                        yield Hypothesis(hypothesis.form, hypothesis.program, hypothesis.inputs, output)

    def _unlike(self) -> list[tuple[Hypothesis, Array]]:
        """Of what was tried, one for each result that is unlike the right one and all before it."""
        seen, unlike = {_key(self.probe.expected[self.name])}, []
        for hypothesis, result in self.tried:
            if _key(result) not in seen:
                seen.add(_key(result))
                unlike.append((hypothesis, result))
        return unlike

    def _pairs(self) -> Iterator[Hypothesis]:
        """Two changes inside: of those that come nearer to the learner's numbers, for two changes come to them in two
        steps; and then three."""
        got = _got(self.probe, self.name)
        assert got is not None
        near = sorted(self._unlike(), key=lambda tried: _distance(tried[1], got))
        for form in forms(self.evidence.task):
            single = [hypothesis for hypothesis, _ in near if hypothesis.form is form][:LIKELY]
            before = len(self.tried)
            yield from (_both(one, other) for one, other in combinations(single, 2))
            pairs = sorted(self.tried[before:], key=lambda tried: _distance(tried[1], got))[:FEW]
            yield from (_both(pair, other) for pair, _ in pairs for other in single[: LIKELY // 2])


def _both(one: Hypothesis, other: Hypothesis) -> Hypothesis:
    return Hypothesis(one.form, (*one.program, *other.program), (*one.inputs, *other.inputs))


def _distance(result: Array, got: Array) -> float:
    """How far a result is from what came out."""
    if result.shape != got.shape:
        return np.inf
    with np.errstate(all="ignore"):
        return float(np.nan_to_num(np.abs(result - got), nan=np.inf).sum())


def holds(evidence: Evidence, hypothesis: Hypothesis, name: str) -> bool:
    """Whether a hypothesis gives the learner's numbers, for one result and on every case that has it."""
    for case in evidence.cases:
        if name not in case.expected:
            continue
        got, result = _got(case, name), hypothesis.result(evidence, case, name)
        if (got is None) != (result is None) or (got is not None and result is not None and not agree(result, got)):
            return False
    return True


def best_probe(cases: Sequence[Observed], name: str) -> Observed | None:
    """Of the cases in which a result is wrong and has numbers, the smallest that tells changes apart."""
    with_numbers = [case for case in cases if _got(case, name) is not None]
    ordered = sorted(with_numbers, key=lambda case: case.size)
    telling = [case for case in ordered if case.expected[name].size >= FEWEST]
    return telling[0] if telling else ordered[-1] if ordered else None


def _got(case: Observed, name: str) -> Array | None:
    return None if case.got is None else case.got.get(name)


def _of_output(output: OutputChange, result: Array, named: Any) -> Array | None:
    try:
        with np.errstate(all="ignore"):
            return np.asarray(output.value(result, named))
    except (ValueError, TypeError, IndexError, KeyError):
        return None


def _key(result: Array) -> tuple[Any, ...]:
    """By which results are the same, up to rounding."""
    return result.shape, np.round(result, 9).tobytes()


def _is_multiple(got: Array, result: Array) -> bool:
    """Whether the numbers may be those of a result times a factor, each its own or one for all."""
    return got.shape == result.shape and bool(((got == 0) == (result == 0)).all())


def _begin_alike(one: Array, other: Array) -> bool:
    """Whether two arrays have one shape and begin with the same number: quick to see, and mostly not so."""
    return one.shape == other.shape and bool(np.isclose(one.flat[0], other.flat[0], rtol=1e-6, atol=1e-9))


@lru_cache(maxsize=4096)
def _compiled(form: Form, program: tuple[ProgramChange, ...]) -> Callable[..., Any] | None:
    """The function of a form with changes; None where Python cannot compile what came out."""
    namespace = dict(form.namespace)
    try:
        exec(compile(changed(form.module, program), "<changed>", "exec"), namespace)
    except (SyntaxError, ValueError, TypeError):
        return None
    function = namespace[form.function.name]
    return getattr(function, "py_func", function)
