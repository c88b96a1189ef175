"""The framework's own functions as text: with their solutions, with blanks in place of them, or with a mistake.

Nothing of an exercise is written twice. A function that learners complete carries markers in the framework's source,

    # learn: what this tap sends back to the cells that it saw
    view += np.einsum(…)

and a marker is about the lines below it, down to the next blank line, comment or `return` (or of the `return` itself).
What the learner gets is that function with `...` in place of these lines, or with its whole body blank; the solution
is the function as it stands; and a known mistake is the function with one piece of it exchanged.

Two things are left out, since the course has them nowhere: the types of arguments and results, and the underscore of
private names.
"""

import ast
import inspect
import textwrap
import threading
import warnings
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module

MARKER = "# learn: "
BLANK = "..."

_one_at_a_time = threading.RLock()


def parsed(text: str, file: str = "<text>") -> ast.Module:
    """The syntax tree of a text in Python. What Python would only warn of, like "\\d", is no error.

    One thread at a time: Python 3.11 counts for all threads together how deep in a tree it is, and then finds that
    numbers do not match; and warnings are ignored by all threads at once or by none.

    Raises SyntaxError or ValueError for what is not Python, RecursionError or MemoryError for what is nested too deep.
    """
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text, file)


def function_in(text: str) -> ast.FunctionDef:
    """The syntax tree of the first function of a text."""
    return next(node for node in parsed(text).body if isinstance(node, ast.FunctionDef))


def solution(module: str, name: str, docstring: str | None = None) -> str:
    """The text of the function `name` ("relu_backward", "Sequential.backward") of a module, its markers plain comments.

    A given `docstring` replaces its own.
    """
    lines = _function_lines(module, name, docstring)
    return "\n".join(line.replace(MARKER, "# ") for line in lines) + "\n"


def completion(module: str, name: str, docstring: str) -> str:
    """The text of a function with `...` in place of the lines that its markers name.

    Raises ValueError where it has no marker.
    """
    lines = _function_lines(module, name, docstring)
    kept, position = [], 0
    while position < len(lines):
        line = lines[position]
        position += 1
        if not line.lstrip().startswith(MARKER):
            kept.append(line)
            continue
        indent = line[: len(line) - len(line.lstrip())]
        end = _end_of_marked(lines, position)
        kept += [line.replace(MARKER, "# TODO: "), *_placeholder(lines[position:end], indent)]
        position = end
    if not any("# TODO: " in line for line in kept):
        raise ValueError(f"completion: expected a marker {MARKER!r} in {module}.{name}, got none")
    return "\n".join(kept) + "\n"


def blank(module: str, name: str, docstring: str) -> str:
    """The text of a function of which only the first line and the docstring are left."""
    text = solution(module, name, docstring)
    head = text.splitlines()[: function_in(text).body[0].end_lineno]  # signature and docstring
    return "\n".join([*head, "    # TODO: write it", f"    {BLANK}"]) + "\n"


def exchanged(text: str, edits: Mapping[str, str]) -> str:
    """`text` with pieces of it exchanged. Raises ValueError unless each occurs in it exactly once."""
    for old, new in edits.items():
        if text.count(old) != 1:
            raise ValueError(f"exchanged: expected {old!r} once, found it {text.count(old)} times")
        text = text.replace(old, new)
    return text


def blanks_left(function: ast.AST) -> list[int]:
    """The line numbers of `...` in place of code in a function's syntax tree; x[...] is code."""
    values = [node.value for node in ast.walk(function) if isinstance(node, (ast.Expr, ast.Assign, ast.Return))]
    return sorted({value.lineno for value in values if isinstance(value, ast.Constant) and value.value is ...})


def _end_of_marked(lines: list[str], position: int) -> int:
    """One past the last line that a marker above `position` is about."""
    end = position
    indent = len(lines[position]) - len(lines[position].lstrip())
    while end < len(lines):
        text = lines[end].lstrip()
        outside = not text or text.startswith("#") or len(lines[end]) - len(text) < indent
        if outside or (end > position and text.startswith("return")):
            break
        end += 1
    return end


def _placeholder(lines: list[str], indent: str) -> list[str]:
    """What replaces these lines: the names that they assign to, or `return`, and `...`."""
    text = textwrap.dedent("\n".join(lines))
    if text.startswith("return"):
        return [f"{indent}return {BLANK}"]
    statements = parsed(text).body
    targets = [statement.targets[0] for statement in statements if isinstance(statement, ast.Assign)]
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    if len(names) == len(statements):
        return [f"{indent}{name} = {BLANK}" for name in names]
    return [indent + BLANK]


@lru_cache(maxsize=256)
def _function_lines(module: str, name: str, docstring: str | None) -> list[str]:
    """The lines of a function, dedented, with the given docstring or its own, without what the course leaves out."""
    source = inspect.getsource(import_module(module))
    node = _node_called(name, parsed(source).body)
    lines = source.splitlines()
    own_docstring = ast.get_docstring(node)
    start = node.body[0 if own_docstring is None else 1].lineno - 1
    while lines[start - 1].lstrip().startswith("#"):  # the comment on its first line
        start -= 1
    decorators = [lines[decorator.lineno - 1] for decorator in node.decorator_list]
    signature = " " * node.col_offset + _signature(node)
    quoted = _quoted(docstring or own_docstring, " " * (node.col_offset + 4))
    return textwrap.dedent("\n".join([*decorators, signature, *quoted, *lines[start : node.end_lineno]])).splitlines()


def _node_called(name: str, body: list[ast.stmt]) -> ast.FunctionDef:
    """The syntax tree of a function, or of a method "Class.method", among statements."""
    part, _, rest = name.partition(".")
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name == part:
            return _node_called(rest, node.body)
        if isinstance(node, ast.FunctionDef) and node.name == part:
            return node
    raise ValueError(f"expected a function {name}, found none")


def _signature(function: ast.FunctionDef) -> str:
    """The line `def name(arguments):` of a function's syntax tree, without types."""
    for node in ast.walk(function.args):
        if isinstance(node, ast.arg):
            node.annotation = None
    return f"def {function.name}({ast.unparse(function.args)}):"


def _quoted(docstring: str | None, indent: str) -> list[str]:
    """The lines of a docstring with its quotes; none for None."""
    if docstring is None:
        return []
    first, *rest = docstring.strip().splitlines()
    if not rest:
        return [f'{indent}"""{first}"""']
    return [f'{indent}"""{first}', *(indent + line if line.strip() else "" for line in rest), f'{indent}"""']
