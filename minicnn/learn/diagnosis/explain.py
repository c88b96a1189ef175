"""The sentences about a wrong answer."""

from minicnn.learn.diagnosis.appearance import appearance, left_alone
from minicnn.learn.diagnosis.evidence import Evidence
from minicnn.learn.diagnosis.places import which_cases, which_numbers
from minicnn.learn.diagnosis.search import Hypothesis, Search, best_probe, holds
from minicnn.learn.diagnosis.words import listed

MOST = 3  # wrong results that are looked into; a network has dozens of gradients


def explained(evidence: Evidence) -> list[str]:
    """What is known of a wrong answer, each a sentence that is true of all cases that were tried."""
    sentences: list[str] = []
    unexplained: list[str] = []
    left = list(evidence.wrong_names)
    while left and len(sentences) + len(unexplained) < MOST:
        name = left.pop(0)
        probe = best_probe(evidence.wrong(name), name)
        found = None if probe is None or left_alone(evidence, name) else Search(evidence, name, probe).found()
        if found is not None:
            together = [name, *(other for other in left if holds(evidence, found, other))]
            left = [other for other in left if other not in together]
            sentences.append(_sentence(found, together))
            continue
        said = left_alone(evidence, name) or appearance(evidence, name)
        if said is not None:
            sentences.append(said)
        else:
            unexplained.append(name)
    where = [which_numbers(evidence, name) for name in unexplained]
    return sentences + [said for said in (*where, which_cases(evidence)) if said is not None]


def _sentence(found: Hypothesis, names: list[str]) -> str:
    """What was found, as a sentence about these results."""
    your = f"Your {listed(names) if len(names) <= MOST else 'numbers'}"
    verb = "is" if len(names) == 1 else "are"
    if not found.words:
        assert found.output is not None
        return f"{your} {verb} {found.output.words}."
    come = "comes" if len(names) == 1 else "come"
    sentence = f"{your} {come} out as if {' and '.join(found.words)}"
    if found.output is not None:
        sentence += f"; what came out so was then changed: it is {found.output.words}".replace("the right one", "that")
    return sentence + "."
