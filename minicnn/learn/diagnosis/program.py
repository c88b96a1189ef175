"""Changes of the function's text: every piece of it, exchanged for what a learner may have written there.

The words speak of quantities and operations, and do not hold the code that would be right.
"""

import ast
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TypeGuard

from minicnn.learn.diagnosis import arithmetic, calls
from minicnn.learn.diagnosis.syntax import NUMPY, ProgramChange, binary, call, located, numpy_call
from minicnn.learn.diagnosis.words import listed, mention, names_in

OPPOSITE: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
}
SYMBOLS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
LOOPS = (
    ("left out its last", ":-1"),
    ("left out its first", "1:"),
    ("ran the other way round", "::-1"),
    ("ran once", ":1"),
)

# In the order in which they are tried: what is often wrong, and what is seldom.
RULES = (
    (calls.of_root, arithmetic.of_binary, arithmetic.of_sign, calls.of_call, calls.of_sequence),
    (arithmetic.of_comparison, arithmetic.of_quotient, calls.of_index, calls.of_range),
    (arithmetic.of_constant,),
)


def program_changes(function: ast.FunctionDef) -> list[ProgramChange]:
    """All changes of a function's syntax tree."""
    found: list[ProgramChange] = []
    names, counters = _names_of_values(function), _counters(function)
    for node in ast.walk(ast.Module(body=_code(function), type_ignores=[])):
        for rank, rules in enumerate(RULES):
            found += [ProgramChange(words, ((node, new),), rank) for rule in rules for new, words in rule(node)]
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            for each in (names, counters):
                if node.id in each:
                    found += [ProgramChange(words, ((node, new),), 2) for new, words in _other_quantities(node, each)]
        found += _of_blocks(node)
    return [located(change) for change in (*found, *_of_block(_code(function)))]


def _code(function: ast.FunctionDef) -> list[ast.stmt]:
    """The statements of a function without its docstring."""
    return function.body[ast.get_docstring(function) is not None :]


def _names_of_values(function: ast.FunctionDef) -> list[str]:
    """The arguments of a function and the names that it assigns to, without loop variables."""
    names = [argument.arg for argument in function.args.args]
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            names += [name.id for target in node.targets for name in ast.walk(target) if _is_stored(name)]
    return list(dict.fromkeys(name for name in names if name != "self"))


def _counters(function: ast.FunctionDef) -> list[str]:
    """The variables of loops, and what is worked out from them as an index: i, j, p, q, r, s."""
    loops = [node.target for node in ast.walk(function) if isinstance(node, ast.For)]
    names = [name.id for target in loops for name in ast.walk(target) if _is_stored(name)]
    return list(dict.fromkeys([*names, *(name for name in _names_of_values(function) if len(name) == 1)]))


def _is_stored(node: ast.AST) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def _other_quantities(node: ast.Name, names: Sequence[str]) -> Iterator[tuple[ast.expr, str]]:
    """Another quantity in place of this one, or a function of it."""
    for other in names:
        if other != node.id:
            yield ast.Name(other, ast.Load()), f"{other} stood in place of {node.id}, in one place"
    for function in NUMPY:
        constant = {"ones_like": f"{node.id} were all 1", "zeros_like": f"{node.id} were all 0"}
        called = constant.get(function, f"{function} of {node.id} stood in place of {node.id}")
        yield numpy_call(function, node), f"{called}, in one place"
    yield binary(ast.Constant(1), ast.Sub(), node), f"1 - {node.id} stood in place of {node.id}, in one place"
    yield ast.UnaryOp(ast.USub(), node), f"{node.id} had the other sign, in one place"
    for step, words in ((1, "1 more"), (-1, "1 less")):
        yield binary(node, ast.Add(), ast.Constant(step)), f"{node.id} were {words}, in one place"


def _of_blocks(node: ast.AST) -> Iterator[ProgramChange]:
    """An assignment of another kind, and what changes in the blocks of a statement."""
    if isinstance(node, ast.AugAssign):
        what, symbol = mention(node.target), SYMBOLS.get(type(node.op), "")
        assigned = ast.Assign([node.target], node.value)
        yield ProgramChange(f"{what} were assigned and not added to, = for {symbol}=", ((node, assigned),))
        if type(node.op) in OPPOSITE:
            other = OPPOSITE[type(node.op)]()
            words = f"{SYMBOLS[type(other)]}= stood in place of {symbol}=, for {what}"
            yield ProgramChange(words, ((node, ast.AugAssign(node.target, other, node.value)),))
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        name = node.targets[0].id
        added = ast.Assign(node.targets, binary(ast.Name(name, ast.Load()), ast.Add(), node.value))
        yield ProgramChange(f"{name} were added to, where it should be replaced", ((node, added),))
    if isinstance(node, ast.For):
        for words, index in LOOPS:
            some = ast.Subscript(call("list", node.iter), _slice(index), ast.Load())
            yield ProgramChange(f"the loop over {mention(node.iter)} {words}", ((node.iter, some),))
    if isinstance(node, (ast.For, ast.If)):
        yield from _of_block(node.body)
        yield from _of_block(node.orelse)


def _of_block(block: Sequence[ast.stmt]) -> Iterator[ProgramChange]:
    """A statement left out, and two neighbours exchanged."""
    for statement in block:
        if isinstance(statement, (ast.Assign, ast.AugAssign, ast.Expr)):
            yield ProgramChange(f"{_done_by(statement)} were left out", ((statement, ast.Pass()),), 1)
    for first, second in pairwise(block):
        if isinstance(first, (ast.Assign, ast.AugAssign)) and isinstance(second, (ast.Assign, ast.AugAssign)):
            words = f"{_done_by(second)} came before {_done_by(first)}"
            yield ProgramChange(words, ((first, [second, first]), (second, None)))


def _slice(text: str) -> ast.expr:
    body = ast.parse(f"x[{text}]", mode="eval").body
    assert isinstance(body, ast.Subscript)
    return body.slice


def _done_by(statement: ast.stmt) -> str:
    """What a statement does, in words."""
    if isinstance(statement, ast.AugAssign):
        return f"what changes {mention(statement.target)}"
    if isinstance(statement, ast.Assign):
        return f"what sets {mention(statement.targets[0])}"
    return f"what is done with {listed(names_in(statement))}"
