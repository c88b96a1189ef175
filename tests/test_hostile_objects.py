"""Nothing that is handed over ends the process, or is answered with numbers from elsewhere.

The rule, for any array or object that comes in through the public interface: it ends in the numbers that `reference`
has in float64 for the ordinary array of the same values, up to rounding, and twice in the same; or in ValueError or
TypeError (RuntimeError where a forward is missing or a number is not finite), before a parameter, a running statistic,
a state of the optimiser or its count of steps has changed. Examples are drawn by hypothesis and played in child
processes, each of at most 60 seconds; a crash is put down to the example that was written down before it.

The strategies. What is handed over (`tests/twists.py`, made of an array that would be right):

    dtypes      float16, float32, float64, long double, bool, integers, complex, big-endian, objects, text, words,
                dates, void, structured
    shapes      transposed (in place and copied), axes exchanged, channels last, 0-d, empty, an axis more before and
                behind, flat, one number, a row, a column, shorter, longer, half, a kernel for groups
    layouts     Fortran order, negative and zero strides, every other number, overlapping, misaligned, read-only, a part
                of a larger array
    subclasses  np.matrix, masked arrays, memmap, recarray, a user's, one that lies about its shape and flags
    no arrays   lists, tuples, ragged and recursive lists, numbers, None, words, bytes, dicts, sets, generators,
                buffers; objects with __array__ or __array_interface__: honest, changing, lying and raising; `Images`
    numbers     NaN, infinity

and where (`tests/hostile/recipes.py`, PLACES):

    layers      as input (forward, predict), as dy, as a parameter before forward or between forward and backward, as a
                running statistic, within `Images` and as their data, arrays resized between forward and backward;
                attributes changed after construction
    networks    the same through Sequential, plain and fused, in training and evaluation
    optimisers  SGD, momentum, Adam, AdamW: gradients, parameters and states before a step, with `clip_gradients` and
                without; arrays that are each other's alias
    Trainer     batches and labels; layers replaced, and the network moved to another dtype, after the optimiser was
                made
    losses      output, labels and class weights
    loading     `load_state_dict` of networks and optimisers
    use         every operation that a network calls, giving back any of the above, None, tuples of wrong length, its
                own argument, or an argmax out of range
    copies      copy, deepcopy and pickle of layers, and of a network with its loss and optimiser, amid a step
    operations  those of the backend themselves
"""

import json
import subprocess
import sys

import numpy as np
import pytest

from minicnn.backends.protocol import OPERATIONS
from tests.children import run_cases, summary
from tests.hostile import judge, world
from tests.test_contract import NOT_AN_ARRAY_OPERATION

# One child plays so many examples. The tenth of them that runs in every suite has seeds of its own.
EXAMPLES = 500


@pytest.fixture(scope="module", autouse=True)
def kernels_on_disk():
    """Compiled by another process, so that an example has its time for itself; children find them at the first call."""
    code = "import minicnn; [minicnn.get_backend('cpu').compile_kernels(dtype) for dtype in ('float32', 'float64')]"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    return [run_cases(tmp_path_factory.mktemp("hostile"), "tests.hostile", EXAMPLES, number) for number in (1, 2)]


def test_a_thousand_objects_end_in_right_numbers_or_in_an_error(outcomes):
    assert_all_kept(outcomes, 2 * EXAMPLES)


def test_they_reach_every_operation_and_every_kernel(outcomes):
    assert_all_reached(outcomes)


@pytest.mark.long
def test_ten_thousand_objects_end_in_right_numbers_or_in_an_error(tmp_path):
    outcomes = []
    for number in range(100, 120):
        folder = tmp_path / str(number)
        folder.mkdir()
        outcomes.append(run_cases(folder, "tests.hostile", EXAMPLES, number))
    assert_all_kept(outcomes, 10_000)
    assert_all_reached(outcomes)


def assert_all_kept(outcomes, expected):
    failed = [outcome for outcome in outcomes if outcome.failures]
    assert not failed, "\n\n".join(map(summary, failed))
    assert all(outcome.complete for outcome in outcomes)
    assert sum(outcome.begun for outcome in outcomes) >= expected


def assert_all_reached(outcomes):
    said = [json.loads(what) for outcome in outcomes for what in outcome.said]
    operations = {name for each in said for name in each["operations"]}
    # One stands between the processes that train together, and sees no object of a user's.
    assert operations >= set(OPERATIONS) - NOT_AN_ARRAY_OPERATION - {"fused_renormalised"}
    kernels, reached = ({name for each in said for name in each[which]} for which in ("kernels", "reached"))
    assert len(kernels) > 20
    assert reached == kernels


def other_numbers(x, weight, bias):
    return x @ weight.T + bias + np.float32(0.01)


def numbers_of_the_moment(x, weight, bias):
    return x @ weight.T + bias + np.random.default_rng().random(1, np.float32)


def no_error_of_ours(x, weight, bias):
    raise IndexError("list index out of range")


def changes_its_weight_and_raises(x, weight, bias):
    weight += 1
    raise ValueError("too late")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (other_numbers, "other numbers, off by"),
        (numbers_of_the_moment, "the second time"),
        (no_error_of_ours, "raised IndexError"),
        (changes_its_weight_and_raises, "changed before it raised"),
    ],
)
def test_the_judge_finds_what_is_planted(monkeypatch, wrong, said):
    recipe = ("layer predict", {"layer": "Linear"}, "plain", "float32", 0)
    judge.play(recipe)
    monkeypatch.setattr(world.CPU, "linear_forward", wrong)
    with pytest.raises(AssertionError, match=said):
        judge.play(recipe)


def test_the_judge_finds_an_answer_to_what_has_no_meaning(monkeypatch):
    recipe = ("layer predict", {"layer": "ReLU"}, "masked", "float32", 0)
    judge.play(recipe)
    monkeypatch.setattr(world.CPU, "asarray", np.asarray)
    with pytest.raises(AssertionError, match="no meaning"):
        judge.play(recipe)
