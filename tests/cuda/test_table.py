"""All of the awkward table through layers and losses of the cuda backend, against the loops, in both dtypes.

Kernels run on the CPU from their own IR, see `ir_on_cpu`.
"""

import pytest

from tests import cases, checks
from tests.cuda import ir_on_cpu

pytestmark = pytest.mark.cuda_ir


@pytest.fixture(autouse=True)
def _device():
    """A device for the test."""
    from tests.cuda.host_device import host_device

    with host_device(ir_on_cpu.shuffled(seed=0)):
        yield


@pytest.mark.parametrize("case", cases.ALL + cases.MIXED, ids=cases.name_of)
def test_against_the_loops(case):
    checks.check_against_naive(case, backends=["cuda"])
