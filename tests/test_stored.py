"""Results of PyTorch from a file, so that the comparison is made on machines without PyTorch too."""

import pytest

from tests import cases, stored

DESCRIPTION = stored.description()


@pytest.mark.parametrize("number", range(len(DESCRIPTION["cases"])))
def test_layers_and_losses(number):
    stored.check_case(number)


@pytest.mark.parametrize("number", range(len(DESCRIPTION["optimizers"])))
def test_optimizers(number):
    stored.check_optimizer(number)


@pytest.mark.parametrize("number", range(len(DESCRIPTION["schedules"])))
def test_schedules(number):
    stored.check_schedule(number)


def test_the_file_is_small_and_has_every_operation():
    assert stored.PATH.stat().st_size < 1_000_000
    assert {case["layer"] for case in DESCRIPTION["cases"]} == {case.layer for case in cases.ALL}
    assert len(DESCRIPTION["cases"]) >= 40
