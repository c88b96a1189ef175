"""The mistakes that the grader knows by name, each as an edit of the framework's own text.

A learner's function is not searched for them. It is called, and where its numbers are those of a known mistake, on
every case, the grader names that mistake.
"""

from minicnn.learn.mistakes import batchnorm, conv, linear, losses, pooling, training
from minicnn.learn.mistakes.mistake import Mistake

__all__ = ["MISTAKES", "Mistake", "of_task"]

MISTAKES = (
    *linear.MISTAKES,
    *losses.MISTAKES,
    *pooling.MISTAKES,
    *conv.MISTAKES,
    *batchnorm.MISTAKES,
    *training.MISTAKES,
)


def of_task(task: str) -> list[Mistake]:
    """The known mistakes with the task of this name."""
    return [mistake for mistake in MISTAKES if mistake.task == task]
