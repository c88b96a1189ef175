"""Doctests: all are quick; and what pytest leaves alone when it looks for them.

To look into a lesson would be to run it, which tests/test_lessons.py does; two modules import PyTorch, which need not
be there, and have none.
"""

import pytest

collect_ignore_glob = [
    "minicnn/learn/lessons/texts/*",
    "minicnn/verify/compare/pytorch.py",
    "minicnn/interop/torch_chain.py",
]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Before -m is asked which tests to leave out."""
    for item in items:
        if isinstance(item, pytest.DoctestItem):
            item.add_marker("quick")
