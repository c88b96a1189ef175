"""What a known mistake is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mistake:
    """A wrong version of a task's function, as the framework's own text with a piece of it exchanged.

    Attributes:
        task: the task's name.
        name: the mistake in a few words.
        edits: dict from a piece of the solution's text to the wrong text in its place.
        message: for a learner whose numbers are these: what the numbers show, not what to write.
        hint: the question that leads out of it.
    """

    task: str
    name: str
    edits: dict[str, str]
    message: str
    hint: str
