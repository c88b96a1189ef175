"""How a piece of a function is spoken of: by the quantities in it, and not by the code that would be the answer."""

import ast
from collections.abc import Sequence

MODULES = {"np", "math", "self", "ops"}


def mention(node: ast.expr) -> str:
    """A piece of code in words.

    >>> [mention(ast.parse(text, mode="eval").body) for text in ("eps", "2", "dy.sum(axis=0)", "np.exp(y) * dy")]
    ['eps', '2', 'the sum of dy', 'the part with y and dy']
    """
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, (ast.Name, ast.Attribute)):
        return names_in(node)[-1] if names_in(node) else ast.unparse(node)
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        return ast.unparse(node) if len(ast.unparse(node)) < 20 else node.value.id
    called = _called(node)
    of = listed(names_in(node))
    if called in ("sum", "mean", "max"):
        return f"the {called} of {of}"
    if called in ("exp", "log", "square", "abs"):
        return f"{called} of {of}"
    if called == "sqrt":
        return f"the root of {of}"
    return f"the part with {of}" if of else ast.unparse(node)


def names_in(node: ast.AST) -> list[str]:
    """The names of quantities in a piece of code, in their order; without modules and functions."""
    functions = {call.func for call in ast.walk(node) if isinstance(call, ast.Call)}
    found: dict[str, None] = {}
    for part in _in_order(node):
        if isinstance(part, ast.Name) and part not in functions and part.id not in MODULES:
            found[part.id] = None
        of_module = isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id in MODULES
        if isinstance(part, ast.Attribute) and of_module and part not in functions:
            found[part.attr] = None
    return list(found)


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> listed(["x"]), listed(["x", "y", "z"])
    ('x', 'x, y and z')
    """
    *most, last = names or [""]
    return f"{', '.join(most)} and {last}" if most else last


def _called(node: ast.expr) -> str | None:
    """What is called, in a call: "sum" for x.sum() and for np.sum(x)."""
    if not isinstance(node, ast.Call):
        return None
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else None


def _in_order(node: ast.AST) -> list[ast.AST]:
    """A node and all below it, in the order of the text."""
    return [node, *(below for child in ast.iter_child_nodes(node) for below in _in_order(child))]
