"""The calls of a network's layers one after another, and the arrays that hold what goes between them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from minicnn.classify.classifier import Classifier
from minicnn.interop.c.chain import Link, every_link
from minicnn.interop.c.layers import IN_PLACE, NO_FIT, Function, function_of, normalise, sum_of
from minicnn.interop.c.text import c_comment, c_names
from minicnn.layers import Dropout, Flatten

IMAGE = "image"  # the caller's array, which is never written to


class Program:
    """A network as calls.

    Two arrays, a and b, take turns, but for layers that work in place. A residual holds its input while its layers run,
    and what these made while its shortcut runs; so each one around another takes an array more.

    Attributes:
        functions: those of the layers.
        calls: the lines that call them.
        last: the array that the output is in.
        sizes: of all arrays, how many numbers they have room for.
    """

    def __init__(self, real: str, names: dict[int, str]) -> None:
        self.functions: list[Function] = []
        self.calls: list[str] = []
        self.last, self.sizes = IMAGE, {"a": 0, "b": 0}
        self._real, self._names = real, names  # the names in C by the identity of each link

    def begin(self, classifier: Classifier, link: Link, name: str) -> None:
        """Normalise the image."""
        self.functions.append(normalise(classifier.mean, classifier.std, name, self._real))
        self.calls.append(f"shape = run_{name}(image, shape, a);")
        self.last, self.sizes["a"] = "a", link.x.size

    def chain(self, links: Sequence[Link], place: str, held: frozenset[str] = frozenset()) -> str:
        """Call these layers on what is in `place`; what is in the arrays `held` is asked for later. Returns the place
        of what they made."""
        for link in links:
            if isinstance(link.layer, Flatten):  # nothing moves
                comment = c_comment(link.name)
                self.calls.append("shape = (Shape){shape.c * shape.h * shape.w, 1, 1}; /* " + comment + " */")
            elif link.ways:
                place = self._sum(link, place, held)
            elif not isinstance(link.layer, Dropout):  # of which nothing is left in evaluation
                source, name = place, self._names[id(link)]
                if not (isinstance(link.layer, IN_PLACE) and self._is_free(source, held)):
                    place = self._free(held | {source})
                self._call(function_of(link, name, self._real), f"run_{name}({source}, shape, {place})", place, link)
        self.last = place
        return place

    def _sum(self, link: Link, place: str, held: frozenset[str]) -> str:
        name, (f, s) = self._names[id(link)], link.ways
        self.calls.append(f"const Shape before_{name} = shape;")
        of_f = self.chain(f, place, held | {place})
        self.calls += [f"const Shape after_{name} = shape;", f"shape = before_{name};"]
        of_s = self.chain(s, place, held | {of_f})
        free = [of for of in (of_f, of_s) if self._is_free(of, held)]
        place = free[0] if free else self._free(held | {of_f, of_s})
        arguments = f"{of_f}, after_{name}, {of_s}, shape, {place}"
        self._call(sum_of(link, name, self._real), f"run_{name}({arguments})", place, link)
        return place

    def _call(self, function: Function, call: str, place: str, link: Link) -> None:
        self.functions.append(function)
        self.calls.append(f"shape = {call};")
        if NO_FIT in function.code:
            self.calls.append("if (shape.c == 0)\n        return WRONG_SIZE;")
        self.sizes[place] = max(self.sizes.get(place, 0), link.y.size)

    def _is_free(self, place: str, held: frozenset[str]) -> bool:
        return place != IMAGE and place not in held

    def _free(self, taken: frozenset[str]) -> str:
        """The first of a, b, a2, a3, … that is not taken; the indices of loops have the other letters."""
        names = itertools.chain(self.sizes, (f"a{n}" for n in itertools.count(2)))
        return next(name for name in names if name not in taken)


def program_of(links: list[Link], classifier: Classifier | None, real: str) -> Program:
    """The layers in order."""
    every = list(every_link(links))
    first, *names = c_names(["input", *(link.name for link in every)])
    program = Program(real, {id(link): name for link, name in zip(every, names, strict=True)})
    if classifier is not None:
        program.begin(classifier, links[0], first)
    program.chain(links, program.last)
    return program
