"""What a wrong answer is, where nobody has described it before.

The right function is changed, in one place or two, until it gives the learner's numbers on every case. What is said is
what was found so, and is true of all cases that were tried; where nothing fits, it is said where the numbers are wrong.

explain.py     the sentences, in their order
evidence.py    the cases, with what is right and what came out
inputs.py      changes of an argument: as if stride were 1, as if only the first image counted
outputs.py     changes of a result: the sign, a factor with a meaning, an axis that is turned
program.py     changes of the function's text: a term left out, a mean for a sum, = for +=; the rules for arithmetic
               and for calls are in arithmetic.py and calls.py, and how pieces are exchanged in syntax.py
forms.py       other ways to write the right function, whose pieces the framework's text does not have
words.py       how a piece of a function is spoken of
axes.py        what the axes of arrays are called, and how long they are
agreement.py   when two numbers count as the same
search.py      tries them all, alone and in pairs
appearance.py  what stands out in numbers that no change gives
places.py      where the wrong numbers lie, and in which cases
"""

from minicnn.learn.diagnosis.evidence import Evidence, Observed
from minicnn.learn.diagnosis.explain import explained

__all__ = ["Evidence", "Observed", "explained"]
