"""A checkpoint in which one entry is missing or another is refused with the reason, and changes nothing."""

import copy
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minicnn
from minicnn.data import Batches, ByPixels, Loader
from minicnn.training.checkpoint import load_run, save_run
from tests.runs import images_of_many_sizes, interrupt_after, small_network, small_problem, small_run


def adam_and_step_lr(seed=0):
    network = small_network(seed)
    optimizer = minicnn.Adam(network, lr=0.02)
    schedule = minicnn.StepLR(optimizer, 1, gamma=0.5)
    train = Batches(*small_problem(), 5, shuffle=True, rng=seed)
    return minicnn.Trainer(network, minicnn.NLLLoss(), optimizer, schedule=schedule, keep_best=True, quiet=True), train


def sgd_and_one_cycle(seed=0):
    network = small_network(seed)
    optimizer = minicnn.SGD(network, lr=0.02, momentum=0.5)
    schedule = minicnn.OneCycleLR(optimizer, 0.05, 30)
    train = Loader(images_of_many_sizes(), ByPixels(600, shuffle=True), rng=seed)
    settings = {"schedule": schedule, "schedule_every": "batch", "keep_best": True, "quiet": True}
    return minicnn.Trainer(network, minicnn.NLLLoss(), optimizer, **settings), train


RUNS = [adam_and_step_lr, sgd_and_one_cycle]


@pytest.fixture(scope="module", params=RUNS)
def saved(request, tmp_path_factory):
    """(how to begin such a run, arrays, numbers): a real file, of a run that Ctrl-C stopped within its second epoch."""
    trainer, train = request.param()
    interrupt_after(trainer, len(train) + 2)
    trainer.fit(train, small_validation(), epochs=3)
    assert trainer.interrupted
    path = tmp_path_factory.mktemp("saved") / "run"
    trainer.save(path, train)
    arrays, run = load_run(path)
    assert run["sums"]
    return request.param, arrays, run


def small_validation():
    return [small_problem(seed=1)]


def places(value, place=()):
    """Every place in a tree of dicts and lists."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield (*place, key)
        yield from places(entry, (*place, key))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([10**400, -(2**63), 2**63, 2**64, 2**31])
    | st.floats()
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def everything(trainer, train, path):
    trainer.save(path, train)
    arrays, run = load_run(path)
    bits = {name: (array.dtype, array.shape, array.tobytes()) for name, array in arrays.items()}
    return bits, run, copy.deepcopy(trainer.history)


def load(make_run, arrays, run, folder):
    """Load the file into a run under way; returns None, or the message of the ValueError, having looked at the rest."""
    save_run(folder / "spoilt", arrays, run)
    trainer, train = make_run(seed=1)
    trainer.fit(train, small_validation(), epochs=1)
    before = everything(trainer, train, folder / "before")
    order = copy.deepcopy(train.state_dict())
    try:
        trainer.load(folder / "spoilt", train)
    except ValueError as error:
        assert everything(trainer, train, folder / "after") == before
        assert train.state_dict() == order
        return str(error)
    # What is taken is another run, but a run: it goes on, or stops because its numbers do not stay finite.
    try:
        trainer.fit(train, small_validation(), epochs=1)
    except (RuntimeError, ValueError) as error:
        assert "finite" in str(error)  # noqa: PT017
    for name, array in trainer.network.state_dict().items():
        assert np.isfinite(array).all(), name
    return None


@settings(max_examples=150)
@given(data=st.data())
def test_an_entry_that_is_missing_or_another(saved, tmp_path_factory, data):
    make_run, arrays, run = saved
    run, place = copy.deepcopy(run), data.draw(st.sampled_from(list(places(run))))
    *above, key = place
    holder = run
    for step in above:
        holder = holder[step]
    drop = data.draw(st.booleans())
    if drop:
        del holder[key]
    else:
        holder[key] = data.draw(JSON)
    message = load(make_run, arrays, run, tmp_path_factory.mktemp("one"))
    new = ("monitor",), ("settings",), ("callbacks",), ("optimizer", "decay_vectors")  # which older files do not have
    may_be_missing = place in new or place[0] == "history" or place[:-1] == ("schedule",)
    if drop and not may_be_missing:
        assert message is not None, f"taken without {place}"
    if message is not None:
        assert "expected" in message or "was saved with" in message


def test_the_untouched_file_loads(saved, tmp_path):
    assert load(*saved, tmp_path) is None


WRONG = [-5, 1.5, "1", None, [], {}, True, math.nan, 10**400]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
@pytest.mark.parametrize(
    "place",
    [
        ("epoch",),
        ("seconds",),
        ("lr",),
        ("best", "epoch"),
        ("history",),
        ("sums",),
        ("sums", "loss"),
        ("sums", "number of images"),
        ("optimizer", "steps"),
        ("optimizer", "lr"),
        ("optimizer", "weight_decay"),
        ("schedule", "t"),
        ("batches", "position"),
    ],
    ids="/".join,
)
def test_numbers_that_cannot_be(saved, tmp_path, place, wrong):
    make_run, arrays, run = saved
    run = json.loads(json.dumps(run))
    holder = run if len(place) == 1 else run[place[0]]
    real = {"seconds", "lr", "loss", "weight_decay"}
    allowed = (wrong == 1.5 and place[-1] in real) or (wrong != wrong and place == ("sums", "loss"))
    allowed |= place == ("sums", "loss") and wrong == -5
    allowed |= (place == ("history",) and wrong == []) or (place == ("sums",) and wrong == {})
    holder[place[-1]] = wrong
    assert (load(make_run, arrays, run, tmp_path) is None) == bool(allowed)


@pytest.mark.parametrize("kind", ["network", "best", "optimizer"])
@pytest.mark.parametrize("spoil", ["missing", "unexpected", "shape", "dtype", "nan"])
def test_arrays_that_are_not_this_runs(saved, tmp_path, kind, spoil):
    make_run, arrays, run = saved
    arrays = {name: array.copy() for name, array in arrays.items()}
    names = [name for name in arrays if name.startswith(f"{kind}/") and arrays[name].ndim]
    name = sorted(names)[-1]
    if spoil == "missing":
        del arrays[name]
    if spoil == "unexpected":
        arrays[f"{kind}/other"] = arrays[name]
    if spoil == "shape":
        arrays[name] = arrays[name][..., None]
    if spoil == "dtype":
        arrays[name] = arrays[name].astype(np.int32)
    if spoil == "nan":
        arrays[name].flat[0] = np.nan
    message = load(make_run, arrays, run, tmp_path)
    assert "expected" in message or f"missing {name.partition('/')[2]}" in message


@pytest.mark.parametrize("run", [[], {}, None, 5, "run"])
def test_what_is_no_run_at_all(saved, tmp_path, run):
    make_run, arrays, _ = saved
    assert "expected" in load(make_run, arrays, run, tmp_path)


def test_a_run_saved_before_the_monitor_was_noted(tmp_path):
    trainer, train, validation = small_run(keep_best=True)
    trainer.fit(train, validation, epochs=2)
    trainer.save(tmp_path / "run", train)
    arrays, run = load_run(tmp_path / "run")
    del run["monitor"]
    save_run(tmp_path / "older", arrays, run)
    resumed, train, validation = small_run(keep_best=True)
    resumed.load(tmp_path / "older", train)
    history = resumed.fit(train, [(x, (y + 1) % 3) for x, y in validation], epochs=1)
    best = min(history, key=lambda row: row["val_loss"])
    assert best["epoch"] < 3
    assert resumed.evaluate(validation)["loss"] == pytest.approx(best["val_loss"], rel=1e-6)
