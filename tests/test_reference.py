"""The reference backend is there to be read: each operation says its shapes, and each backward what it reverses."""

import inspect
import re
from pathlib import Path

import pytest

from minicnn.backends import reference
from minicnn.backends.declared import ARGUMENTS, CONTRACT, RESULTS
from minicnn.backends.protocol import OPERATIONS

pytestmark = pytest.mark.quick

FILES = sorted(Path(reference.__file__).parent.glob("*.py"))


def plain(name):
    """The function that the arithmetic stands in, without what extends it to `Images`."""
    return inspect.unwrap(getattr(reference, name))


def shapes_said(docstring):
    """{name: its shapes} of phrases like "mean, var (C,)" and "y and argmax (N, C, OH, OW)"."""
    said = {}
    for names, letters in re.findall(r"((?:\w+(?:,| and)\s)*\w+)\s\(([A-Z]+,(?:\s[A-Z]+)*(?:,\s[A-Z]+)*)\)", docstring):
        for name in re.split(r",\s|\sand\s", names):
            said.setdefault(name, set()).add(tuple(re.findall("[A-Z]+", letters)))
    return said


@pytest.mark.parametrize("name", CONTRACT)
def test_an_operation_says_its_shapes_in_the_letters_of_the_legend(name):
    docstring = inspect.getdoc(plain(name))
    said = shapes_said(docstring)
    for part in ARGUMENTS[name] + RESULTS[name]:
        if part.axes in (("any",), ("...",)):
            assert "of any shape" in docstring
            assert re.search(rf"\b{part.name}\b", docstring), part.name
        elif part.axes is not None:
            assert part.axes in said[part.name], part.name


@pytest.mark.parametrize("name", [name for name in CONTRACT if re.search("_backward$|_gradient$", name)])
def test_a_backward_quotes_the_forward_that_it_reverses(name):
    assert re.search(r"^forward: \S", inspect.getdoc(plain(name)), re.MULTILINE)


def test_every_function_of_the_backend_has_a_docstring():
    assert all(plain(name).__doc__ for name in OPERATIONS)


def test_mixed_sizes_stand_apart_from_the_arithmetic():
    assert [path.name for path in FILES if "Images" in path.read_text("utf-8")] == ["fused.py", "mixed.py"]
