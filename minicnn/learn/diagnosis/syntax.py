"""A syntax tree with pieces of it exchanged, and the small pieces that changes are built of."""

import ast
import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

NUMPY = ("exp", "log", "sqrt", "abs", "square", "ones_like", "zeros_like")  # tried in place of each other


@dataclass(frozen=True, eq=False)
class ProgramChange:
    """One piece of a function exchanged.

    Attributes:
        words: what is done, to follow "as if".
        pieces: (old, new) for each node of the syntax tree in whose place another stands; None where it is taken out.
        rank: 0 for what is often wrong, more for what is seldom.
    """

    words: str
    pieces: tuple[tuple[ast.AST, ast.AST | list[ast.stmt] | None], ...]
    rank: int = 0


def changed(module: ast.Module, changes: Sequence[ProgramChange]) -> ast.Module:
    """A syntax tree in which the pieces of all changes are exchanged. The given one stays as it is; what does not
    change is shared with it."""
    exchanged = {id(old): new for change in changes for old, new in change.pieces}
    above = _above(module)
    paths: set[int] = set()
    for old in exchanged:
        while old in above:
            old = above[old]
            paths.add(old)
    tree = _Exchange(exchanged, above.keys() - paths).below(module)
    assert isinstance(tree, ast.Module)
    return tree


@lru_cache(maxsize=64)
def _above(module: ast.Module) -> dict[int, int]:
    """For each node of a tree the one above it, by their ids."""
    return {id(child): id(node) for node in ast.walk(module) for child in ast.iter_child_nodes(node)}


@dataclass
class _Exchange:
    """Pieces to be exchanged, by the id of the node that they replace, and the ids of nodes that hold none."""

    pieces: dict[int, ast.AST | list[ast.stmt] | None]
    without: set[int]

    def below(self, node: ast.AST) -> ast.AST:
        """A node with pieces below it exchanged; itself, where there are none."""
        new = node
        for field, value in ast.iter_fields(node):
            part: object = value
            if isinstance(value, ast.AST):
                part = self._placed(value)
            elif isinstance(value, list):
                parts = [self._placed(each) if isinstance(each, ast.AST) else each for each in value]
                if any(one is not other for one, other in zip(parts, value, strict=True)):
                    part = [one for each in parts if each is not None for one in _listed(each)]
            if part is not value:
                new = copy.copy(node) if new is node else new
                setattr(new, field, part)
        return new

    def _placed(self, node: ast.AST) -> ast.AST | list[ast.stmt] | None:
        """What stands in the place of a node."""
        if id(node) not in self.pieces:
            return node if id(node) in self.without else self.below(node)
        new = self.pieces[id(node)]
        others = {place: piece for place, piece in self.pieces.items() if place != id(node)}
        if new is None or not others:
            return new
        inside = _Exchange(others, self.without)  # what is new may hold what was old, and other pieces
        return [inside.below(each) for each in new] if isinstance(new, list) else inside.below(new)  # type: ignore[misc]


def _listed(part: object) -> list[object]:
    return part if isinstance(part, list) else [part]


def located(change: ProgramChange) -> ProgramChange:
    """The change, its new pieces with a place in the text, which Python asks for."""
    for old, new in change.pieces:
        for each in new if isinstance(new, list) else [new]:
            if each is not None and each is not old:
                ast.fix_missing_locations(ast.copy_location(each, old))
    return change


def binary(left: ast.expr, op: ast.operator, right: ast.expr) -> ast.BinOp:
    return ast.BinOp(left=left, op=op, right=right)


def power(node: ast.expr, exponent: int) -> ast.expr:
    return binary(node, ast.Pow(), ast.Constant(exponent))


def call(function: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(func=ast.Name(function, ast.Load()), args=list(arguments), keywords=[])


def numpy_call(function: str, operand: ast.expr) -> ast.Call:
    return ast.Call(ast.Attribute(ast.Name("np", ast.Load()), function, ast.Load()), [operand], [])
