"""Every known mistake, handed in as a learner's file: rejected, and named. The table of it all is docs/mistakes.md."""

import random
from pathlib import Path

import pytest

from minicnn.learn.exercises import TASKS, source
from minicnn.learn.grader import check
from minicnn.learn.mistakes import MISTAKES, of_task
from minicnn.learn.mistakes.kill_rate import survivors
from minicnn.learn.mistakes.table import as_markdown, confusion

PAGE = Path(__file__).parent.parent / "docs" / "mistakes.md"


def handed_in(mistake, folder):
    """The verdict on a file in which this mistake was made."""
    exercise, asked = TASKS[mistake.task]
    wrong = source.exchanged(asked.solution(), mistake.edits)
    path = folder / f"{mistake.task}-{of_task(mistake.task).index(mistake)}.py"
    path.write_text(exercise.solution().replace(asked.solution(), wrong))
    assert wrong in path.read_text()
    return check(path, mistake.task)


def assert_rejected_and_named(mistake, folder):
    verdict = handed_in(mistake, folder)
    assert verdict.status == "wrong", verdict
    assert verdict.mistakes == (mistake.name,)
    assert mistake.message in verdict.details
    assert f"Ask yourself: {mistake.hint}" in verdict.details


def each(mistakes):
    ids = [f"{mistake.task}-{of_task(mistake.task).index(mistake)}" for mistake in mistakes]
    return pytest.mark.parametrize("mistake", mistakes, ids=ids)


@each(random.Random(0).sample(MISTAKES, 6))
def test_some_mistakes_are_rejected_and_named_in_a_process_of_their_own(mistake, tmp_path):
    assert_rejected_and_named(mistake, tmp_path)


@pytest.mark.slow
@each(MISTAKES)
def test_every_mistake_is_rejected_and_named_in_a_process_of_its_own(mistake, tmp_path):
    assert_rejected_and_named(mistake, tmp_path)


@pytest.mark.quick
def test_two_mistakes_at_once_are_both_named(tmp_path):
    exercise, asked = TASKS["batchnorm2d_train_backward"]
    path = tmp_path / "mine.py"
    text = asked.solution().replace("(dy - via_mean - via_variance)", "(dy - via_mean)")
    path.write_text(exercise.solution().replace(asked.solution(), text.replace("dbias / count", "dbias / len(x_hat)")))
    both = "the path through the variance is missing", "images counted, not pixels"
    assert check(path, asked.name).mistakes == both
    path.write_text(exercise.solution().replace(asked.solution(), text.replace("dbias / count", "dbias / 3.7")))
    assert check(path, asked.name).mistakes == ()  # half of it is known, and half is not

    sgd, asked = TASKS["sgd_step_"]
    text = asked.solution().replace("param -= lr", "param += lr").replace("velocity *= momentum", "velocity *= 0")
    path.write_text(sgd.solution().replace(asked.solution(), text))
    assert check(path, asked.name).mistakes == ("uphill", "momentum forgotten")


@pytest.mark.quick
def test_the_published_table_is_the_one_of_this_code():
    tables, kill_rate = confusion(), survivors()
    rows = [row for rows in tables.values() for row in rows]
    assert all(rejected and named == (mistake,) for mistake, rejected, named in rows)
    assert {mistake.task for mistake in kill_rate[1]} == {"log_softmax_forward"}
    assert PAGE.read_text() == as_markdown(tables, kill_rate)
