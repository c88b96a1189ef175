"""The answer to a diagnosis: why it is right, or what in the curves contradicts it.

Every number in these answers is measured on the recorded curves, by the signatures that the tests hold against them.
"""

import sys
from textwrap import fill

from minicnn.learn.symptoms.cases import CAUSES, Run, cause_of
from minicnn.learn.symptoms.cause import Cause, Sign
from minicnn.learn.symptoms.measures import TABLE, Measure

WIDTH = 79  # fits a terminal of 80 columns


def check(run: Run, name: str, healthy: Run) -> tuple[bool, str]:
    """(whether the cause `name` is that of `run`, an explanation).

    The explanation of a wrong one names neither the right cause nor what it predicts.

    Args:
        run, healthy: the `Run` of a case, and the healthy one.
        name: of a cause.

    Raises ValueError where there is no such cause.
    """
    if name not in CAUSES:
        raise ValueError(f"symptoms: expected one of {', '.join(CAUSES)}, got {name!r}")
    if name == cause_of(run.number).name:
        return True, f"Right.\n\n{explain(run, healthy)}"
    return False, _objection(run, CAUSES[name], healthy)


def explain(run: Run, healthy: Run) -> str:
    """The cause of `run`: what shows it, what looks alike, and how to fix it."""
    cause = cause_of(run.number)
    lines = [fill(f"The cause of case {run.number} is {cause.name}: {cause.title}.", WIDTH), "", "What shows it:"]
    for sign in cause.signature:
        here, there = sign.measure.text(run.curves), sign.measure.text(healthy.curves)
        lines.append(_item(f"{sign.measure.what}: {here}, expected {sign.expected}; {there} in the healthy run"))
    lines += ["", fill(cause.shown, WIDTH), "", "What looks like it, and what tells them apart:"]
    for other, difference in cause.confused.items():
        lines.append(_item(f"{other}: {difference}."))
        sign = next(sign for sign in CAUSES[other].signature if not sign.holds(run.curves))
        lines.append(_item(_against(sign, run), "    "))
    file = sys.modules[cause.experiment.__module__].__file__
    return "\n".join([*lines, "", "How to fix it:", _item(cause.fix), "", f"The faulty code: {file}"])


def _objection(run: Run, cause: Cause, healthy: Run) -> str:
    """What of a wrong diagnosis the curves contradict, what they do not, and where to look next."""
    against = [sign for sign in cause.signature if not sign.holds(run.curves)]
    fitting = [sign for sign in cause.signature if sign.holds(run.curves)]
    lines = [fill(f"No, that is not it. {cause.name} means: {cause.title}.", WIDTH)]
    lines += ["", "The curves contradict what it predicts:"]
    lines += [_item(f"{_against(sign, run)} ({_where(sign.measure)})") for sign in against]
    if fitting:
        lines += ["", "What does fit:"]
        lines += [_item(f"{sign.measure.what}: {sign.measure.text(run.curves)}") for sign in fitting]
    measure = _telling(run, cause, healthy)
    look = (
        f"Look next at {_where(measure)}: {measure.what}, {measure.text(run.curves)} here and "
        f"{measure.text(healthy.curves)} in the healthy run."
    )
    return "\n".join([*lines, "", fill(look, WIDTH)])


def _telling(run: Run, wrong: Cause, healthy: Run) -> Measure:
    """A measure by which the run differs from the healthy one, if there is one of which `wrong` says nothing."""
    differing = [sign.measure for sign in cause_of(run.number).signature if not sign.holds(healthy.curves)]
    mentioned = [sign.measure for sign in wrong.signature]
    return next((measure for measure in differing if measure not in mentioned), differing[-1])


def _against(sign: Sign, run: Run) -> str:
    return f"{sign.measure.what} would be {sign.expected}, and is {sign.measure.text(run.curves)}"


def _where(measure: Measure) -> str:
    return measure.panel if measure.panel == TABLE else f'the panel "{measure.panel}"'


def _item(text: str, indent: str = "  ") -> str:
    return fill(text, WIDTH, initial_indent=f"{indent}- ", subsequent_indent=f"{indent}  ")
