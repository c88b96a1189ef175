"""Tests marked `cuda_sim` run in a process of their own:

NUMBA_ENABLE_CUDASIM=1 python -m pytest -m cuda_sim tests/cuda
"""

import pytest
from numba import config


def pytest_collection_modifyitems(items):
    """Skip them, one by one and with the reason, where Numba was imported without its simulator."""
    if config.ENABLE_CUDASIM:
        return
    skip = pytest.mark.skip(reason="needs NUMBA_ENABLE_CUDASIM=1 before Numba is imported, in a process of its own")
    for item in items:
        if "cuda_sim" in item.keywords:
            item.add_marker(skip)
