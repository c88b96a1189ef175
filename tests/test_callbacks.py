"""Callbacks: when they are called and with what, how they end a run, and what the loggers write."""

import csv
import json
import struct

import numpy as np
import pytest

import minicnn
from minicnn.training.loggers import CSVLogger, JSONLinesLogger, TensorBoardLogger
from tests.runs import bits, small_run


@pytest.mark.quick
def test_they_are_called_after_each_step_and_each_epoch():
    seen = []
    trainer, train, validation = small_run(callbacks=[lambda *given: seen.append(given)])
    trainer.fit(train, validation, epochs=2)
    assert [event for _, event, _ in seen] == (["step"] * 5 + ["epoch"]) * 2
    assert all(given[0] is trainer for given in seen)
    steps = [values for _, event, values in seen if event == "step"]
    assert [values["step"] for values in steps] == list(range(1, 11))
    assert [values["epoch"] for values in steps] == [1] * 5 + [2] * 5
    assert {*steps[0]} == {"step", "epoch", "lr", "loss"}
    rows = [values for _, event, values in seen if event == "epoch"]
    assert rows == [{"step": 5 * row["epoch"]} | row for row in trainer.history]


def test_the_epoch_is_over_when_they_are_called():
    """So that what they save can be gone on with."""
    seen = []

    def look(trainer, event, values):
        if event == "epoch":
            seen.append((trainer.epoch, trainer.optimizer.lr, trainer._state.best["epoch"]))

    trainer, train, _ = small_run(callbacks=[look], schedule=lambda optimizer: minicnn.StepLR(optimizer, 1))
    trainer.fit(train, epochs=1)
    assert seen == [(1, pytest.approx(0.002), 1)]


def test_training_is_the_same_with_and_without_them():
    trainer, train, validation = small_run(callbacks=[lambda *_: None])
    trainer.fit(train, validation, epochs=2)
    twin, train, validation = small_run()
    twin.fit(train, validation, epochs=2)
    assert bits(twin.network) == bits(trainer.network)


@pytest.mark.parametrize(("event", "steps", "epochs"), [("step", 3, 0), ("epoch", 5, 1)])
def test_stop_ends_the_run_and_keeps_the_best(capsys, event, steps, epochs):
    def enough(trainer, which, values):
        if which == event and values["step"] >= steps:
            trainer.stop()

    trainer, train, _ = small_run(callbacks=[enough], keep_best=True)
    trainer.quiet = False
    trainer.fit(train, epochs=9)
    assert (trainer.optimizer.steps, trainer.epoch, trainer.interrupted) == (steps, epochs, False)
    output = capsys.readouterr().out
    assert f"stopped by a callback after step {steps}" in output
    assert ("kept the weights of epoch 1" in output) == (epochs == 1)
    trainer.callbacks.clear()
    trainer.fit(train, epochs=1)
    assert trainer.epoch == epochs + 1


def test_what_a_callback_raises_ends_the_run():
    def fail(trainer, event, values):
        raise OSError("disk full")

    trainer, train, _ = small_run(callbacks=[fail])
    with pytest.raises(OSError, match="disk full"):
        trainer.fit(train)
    assert trainer.optimizer.steps == 1


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        (print, r"a list of functions as callbacks, got <built-in .* put it into \[...\]"),
        (3, "a list of functions as callbacks, got 3"),
        ([print, "x"], r"functions \(trainer, event, values\) as callbacks, got 'x'"),
    ],
)
def test_what_is_no_list_of_functions_is_refused(callbacks, message):
    with pytest.raises(TypeError, match=message):
        small_run(callbacks=callbacks)


@pytest.mark.quick
def test_a_table_of_the_history(tmp_path):
    path = tmp_path / "run.csv"
    trainer, train, validation = small_run(callbacks=[CSVLogger(path)])
    trainer.fit(train, epochs=1)
    trainer.fit(train, validation, epochs=1)  # which adds columns
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert rows[0]["val_loss"] == ""
    for name, value in trainer.history[1].items():
        assert float(rows[1][name]) == value


@pytest.mark.quick
def test_json_lines(tmp_path):
    path = tmp_path / "run.jsonl"
    values = iter([0.5, np.float32(0.25), np.nan])
    metrics = {"share": lambda *_: next(values)}
    trainer, train, _ = small_run(callbacks=[JSONLinesLogger(path)], metrics=metrics)
    train.batch_size = 24
    trainer.fit(train, epochs=3)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["event"], line["step"], line["epoch"]) for line in lines] == [("epoch", n, n) for n in (1, 2, 3)]
    assert [line["share"] for line in lines] == [0.5, 0.25, None]
    assert "NaN" not in path.read_text()


def test_json_lines_of_each_step_go_on_in_a_second_run(tmp_path):
    path = tmp_path / "run.jsonl"
    for _ in range(2):
        trainer, train, _ = small_run(callbacks=[JSONLinesLogger(path, steps=True)])
        trainer.fit(train)
    events = [json.loads(line)["event"] for line in path.read_text().splitlines()]
    assert events == (["step"] * 5 + ["epoch"]) * 2


@pytest.mark.parametrize("logger", [CSVLogger, JSONLinesLogger])
def test_a_place_that_cannot_be_written_is_said_before_training(tmp_path, logger):
    with pytest.raises(FileNotFoundError, match="no folder"):
        logger(tmp_path / "nowhere" / "run")


def scalars(folder):
    """{tag: [(step, value)]} of the event files: records of a length, its checksum, the data, their checksum."""
    event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
    found = {}
    for path in folder.iterdir():
        content, position = path.read_bytes(), 0
        while position < len(content):
            (length,) = struct.unpack_from("<Q", content, position)
            event = event_pb2.Event.FromString(content[position + 12 : position + 12 + length])
            position += length + 16
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_tensorboards_event_files(tmp_path):
    pytest.importorskip("tensorboardX")
    logger = TensorBoardLogger(tmp_path / "run")
    trainer, train, validation = small_run(callbacks=[logger])
    trainer.fit(train, validation, epochs=2)
    logger.close()
    found = scalars(tmp_path / "run")
    assert [step for step, _ in found["step/loss"]] == list(range(1, 11))
    assert found["epoch/val_loss"] == [(5 * row["epoch"], np.float32(row["val_loss"])) for row in trainer.history]
    assert {"step/lr", "epoch/loss", "epoch/accuracy", "epoch/seconds"} <= found.keys()
