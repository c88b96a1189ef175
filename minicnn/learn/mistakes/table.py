"""The published table of mistakes: each handed in, and what the grader made of it. It makes `docs/mistakes.md`:

python -m minicnn.learn.mistakes.table > docs/mistakes.md
"""

from collections.abc import Mapping
from typing import TypeAlias

from minicnn.learn.exercises import TASKS
from minicnn.learn.exercises.cases import SEEDS
from minicnn.learn.grader import answers
from minicnn.learn.mistakes import MISTAKES, Mistake, of_task
from minicnn.learn.mistakes.kill_rate import survivors

HEAD = """# The mistakes that the grader knows

Each is the framework's own function with one piece of its text exchanged. Handed in as a learner's answer it must be
rejected and be called by its own name: the numbers on the right answer's cases are compared with those of every known
mistake. This page is made by `python -m minicnn.learn.mistakes.table`, and a test holds it against the code.

A row is a mistake that was handed in. `x` stands in the column of the mistake that the grader named, so a table with
all `x` on its diagonal confuses nothing.
"""

# A mistake that was handed in, whether it was rejected, the mistakes that were named.
Row: TypeAlias = tuple[Mistake, bool, tuple[Mistake, ...]]


def confusion() -> dict[str, list[Row]]:
    """For each task the list of (mistake handed in, whether it was rejected, the mistakes that were named)."""
    return {task: [(mistake, *_judged(task, mistake)) for mistake in of_task(task)] for task in TASKS}


def _judged(task: str, mistake: Mistake) -> tuple[bool, tuple[Mistake, ...]]:
    given = {seed: answers.outcomes(task, seed, mistake) for seed in SEEDS}
    rejected = not all(answers.alike(answers.right(task, seed), given[seed]) for seed in SEEDS)
    return rejected, answers.named(task, given)


def as_markdown(tables: Mapping[str, list[Row]], kill_rate: tuple[list[Mistake], list[Mistake]]) -> str:
    """The page for what `confusion` and `kill_rate.survivors` found."""
    rows = [row for rows in tables.values() for row in rows]
    rejected = sum(rejected for _, rejected, _ in rows)
    named = sum(named == (mistake,) for mistake, _, named in rows)
    total = f"\n{rejected} of {len(MISTAKES)} mistakes are rejected, {named} of {len(MISTAKES)} named correctly.\n"
    return HEAD + total + _gradcheck(*kill_rate) + "".join(_section(task, rows) for task, rows in tables.items())


def _gradcheck(tried: list[Mistake], survivors: list[Mistake]) -> str:
    """What `minicnn.gradcheck` sees of the mistakes in a layer's operations."""
    lines = [
        "\n## Seen by the gradient check\n",
        f"{len(tried)} of the mistakes are in operations of a layer or of the loss. Put into one,",
        f"`minicnn.gradcheck` rejects {len(tried) - len(survivors)} of them. It does not see:\n",
        *(f"- {mistake.task}: {mistake.name}" for mistake in survivors),
        "\nThese are right functions of moderate scores, and differ where exp overflows or vanishes. A check against",
        "difference quotients asks whether backward is the derivative of forward, not what forward should be.",
    ]
    return "\n".join(lines) + "\n"


def _section(task: str, rows: list[Row]) -> str:
    """One task: the mistakes with their questions, and the confusion table."""
    numbers = range(1, len(rows) + 1)
    lines = [
        f"\n## {task}\n",
        f"| handed in | {' | '.join(map(str, numbers))} | the question that leads out of it |",
        "|---|" + ":-:|" * len(rows) + "---|",
    ]
    for number, (mistake, _, named) in zip(numbers, rows, strict=True):
        marks = ["x" if other in named else "" for other, _, _ in rows]
        lines.append(f"| {number}. {mistake.name} | {' | '.join(marks)} | {mistake.hint.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(as_markdown(confusion(), survivors()), end="")
