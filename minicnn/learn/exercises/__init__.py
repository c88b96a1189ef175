"""The exercises: files of functions to be written, made out of the framework's own.

catalogue.py   which functions, in which order, and the text of each task
exercise.py    what an exercise and a task are, and their text
source.py      the framework's functions as text, with blanks or with a mistake
arguments/     what each task's function is called with
cases.py       the cases of a task, and what a function gives on them
"""

from minicnn.learn.exercises.catalogue import EXERCISES, TASKS
from minicnn.learn.exercises.exercise import Exercise, Task

__all__ = ["EXERCISES", "TASKS", "Exercise", "Task"]
