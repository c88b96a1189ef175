"""The symptom lab: ten training runs in which one thing is wrong, to be diagnosed from their curves.

    minicnn.learn.symptoms.run(4)                   train the network of case 4: a `Run` with its curves
    minicnn.learn.symptoms.healthy()                the run in which nothing is wrong
    minicnn.learn.symptoms.draw(run, healthy)       a picture of the one beside the other
    minicnn.learn.symptoms.check(run, "dead-relu", healthy)     whether that is it, and why (not)
    minicnn.learn.symptoms.diagnose(run.curves)     what the signatures say

No curve is made up: a fault is a subclass of the healthy experiment that overrides one thing, and is really trained.

experiment.py  the healthy run, with a place for each mistake
curves.py      what is written down of a run
measures.py    the numbers that are read off the curves, each defined once
cause.py       what a cause is: a fault, and the signature that its curves must have
faults/        the ten of them, a file each: the wrong code, its signature and its explanation
cases.py       which case has which fault; running and diagnosing
answers.py     the answer to a diagnosis, right or wrong
picture.py     the twelve panels
"""

from minicnn.learn.symptoms.answers import check, explain
from minicnn.learn.symptoms.cases import CAUSES, NUMBERS, Run, cause_of, complaint, diagnose, healthy, run
from minicnn.learn.symptoms.measures import MEASURES
from minicnn.learn.symptoms.picture import draw

__all__ = [
    "CAUSES",
    "MEASURES",
    "NUMBERS",
    "Run",
    "cause_of",
    "check",
    "complaint",
    "diagnose",
    "draw",
    "explain",
    "healthy",
    "run",
]
