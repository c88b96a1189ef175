"""Answers that the grader has never seen: wrong ones must not pass, right ones must, and what is said must be true."""

import numpy as np
import pytest

from minicnn.learn.exercises import EXERCISES, TASKS
from minicnn.learn.exercises.arguments.pooling import BY_HAND, SEPARATING, SEPARATING_FLOATS
from tests.answers import answers
from tests.answers.judging import is_accepted, judged, run
from tests.window_functions import LARGEST, all_windows, float_functions, whole_functions

WRONG, RIGHT = answers("wrong"), answers("right")


def of_exercise(found, exercise):
    return [answer for answer in found if TASKS[answer.task][0] is exercise]


def test_there_are_enough_of_them():
    assert len(WRONG) >= 200
    assert len(RIGHT) >= 120
    assert all(answer.teacher for answer in WRONG)
    for found in (WRONG, RIGHT):
        assert len({str(answer) for answer in found}) == len(found)
        assert {answer.task for answer in found} == set(TASKS)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_no_wrong_answer_passes(exercise, tmp_path):
    found = of_exercise(WRONG, exercise)
    assert [str(answer) for answer in found if is_accepted(answer.task, run(answer.task, answer.code, tmp_path))] == []


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_every_right_answer_passes(exercise, tmp_path):
    for answer in of_exercise(RIGHT, exercise):
        ran = run(answer.task, answer.code, tmp_path)
        assert is_accepted(answer.task, ran), f"{answer}: {judged(answer.task, answer.code, tmp_path)}"


# (task: what the answer does, a piece of what must be said)
SAID = {
    "linear_weight_gradient: sign": "the right one with the wrong sign",
    "linear_bias_gradient: keepdims": "right in its numbers, but has an axis too many",
    "linear_weight_gradient: not summed over images": "Summed over its axis 0",
    "relu_backward: relu6": "those where y is 6 or more are wrong",
    "relu_backward: leaky": "the numbers where y is 0 are wrong, and no others",
    "log_softmax_forward: mean for sum": "a mean stood in place of a sum of shifted",
    "nll_loss_backward: smoothing over N": "n_images stood in place of n_classes",
    "nll_loss_backward: divided by N too": "the right one divided by N, the number of images",
    "avg_pool2d_backward: mean of the shares": "the numbers of cells in more than one window are wrong, and no others",
    "avg_pool2d_backward: nominal area": "the extents were n_in / n_out",
    "conv2d_weight_gradient: vertical stride for both": "the vertical stride were used in both directions",
    "conv2d_weight_gradient: padding exchanged": "the two numbers of padding were exchanged",
    "conv2d_input_gradient: flipped along the columns": "reversed along its kernel columns",
    "batchnorm2d_eval_backward: eps outside the root": "eps stood outside of the root",
    "batchnorm2d_train_backward: factor 2 in the variance": "via_variance counted twice",
    "adam_step_: m without 1 - beta1": "the part with beta1 were left out, as a factor",
    "sgd_step_: decay sign": "weight_decay had the other sign",
    "sequential_backward: added": "dy were added to, where it should be replaced",
    "to_pixels: stride of the rows for both": "the vertical stride were used in both directions",
}


@pytest.mark.parametrize("name", SAID)
def test_what_is_said_of_answers_that_are_no_known_mistakes(name, tmp_path):
    answer = next(answer for answer in WRONG if str(answer) == name)
    verdict = judged(answer.task, answer.code, tmp_path)
    assert verdict.mistakes == ()
    assert SAID[name] in str(verdict), str(verdict)


def right_start(p, n_in, n_out):
    return p * n_in // n_out


def right_stop(p, n_in, n_out):
    return -(-(p + 1) * n_in // n_out)


@pytest.mark.parametrize("right", [right_start, right_stop], ids=["start", "stop"])
@pytest.mark.parametrize("family", [whole_functions, float_functions])
def test_no_wrong_window_function_is_right_on_all_cases(family, right):
    cases = all_windows([*BY_HAND, *SEPARATING, *SEPARATING_FLOATS])
    survivors = [
        (name, function) for name, function in family() if (np.asarray(function(*cases)) == right(*cases)).all()
    ]
    assert survivors  # or the cases would reject what is right as well
    for n_in in range(1, LARGEST + 1, 3):
        windows = all_windows([(n_in, n_out) for n_out in range(1, LARGEST + 1, 3)])
        for name, function in survivors:
            wrong = np.asarray(function(*windows)) != right(*windows)
            assert not wrong.any(), f"{name}: wrong for {n_in} cells and {windows[2][wrong.argmax()]} windows"
