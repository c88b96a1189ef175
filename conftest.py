"""Doctests: all are quick; what pytest leaves alone when it looks for them; and runs of a sample of the cases.

To look into a lesson would be to run it, which tests/test_lessons.py does; three modules import PyTorch, which need not
be there, and have none.
"""

from collections import defaultdict
from zlib import crc32

import pytest

collect_ignore_glob = [
    "minicnn/learn/lessons/texts/*",
    "minicnn/verify/compare/pytorch.py",
    "minicnn/interop/torch_chain.py",
    "minicnn/interop/torch_residual.py",
]
FEW = 8  # cases of a test, which are never thinned out


def pytest_addoption(parser):
    help = f"of each test with more than {FEW} cases, run one case in N, the same ones in every run"
    parser.addoption("--one-in", type=int, default=1, metavar="N", help=help)


def pytest_configure(config):
    if config.option.one_in < 1:
        raise pytest.UsageError(f"--one-in: expected an integer from 1 on, got {config.option.one_in}")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config, items):
    for item in items:  # before -m is asked which tests to leave out
        if isinstance(item, pytest.DoctestItem):
            item.add_marker("quick")
    yield
    left_out = thinned_out(items, config.option.one_in)
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=list(left_out))


def thinned_out(items, one_in):
    """Those to be left out: of each test FEW cases stay, and one in `one_in`, chosen by what their names add up to."""
    cases = defaultdict(list)
    for item in items:
        cases[item.nodeid.partition("[")[0]].append(item)
    left_out = set()
    for group in cases.values():
        group.sort(key=lambda item: crc32(item.nodeid.encode()))
        left_out.update(group[max(FEW, -(-len(group) // one_in)) :])
    return left_out
