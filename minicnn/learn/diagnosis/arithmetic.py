"""Changes of arithmetic: a sum, a product, a quotient, a power, a comparison, a number.

A rule is a function from a node of a syntax tree to what may stand in its place, each with the words for it.
"""

import ast
from collections.abc import Iterator

from minicnn.learn.diagnosis.syntax import binary, call, power
from minicnn.learn.diagnosis.words import mention


def of_binary(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """A sum, product, quotient or power, with a part left out or another sign."""
    if not isinstance(node, ast.BinOp):
        return
    left, right = node.left, node.right
    if isinstance(node.op, (ast.Add, ast.Sub)):
        plus = isinstance(node.op, ast.Add)
        yield binary(left, ast.Sub() if plus else ast.Add(), right), f"{mention(right)} had the other sign"
        yield left, f"{mention(right)} were left out"
        yield right if plus else ast.UnaryOp(ast.USub(), right), f"{mention(left)} were left out"
        yield binary(left, node.op, binary(ast.Constant(2), ast.Mult(), right)), f"{mention(right)} counted twice"
        yield binary(binary(ast.Constant(2), ast.Mult(), left), node.op, right), f"{mention(left)} counted twice"
        yield binary(left, node.op, binary(right, ast.Div(), ast.Constant(2))), f"{mention(right)} counted half"
        yield binary(left, ast.Mult(), right), f"{mention(left)} and {mention(right)} were multiplied, not added"
    if isinstance(node.op, ast.Mult):
        yield left, f"{mention(right)} were left out, as a factor"
        yield right, f"{mention(left)} were left out, as a factor"
        yield binary(left, ast.Add(), right), f"{mention(left)} and {mention(right)} were added, not multiplied"
        yield binary(left, ast.Div(), right), f"it were divided by {mention(right)}, not multiplied"
        yield binary(right, ast.Div(), left), f"it were divided by {mention(left)}, not multiplied"
        yield binary(left, ast.Mult(), power(right, 2)), f"{mention(right)} were squared, as a factor"
        yield binary(power(left, 2), ast.Mult(), right), f"{mention(left)} were squared, as a factor"
    if isinstance(node.op, (ast.Div, ast.FloorDiv)):
        yield left, f"{mention(right)} were left out, as a divisor"
        yield binary(left, ast.Mult(), right), f"it were multiplied by {mention(right)}, not divided"
        yield binary(right, node.op, left), f"{mention(left)} and {mention(right)} had changed places in the quotient"
        yield binary(left, node.op, power(right, 2)), f"it were divided by {mention(right)} twice"
    if isinstance(node.op, ast.Pow):
        yield left, f"the power {mention(right)} were left out"
        for step in (-2, -1, 1, 2):
            words = f"the exponent {mention(right)} were {abs(step)} {'larger' if step > 0 else 'smaller'}"
            yield binary(left, ast.Pow(), binary(right, ast.Add(), ast.Constant(step))), words


def of_quotient(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """Other ways to round a quotient."""
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.FloorDiv)):
        return
    left, right = node.left, node.right
    up = ast.UnaryOp(ast.USub(), binary(ast.UnaryOp(ast.USub(), left), ast.FloorDiv(), right))
    yield up, "the quotient were rounded up"
    yield call("round", binary(left, ast.Div(), right)), "the quotient were rounded to the nearest"
    yield binary(node, ast.Add(), ast.Constant(1)), "1 were added to the quotient"
    yield binary(node, ast.Sub(), ast.Constant(1)), "1 were taken from the quotient"
    if isinstance(left, ast.BinOp) and isinstance(left.op, ast.Mult):
        first = "were divided first, and then multiplied"
        for one, other in ((left.left, left.right), (left.right, left.left)):
            yield binary(one, ast.Mult(), binary(other, ast.FloorDiv(), right)), f"{mention(other)} {first}"
            up = ast.UnaryOp(ast.USub(), binary(ast.UnaryOp(ast.USub(), other), ast.FloorDiv(), right))
            yield binary(one, ast.Mult(), up), f"{mention(other)} {first}, rounded up"
            quotient = binary(other, ast.Div(), right)
            yield call("int", binary(one, ast.Mult(), quotient)), f"{mention(other)} {first}, with floats"


def of_sign(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield node.operand, f"the minus before {mention(node.operand)} were left out"


def of_comparison(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """Bounds that count or do not, the other side, another threshold."""
    if not isinstance(node, ast.Compare):
        return
    opposite = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
    other_side = {ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt}
    what = mention(node.left) if not isinstance(node.left, ast.Constant) else mention(node.comparators[0])
    for position, op in enumerate(node.ops):
        for table, words in (
            (opposite, f"the bound of {what} itself counted otherwise (< for <=, or <= for <)"),
            (other_side, f"the comparison of {what} were the other way round"),
        ):
            if type(op) in table:
                ops = [*node.ops[:position], table[type(op)](), *node.ops[position + 1 :]]
                yield ast.Compare(node.left, ops, node.comparators), words
    for position, value in enumerate(node.comparators):
        if isinstance(value, ast.Constant) and isinstance(value.value, int):
            for other in (1, -1):
                values = [
                    *node.comparators[:position],
                    ast.Constant(value.value + other),
                    *node.comparators[position + 1 :],
                ]
                yield ast.Compare(node.left, node.ops, values), f"{what} were compared with {value.value + other}"


def of_constant(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        for step in (1, -1):
            yield ast.Constant(node.value + step), f"{node.value + step} stood in place of a {node.value}"
