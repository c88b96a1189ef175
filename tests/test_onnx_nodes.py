"""The ONNX project's own tests of its operators: our layers give the same numbers, or docs/onnx.md says why not.

Its loader has them: those that it makes itself ("node"), and those that were once written down with PyTorch.
"""

import collections
import warnings
from pathlib import Path

import numpy as np
import pytest

from tests import checks
from tests.onnx_reader import OPERATORS, Limit, compute

pytestmark = pytest.mark.onnx

PAGE = Path(__file__).parent.parent / "docs" / "onnx.md"
KINDS = ("node", "pytorch-converted", "pytorch-operator", "simple")


def table(*heads):
    """The rows of the table on the page that has these heads."""
    lines = iter(PAGE.read_text("utf-8").splitlines())
    for line in lines:
        if [cell.strip() for cell in line.strip("|").split("|")] == list(heads):
            break
    next(lines)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in iter(lambda: next(lines), "")]


def cases():
    """(name, node, inputs, expected outputs, tolerances) of every test of one of our operators by itself."""
    import onnx
    from onnx.backend.test.loader import load_model_tests

    for kind in KINDS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of NumPy, about examples of other operators
            found = load_model_tests(kind=kind)
        for case in found:
            model = case.model or onnx.load(Path(case.model_dir) / "model.onnx")
            nodes = model.graph.node
            if len(nodes) == 1 and nodes[0].op_type in OPERATORS:
                for inputs, outputs in case.data_sets or read_data(Path(case.model_dir), model):
                    yield case.name, nodes[0], inputs, outputs, {"rtol": case.rtol, "atol": case.atol}


def read_data(folder, model):
    from onnx import TensorProto, numpy_helper

    for place in sorted(folder.glob("test_data_set_*")):
        given, expected = (
            [
                numpy_helper.to_array(TensorProto.FromString((place / f"{kind}_{number}.pb").read_bytes()))
                for number in range(len(list(place.glob(f"{kind}_*.pb"))))
            ]
            for kind in ("input", "output")
        )
        kept = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        free = iter(given)
        yield [kept[name] if name in kept else next(free) for name in model.graph.node[0].input], expected


def test_each_test_of_our_operators_agrees_or_is_refused_for_a_reason_that_is_documented():
    from onnx.helper import get_attribute_value

    equal, refused, reasons = collections.Counter(), collections.Counter(), collections.Counter()
    for name, node, inputs, expected, tolerance in cases():
        settings = {attribute.name: get_attribute_value(attribute) for attribute in node.attribute}
        try:
            for backend in checks.BACKENDS:
                found = compute(node.op_type, settings, inputs, len(expected), backend)
                for one, other in zip(found, expected, strict=True):
                    assert (one.shape, one.dtype) == (other.shape, other.dtype), name
                    np.testing.assert_allclose(one, other, err_msg=f"{name} on {backend}", **tolerance)
        except Limit as limit:
            refused[node.op_type] += 1
            reasons[str(limit)] += 1
        else:
            equal[node.op_type] += 1
    assert [[name, str(equal[name]), str(refused[name])] for name in sorted(OPERATORS)] == table(
        "operator", "equal", "refused"
    )
    assert {reason: str(count) for reason, count in reasons.items()} == dict(table("our layers have", "refused"))
