"""Changes of calls and indices: another reduction, other axes, a function left out, a slice a place off.

A rule is a function from a node of a syntax tree to what may stand in its place, each with the words for it.
"""

import ast
from collections.abc import Iterator
from typing import TypeGuard

from minicnn.learn.diagnosis.syntax import NUMPY, binary, call, numpy_call
from minicnn.learn.diagnosis.words import listed, mention, names_in

REDUCTIONS = ("sum", "mean", "max", "min")
AXES = ("0", "1", "2", "3", "(0, 1)", "(0, 2)", "(0, 3)", "(1, 2, 3)", "(2, 3)", "(0, 2, 3)", "None")


def of_call(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """A function left out, or another reduction, or the same along other axes."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in REDUCTIONS and node.args:
            for other in ("sum", "max", "min"):
                if other != node.func.id:
                    yield call(other, *node.args), f"a {other} stood in place of a {node.func.id}"
        if isinstance(node, ast.Call) and len(node.args) >= 1 and not isinstance(node.args[0], ast.GeneratorExp):
            yield node.args[0], f"{ast.unparse(node.func)}(…) around {mention(node.args[0])} were left out"
        return
    owner, name = node.func.value, node.func.attr
    of_numpy = isinstance(owner, ast.Name) and owner.id in ("np", "math")
    operand = node.args[0] if of_numpy and node.args else owner
    if name in REDUCTIONS:
        of = f"of {listed(names_in(operand))}" if names_in(operand) else ""
        for other in REDUCTIONS:
            if other != name:
                yield _with_attribute(node, other), f"a {other} stood in place of a {name} {of}"
        yield from _along_other_axes(node, name, of)
        if not of_numpy:
            yield owner, f"the {name} {of} were left out"
    elif of_numpy and len(node.args) == 1:
        yield operand, f"{name} around {mention(operand)} were left out"
        for other in NUMPY:
            if other != name and not other.endswith("_like"):
                yield numpy_call(other, operand), f"{other} stood in place of {name}, around {mention(operand)}"
    elif name == "einsum" and len(node.args) == 3:
        yield from _of_einsum(node)
    elif name == "backward":
        yield _with_attribute(node, "forward"), "forward were called in place of backward"


def _of_einsum(node: ast.Call) -> Iterator[tuple[ast.expr, str]]:
    """Sums multiplied in place of products summed."""
    letters, one, other = node.args
    if isinstance(letters, ast.Constant) and isinstance(letters.value, str):
        (first, second), result = letters.value.split("->")[0].split(","), letters.value.split("->")[1]
        kept = ["".join(letter for letter in each if letter in result) for each in (first, second)]
        sums = [
            ast.Call(node.func, [ast.Constant(f"{each}->{left}"), array], [])
            for each, left, array in zip((first, second), kept, (one, other), strict=True)
        ]
        words = f"{mention(one)} and {mention(other)} were each summed first, and then multiplied"
        yield ast.Call(node.func, [ast.Constant(f"{kept[0]},{kept[1]}->{result}"), *sums], []), words


def of_root(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """A term under a root moved out of it, or one beside it moved in."""
    if _is_root(node) and isinstance(node.args[0], ast.BinOp) and isinstance(node.args[0].op, ast.Add):
        inside = node.args[0]
        words = f"{mention(inside.right)} stood outside of the root, beside it"
        yield binary(ast.Call(node.func, [inside.left], []), ast.Add(), inside.right), words
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and _is_root(node.left):
        under = binary(node.left.args[0], ast.Add(), node.right)
        yield ast.Call(node.left.func, [under], []), f"{mention(node.right)} stood under the root"


def _is_root(node: ast.AST) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "sqrt"


def _with_attribute(node: ast.Call, name: str) -> ast.Call:
    assert isinstance(node.func, ast.Attribute)
    return ast.Call(ast.Attribute(node.func.value, name, ast.Load()), node.args, node.keywords)


def _along_other_axes(node: ast.Call, name: str, of: str) -> Iterator[tuple[ast.expr, str]]:
    for keyword in node.keywords:
        if keyword.arg != "axis":
            continue
        for axes in AXES:
            value = ast.parse(axes, mode="eval").body
            others = [ast.keyword("axis", value) if each is keyword else each for each in node.keywords]
            where = "all axes" if axes == "None" else f"axis {axes}" if len(axes) == 1 else f"the axes {axes}"
            yield ast.Call(node.func, node.args, others), f"the {name} {of} ran over {where}"


def of_index(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """Slices that begin or end a place off, pairs taken from the other side, the first in place of each."""
    if isinstance(node, ast.Slice):
        for bound, what in ((node.lower, "begin"), (node.upper, "end")):
            if bound is None:
                continue
            for step, where in ((1, "later"), (-1, "earlier")):
                moved = binary(bound, ast.Add(), ast.Constant(step))
                lower, upper = (moved, node.upper) if what == "begin" else (node.lower, moved)
                words = f"the slice of {mention(bound)} would {what} one place {where}"
                yield ast.Slice(lower, upper, node.step), words
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and node.slice.value in (0, 1):
        other = ast.Subscript(node.value, ast.Constant(1 - node.slice.value), node.ctx)
        yield other, f"{ast.unparse(other)} stood in place of {ast.unparse(node)}"
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and isinstance(node.slice, ast.Name):
        yield node.value, f"{mention(node.value)} were taken whole, without its index {node.slice.id}"
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple):
        for position, index in enumerate(node.slice.elts):
            if isinstance(index, ast.Name):
                of = mention(node.value)
                reversed_index = binary(ast.UnaryOp(ast.USub(), ast.Constant(1)), ast.Sub(), index)
                others: tuple[tuple[ast.expr, str], ...] = (
                    (ast.Constant(0), f"the index {index.id} of {of} were always 0"),
                    (reversed_index, f"{of} were reversed along the index {index.id}"),
                )
                for new, words in others:
                    elements = [*node.slice.elts[:position], new, *node.slice.elts[position + 1 :]]
                    yield ast.Subscript(node.value, ast.Tuple(elements, ast.Load()), node.ctx), words


def of_range(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "range"
        and len(node.args) == 1
    ):
        (many,) = node.args
        of = f"the loop over {mention(many)}"
        yield call("range", binary(many, ast.Sub(), ast.Constant(1))), f"{of} ended one too early"
        yield call("range", ast.Constant(1), many), f"{of} began one too late"
        yield call("range", ast.Constant(1)), f"{of} ran once"


def of_sequence(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """Two neighbours of a tuple or of a call's arguments exchanged."""
    if isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Load) and len(node.elts) in (2, 3):
        for first in range(len(node.elts) - 1):
            elements = list(node.elts)
            elements[first], elements[first + 1] = elements[first + 1], elements[first]
            words = f"{mention(elements[first])} and {mention(elements[first + 1])} had changed places"
            yield ast.Tuple(elements, ast.Load()), words
    if isinstance(node, ast.Call) and len(node.args) >= 2:
        for first in range(len(node.args) - 1):
            arguments = list(node.args)
            arguments[first], arguments[first + 1] = arguments[first + 1], arguments[first]
            words = f"{mention(arguments[first])} and {mention(arguments[first + 1])} had changed places"
            yield ast.Call(node.func, arguments, node.keywords), words
    if isinstance(node, ast.IfExp):
        yield node.body, f"{mention(node.test)} made no difference in one place, and were always true there"
        yield node.orelse, f"{mention(node.test)} made no difference in one place, and were always false there"
        yield (
            ast.IfExp(node.test, node.orelse, node.body),
            f"the choice by {mention(node.test)} were the other way round",
        )
