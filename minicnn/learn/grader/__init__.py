"""The grader: whether a learner's function is right, and if not, which mistake that is.

grading.py       the verdict
running.py       the learner's code in a process of its own, with limits
child.py         that process
answers.py       what is right, and whose mistake the numbers are
differences.py   what a wrong array looks like beside the right one
"""

from minicnn.learn.grader.grading import Verdict, check

__all__ = ["Verdict", "check"]
