"""What the benchmarks compute from what they measure; that the measured network is the right one; who is left out."""

import configparser
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)


def measured(*seconds, answers=(1.0, 2.0)):
    return [{"seconds": one, "answers": list(answers), "peak_mb": 100.0} for one in seconds]


@pytest.mark.quick
def test_the_bound_is_the_one_that_was_computed_by_hand():
    import bound

    assert round(bound.plain_flops("step", "128 x 32") / 1e9, 2) == 18.35
    assert round(bound.flops("step", "128 x 32") / 1e9, 2) == 5.60
    assert round(bound.traffic("step", "128 x 32") / 1e6) == 221
    assert bound.flops("predict", "128 x 32") < bound.flops("step", "128 x 32") / 2
    assert bound.flops("step", "16 x 224") == pytest.approx(bound.flops("step", "128 x 32") * 16 * 49 / 128)


@pytest.mark.quick
def test_the_bound_is_the_longer_of_arithmetic_and_memory():
    import bound

    assert bound.seconds("step", "128 x 32", 333e9, 1e15) == pytest.approx(5.60e9 / 333e9, rel=1e-3)
    assert bound.seconds("step", "128 x 32", 1e15, 10e9) == pytest.approx(221.25e6 / 10e9, rel=1e-3)


@pytest.mark.quick
def test_the_bound_is_a_share_of_the_time_of_its_own_round():
    from bench import share_of_the_bound

    speed = [{"flops_per_second": peak, "bytes_per_second": 1e15} for peak in (400e9, 200e9)]
    found = share_of_the_bound("step", "128 x 32", measured(0.028, 0.056), speed)
    assert found == {"share of the bound": "50%"}


@pytest.mark.quick
def test_rows_are_named_by_their_cases():
    from engines.cases import named

    assert named("step", "10 x 32") == "step 10 × 32²"
    assert named("predict", "4 x 32 x 2") == "inference 4 × 32², 2 × the channels"


@pytest.mark.quick
def test_rows_can_be_chosen():
    from speed import BOTH_PASSES, NETWORKS, OPERATIONS, STEP_AND_PREDICT, chosen

    assert chosen(NETWORKS, STEP_AND_PREDICT, ["step 1 x 32"]) == [("step", "1 x 32")]
    assert chosen(OPERATIONS, BOTH_PASSES, ["linear 64x4096"]) == [
        (what, "linear 64x4096-4096") for what in BOTH_PASSES
    ]
    assert len(chosen(NETWORKS, STEP_AND_PREDICT, None)) == 8


@pytest.mark.quick
def test_the_best_is_named_and_the_ratio_is_taken_within_a_round():
    from bench import beside_the_best

    found = {
        "minicnn": measured(0.010, 0.030, 0.010),
        "unfused": measured(0.001, 0.001, 0.001),  # ours, and so not the best of the others
        "torch": measured(0.050, 0.050, 0.050),
        "torch-compiled": measured(0.040, 0.120, 0.040),
        "torch-compiled-channels-last": measured(0.020, 0.060, 0.020),
    }
    row = beside_the_best(found)
    assert row["best"] == "PyTorch compiled"
    assert row["PyTorch compiled ms"] == "20.0"
    assert row["ratio to the best"] == "0.50"  # of 0.5, 30 / 50 and 0.5
    assert "best" not in beside_the_best({name: found[name] for name in ("minicnn", "unfused")})


@pytest.mark.quick
def test_a_table_has_the_columns_of_all_its_rows():
    from tables import as_markdown

    text = as_markdown("head", {"title": [{"": "step", "a": "1"}, {"": "inference", "a": "2", "b": "3"}]})
    assert "|  | a | b |" in text
    assert "| step | 1 |  |" in text


@pytest.mark.quick
def test_an_engine_that_computes_something_else_is_refused():
    from bench import check_agreement

    def check(what, *answers):
        check_agreement(what, {"minicnn": measured(1), "jax": measured(1, answers=answers)})

    check("predict", 1.0, 2.00001)
    check("step", 1.0, 2.0002)
    for what, wrong in (("predict", 2.0002), ("step", 2.002), ("step", float("nan"))):
        with pytest.raises(RuntimeError, match="jax: expected minicnn's"):
            check(what, 1.0, wrong)


@pytest.mark.quick
def test_what_is_missing_is_left_out_and_said(monkeypatch):
    import engines

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jax" else name)
    monkeypatch.setattr(engines.shutil, "which", lambda _: None)
    names, said = engines.present(engines.OTHERS)
    assert names == ["torch", "torch-channels-last", "onnxruntime", "openvino"]
    assert said == [
        "JAX is left out: jax not installed (pip install 'minicnn-numba[engines]')",
        "PyTorch compiled is left out: it needs a C++ compiler, and there is no g++",
    ]


@pytest.mark.quick
def test_who_cannot_keep_to_avx2_is_left_out(monkeypatch):
    import engines

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    names, said = engines.present(["onnxruntime", "openvino", "jax"], "avx2")
    assert names == ["jax"]
    reason = "is left out: it has no setting that keeps all of it to AVX2"
    assert said == [f"OpenVINO {reason}", f"onnxruntime {reason}"]


def test_the_worker_measures():
    from bench import Bench, check_agreement

    bench = Bench(rounds=1, threads=2)
    check_agreement("predict", bench.alternate({name: (name, "predict", "1 x 8") for name in ("minicnn", "unfused")}))


@pytest.mark.torch
def test_pytorch_is_given_the_same_network_and_images():
    from bench import Bench, check_agreement

    names = ("minicnn", "torch", "torch-channels-last")
    contestants = {name: (name, "step", "2 x 8") for name in names}
    check_agreement("step", Bench(rounds=1, threads=2).alternate(contestants))


@pytest.mark.quick
def test_the_extra_has_what_the_engines_import():
    from engines import OTHERS

    setup = configparser.ConfigParser()
    setup.read(BENCHMARKS.parent / "setup.cfg")
    extra = setup["options.extras_require"]["engines"].split()
    packages = {requirement.partition(">")[0] for requirement in extra}
    assert packages == {package for engine in OTHERS.values() for package in engine.needs}


@pytest.mark.quick
def test_the_commands_say_how_they_are_used():
    ended = subprocess.run(
        [sys.executable, BENCHMARKS / "speed.py", "--help"], env=os.environ, capture_output=True, text=True
    )
    assert ended.returncode == 0
    assert "--isa" in ended.stdout
