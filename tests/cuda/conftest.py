"""Tests marked `cuda_sim` run in a process of their own:

NUMBA_ENABLE_CUDASIM=1 python -m pytest -m cuda_sim tests/cuda
"""

import pytest
from numba import config

from tests.cuda import ir_on_cpu


def pytest_collection_modifyitems(items):
    """Skip them, one by one and with the reason, where Numba was imported without its simulator."""
    if config.ENABLE_CUDASIM:
        return
    skip = pytest.mark.skip(reason="needs NUMBA_ENABLE_CUDASIM=1 before Numba is imported, in a process of its own")
    for item in items:
        if "cuda_sim" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _tools_for_ir(request):
    """Skip tests marked `cuda_ir` where tools are missing, with the reason; but fail where the mark asked for them."""
    reason = ir_on_cpu.missing_tools() if request.node.get_closest_marker("cuda_ir") else None
    if reason:
        (pytest.fail if "cuda_ir" in request.config.option.markexpr else pytest.skip)(reason)
