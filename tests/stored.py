"""Reads tests/data/pytorch.safetensors, which `make_pytorch_data` writes, and holds minicnn against it."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from safetensors import safe_open

from tests import checks
from tests.cases import Case

PATH = Path(__file__).parent / "data" / "pytorch.safetensors"


def description():
    """What the file holds: {"torch": version, "cases": [...], "optimizers": [...], "schedules": [...]}."""
    with safe_open(PATH, "numpy") as file:
        return json.loads(file.metadata()["description"])


def arrays(prefix):
    """The arrays whose name begins with `prefix` and a dot, by the rest of the name."""
    with safe_open(PATH, "numpy") as file:
        names = [name for name in file.keys() if name.startswith(f"{prefix}.")]  # noqa: SIM118
        return {name.removeprefix(f"{prefix}."): file.get_tensor(name) for name in names}


def case(number):
    """(case, numbers as `checks.problem` gives them, results of PyTorch)."""
    fields = description()["cases"][number]
    inputs, results = arrays(f"cases.{number}.input"), arrays(f"cases.{number}.result")
    numbers = SimpleNamespace(
        x=inputs["x"].astype(np.float64),
        dy=inputs["dy"].astype(np.float64) if "dy" in inputs else None,
        targets=inputs.get("targets"),
        params=_part(inputs, "params."),
        state=_part(inputs, "state."),
    )
    fields |= {key: _tuples(fields[key]) for key in ("x", "args", "kwargs")}
    return Case(**fields), numbers, results


def _part(inputs, prefix):
    return {
        name.removeprefix(prefix): array.astype(np.float64) for name, array in inputs.items() if name.startswith(prefix)
    }


def _tuples(value):
    """JSON knows lists alone; the table is of tuples."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def check_case(number, backends=checks.BACKENDS):
    """A layer or loss."""
    of_table, numbers, expected = case(number)
    for backend in backends:
        for dtype in checks.DTYPES:
            actual = checks.run_minicnn(of_table, backend, dtype, numbers)
            what = f"{of_table}: {backend} {np.dtype(dtype)} against stored PyTorch"
            checks.assert_same_results(actual, expected, dtype, what)


def check_optimizer(number, backends=checks.BACKENDS):
    """The parameters after each of the stored steps."""
    name, kwargs = description()["optimizers"][number]
    start, noise = arrays("optimizers.start"), arrays("optimizers.noise")
    keys = ("weight", "bias")  # the order of the stored parameters
    steps = zip(*(noise[key] for key in keys), strict=True)
    problem = {key: start[key] for key in keys}, [dict(zip(keys, step, strict=True)) for step in steps]
    expected = arrays(f"optimizers.{number}")["params"]
    for backend in backends:
        for dtype in checks.DTYPES:
            actual, _ = checks.optimize_minicnn(name, kwargs, backend, dtype, *problem)
            checks.assert_close(actual, expected, dtype, f"{name} {kwargs}: {backend} against stored PyTorch")


def check_schedule(number):
    """Learning rate and momentum before each of 100 steps."""
    optimizer, schedule = description()["schedules"][number]
    expected = arrays(f"schedules.{number}")["settings"]
    _, actual = checks.optimize_minicnn(*optimizer, "reference", np.float64, *checks.optimizer_problem(), schedule)
    checks.assert_close(actual, expected, np.float64, f"{schedule} against stored PyTorch")
