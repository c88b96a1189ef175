"""Answers as learners write them: wrong ones, with what a teacher would say of each, and right ones in other forms.

They were written from the texts of the exercises alone, before the code that judges them was read, and stay as they
are: a check that learns of them here would learn of these only. In `wrong/` and `right/` there is a file for each
exercise, a section for each answer:

    # %% TASK | what it does
    # what a teacher would say of it (in `wrong/`)
    the code that stands in the learner's file in place of the stub
"""

import re
from dataclasses import dataclass
from pathlib import Path

_SECTION = re.compile(r"^# %% (?P<task>\w+) \| (?P<title>.+)\n(?P<teacher>(?:# .*\n)*)", re.MULTILINE)


@dataclass(frozen=True)
class Answer:
    """One answer: the task that it is for, what it is called, what a teacher would say of it, and its code."""

    task: str
    title: str
    teacher: str
    code: str

    def __str__(self) -> str:
        return f"{self.task}: {self.title}"


def answers(kind: str) -> list[Answer]:
    """All answers of a kind, "wrong" or "right", in the order of files and sections."""
    found = []
    for path in sorted((Path(__file__).parent / kind).glob("*.txt")):
        text = path.read_text(encoding="utf-8")
        sections = list(_SECTION.finditer(text))
        ends = [section.start() for section in sections[1:]] + [len(text)]
        for section, end in zip(sections, ends, strict=True):
            teacher = " ".join(line.removeprefix("# ") for line in section["teacher"].splitlines())
            found.append(Answer(section["task"], section["title"], teacher, text[section.end() : end].strip() + "\n"))
    return found
