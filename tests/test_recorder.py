"""Recording a run: what is noted is what happened, the file keeps within its bound, and training does not notice."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

import minicnn
from minicnn.data import Batches
from minicnn.inspect import Recorder, load_recording
from minicnn.inspect.recording.file import NORMS, SAMPLES
from minicnn.inspect.recording.thinning import Thinned
from minicnn.io.safetensors import read_safetensors, write_safetensors
from tests.runs import bits, interrupt_after, small_network, small_problem, small_run, without_times

IMAGE = small_problem(n_images=1, seed=7)[0][0]
PATH = "run.safetensors"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def watched_run(n_epochs=2, **settings):
    """(trainer, what its steps were): the same noted by hand around every step of the optimiser."""
    trainer, train, _ = small_run(**settings)
    network, optimizer, seen = trainer.network, trainer.optimizer, []
    step, forward = optimizer.step, trainer.loss.forward

    def noted_forward(*arguments):
        seen.append({"loss": forward(*arguments), "epoch": trainer.epoch + 1, "lr": optimizer.lr})
        return seen[-1]["loss"]

    def noted_step():
        named = {name: (layer, key) for name, layer, key in network.named_params()}
        before = {name: layer.params[key].copy() for name, (layer, key) in named.items()}
        state = network.state_dict()
        step()
        seen[-1] |= {
            "state": state,
            "weight": before,
            "gradient": {name: layer.grads[key].copy() for name, (layer, key) in named.items()},
            "update": {name: layer.params[key] - before[name] for name, (layer, key) in named.items()},
        }

    trainer.loss.forward, optimizer.step = noted_forward, noted_step
    trainer.fit(train, epochs=n_epochs)
    return trainer, seen


@pytest.mark.quick
def test_a_step_is_what_the_trainer_did():
    schedule = {"schedule": lambda optimizer: minicnn.OneCycleLR(optimizer, 0.05, 10), "schedule_every": "batch"}
    _, seen = watched_run(record=Recorder(PATH, IMAGE), max_grad_norm=0.5, **schedule)
    recording = load_recording(PATH)
    assert recording.step.tolist() == recording.array_step.tolist() == list(range(1, 11))
    assert recording.names == ["conv.weight", "conv.bias", "bn.weight", "bn.bias", "fc.weight", "fc.bias"]
    for column in ("epoch", "loss", "lr"):
        assert getattr(recording, column).tolist() == [step[column] for step in seen]
    for position, name in enumerate(recording.names):
        for norm, kind in zip(NORMS, SAMPLES, strict=True):
            whole = np.array([step[kind][name] for step in seen])
            np.testing.assert_allclose(
                getattr(recording, norm)[:, position],
                np.sqrt((whole.astype(np.float64) ** 2).sum(axis=tuple(range(1, whole.ndim)))),
            )
            kept = np.ix_(range(10), *[range(n) if k is None else k for n, k in kept_axes(recording, name)])
            np.testing.assert_array_equal(getattr(recording, kind)[name], whole[kept])


def kept_axes(recording, name):
    return zip(recording.shapes[f"parameter/{name}"], recording.kept[f"parameter/{name}"], strict=True)


@pytest.mark.parametrize("optimizer", [minicnn.SGD, minicnn.Adam, minicnn.AdamW])
def test_weights_and_updates_make_the_next_weights(optimizer):
    trainer, train, _ = small_run(optimizer=optimizer, record=PATH)
    trainer.fit(train, epochs=2)
    recording = load_recording(PATH)
    for name in recording.names:
        weight, update = recording.weight[name], recording.update[name]
        np.testing.assert_allclose(weight[:-1] + update[:-1], weight[1:], rtol=1e-6, atol=1e-9)
    assert recording.update["fc.weight"].all(axis=(1, 2)).all()


def test_the_update_ratio_is_unknown_where_a_weight_is_0():
    trainer, train, _ = small_run(record=PATH)
    trainer.fit(train)
    recording = load_recording(PATH)
    position = recording.names.index("bn.bias")
    assert recording.weight_norm[0, position] == 0
    assert np.isnan(recording.update_ratio[0, position])
    others = np.delete(recording.update_ratio.ravel(), position)
    expected = np.delete((recording.update_norm / np.fmax(recording.weight_norm, 1e-300)).ravel(), position)
    np.testing.assert_array_equal(others, expected)


def test_activations_belong_to_the_weights_before_the_step():
    """Of steps whose turn it was, and of the last, which is put together when the next weights are there already."""
    trainer, seen = watched_run(n_epochs=3, record=Recorder(PATH, IMAGE, max_bytes=19_000))
    recording = load_recording(PATH)
    assert recording.array_interval > 1
    assert (recording.array_step[-1] - recording.array_step[-2]) % recording.array_interval  # it was not its turn
    assert list(recording.activation) == ["conv", "bn", "relu", "pool", "flatten", "fc", "log_softmax"]
    for position, step in enumerate(recording.array_step.tolist()):
        network = small_network()
        network.load_state_dict(seen[step - 1]["state"])
        x = IMAGE[None]
        for name, layer in network.named_layers():
            x = layer.predict(x)
            rows, columns = (slice(None, None, 2),) * 2 if name in ("conv", "bn", "relu") else (slice(None),) * 2
            whole = x[0] if x.ndim == 2 else x[0][:, rows, columns]
            np.testing.assert_array_equal(recording.activation[name][position], whole, err_msg=name)
    np.testing.assert_array_equal(recording.image, IMAGE[:, ::2, ::2])
    assert trainer.network["conv"].memory is None


def test_layers_of_nested_networks_are_shown_by_their_dotted_names():
    inner = minicnn.Sequential(conv=minicnn.Conv2d(1, 2, 3, rng=0), relu=minicnn.ReLU())
    network = minicnn.Sequential(first=inner, flatten=minicnn.Flatten(), fc=minicnn.Linear(32, 3, rng=0))
    trainer = minicnn.Trainer(
        network, minicnn.CrossEntropyLoss(), minicnn.SGD(network, 0.1), record=Recorder(PATH, IMAGE), quiet=True
    )
    trainer.fit(Batches(*small_problem(), 8))
    recording = load_recording(PATH)
    assert list(recording.activation) == ["first.conv", "first.relu", "flatten", "fc"]
    assert recording.filters == "first.conv.weight"
    x = IMAGE[None].astype(np.float32)
    fresh = minicnn.Conv2d(1, 2, 3, rng=0)
    np.testing.assert_array_equal(recording.activation["first.conv"][0], fresh.predict(x)[0])


@pytest.mark.parametrize("max_bytes", [12_000, 20_000, 50_000])
@pytest.mark.parametrize("image", [None, IMAGE])
def test_a_run_of_any_length_keeps_within_the_bound(max_bytes, image):
    max_bytes += 8000 * (image is not None)
    trainer, train, _ = small_run(record=Recorder(PATH, image, max_bytes))
    trainer.network.to("reference")  # quicker than cpu for so few numbers
    for epochs in (1, 1, 3, 8, 20):
        trainer.fit(train, epochs=epochs)
        assert os.path.getsize(PATH) <= max_bytes
        recording = load_recording(PATH)
        last = trainer.optimizer.steps
        for steps, interval in (
            (recording.step, recording.interval),
            (recording.array_step, recording.array_interval),
        ):
            grid = list(range(1, last + 1, interval))
            assert steps.tolist() == grid + [last] * (grid[-1] != last)  # evenly spread, from the first to the last
    assert recording.array_interval >= 4
    assert os.path.getsize(PATH) > max_bytes / 3  # and the room is used


def test_thousands_of_steps_keep_within_the_bound():
    network = minicnn.Sequential(fc=minicnn.Linear(2, 2, rng=0)).to("reference")
    record = Recorder(PATH, max_bytes=8_000)
    trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.SGD(network, 0.1), record=record, quiet=True)
    data = Batches(np.eye(2, dtype=np.float32)[[0, 1] * 500], [0, 1] * 500, 1)
    trainer.fit(data, epochs=2)
    recording = load_recording(PATH)
    assert os.path.getsize(PATH) <= 8000
    assert recording.step[[0, -1]].tolist() == [1, 2000]
    assert set(np.diff(recording.step)[:-1].tolist()) == {recording.interval}
    assert recording.interval > 30


@pytest.mark.quick
def test_every_second_step_goes_where_there_are_too_many():
    thinned, kept = Thinned(most=4), []
    for step in range(1, 18):
        if thinned.is_due(step):
            thinned.keep(step, f"item {step}")
        kept.append(list(thinned.kept))
    assert kept[:10] == [
        *([1], [1, 2], [1, 2, 3], [1, 2, 3, 4]),
        *([1, 3, 5], [1, 3, 5], [1, 3, 5, 7], [1, 3, 5, 7]),
        *([1, 5, 9], [1, 5, 9]),
    ]
    assert kept[16] == [1, 9, 17]
    assert thinned.kept[9] == "item 9"


@pytest.mark.quick
def test_large_maps_are_sampled_more_coarsely_where_there_is_less_room():
    image = np.random.default_rng(0).standard_normal((3, 40, 50), np.float32)
    sides = []
    for max_bytes in (20_000_000, 4_000_000, 2_000_000):
        network = minicnn.SimpleNet(rng=0)
        record = Recorder(PATH, image, max_bytes)
        trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.SGD(network, 0.1), record=record)
        trainer.step(image[None], [1])
        record.save()
        recording = load_recording(PATH)
        _, _, height, width = recording.activation["relu3"].shape
        sides.append((height, width))
        assert recording.shapes["activation/relu3"] == (64, 40, 50)
        channels, rows, columns = recording.kept["activation/relu3"]
        assert (len(rows), len(columns)) == (height, width)
        assert channels == [0, 16, 32, 48]
        np.testing.assert_array_equal(recording.image, image[np.ix_(range(3), rows, columns)])
    assert sides == [(20, 25), (14, 13), (8, 8)]


def test_training_goes_to_the_same_bits_with_and_without():
    plain, train, validation = small_run()
    plain.fit(train, validation, epochs=4)
    for record in (PATH, Recorder("other", IMAGE, max_bytes=30_000)):
        recorded, train, validation = small_run(record=record)
        recorded.fit(train, validation, epochs=4)
        assert bits(recorded.network) == bits(plain.network)
        assert without_times(recorded.history) == without_times(plain.history)


def arrays_of(path):
    arrays, metadata = read_safetensors(path)
    return {name: array.tolist() for name, array in arrays.items()}, metadata


@pytest.mark.quick
@pytest.mark.parametrize("max_bytes", [26_000, 4_000_000])
@pytest.mark.parametrize("stop_after", [5, 7, 23])
def test_a_resumed_run_goes_on_in_the_same_recording(max_bytes, stop_after):
    whole, train, _ = small_run(record=Recorder("whole", IMAGE, max_bytes))
    whole.fit(train, epochs=8)

    first, train, _ = small_run(record=Recorder("parts", IMAGE, max_bytes), checkpoint="checkpoint")
    interrupt_after(first, stop_after)
    first.fit(train, epochs=8)
    assert first.interrupted
    assert load_recording("parts").step[-1] == stop_after  # Ctrl-C left a recording up to the last step

    second, train, _ = small_run(batches_seed=99, record=Recorder("parts", IMAGE, max_bytes))
    second.load("checkpoint", train)
    second.fit(train, epochs=8 - second.epoch)
    assert bits(second.network) == bits(whole.network)
    assert arrays_of("parts") == arrays_of("whole")


def test_steps_that_the_checkpoint_has_not_seen_are_dropped():
    """A killed process may have written its recording and not yet its checkpoint."""
    trainer, train, _ = small_run(record=PATH)
    trainer.fit(train)
    trainer.save("checkpoint", train)
    trainer.fit(train)
    assert load_recording(PATH).step[-1] == 10

    resumed, train, _ = small_run(batches_seed=99, record=PATH)
    resumed.load("checkpoint", train)
    train_once = list(train)[:1]
    resumed.fit(train_once)
    assert load_recording(PATH).step.tolist() == [1, 2, 3, 4, 5, 6]


def test_a_run_that_goes_back_to_a_checkpoint_forgets_what_came_after():
    trainer, train, _ = small_run(record=Recorder(PATH, max_bytes=12_000))
    trainer.fit(train)
    trainer.save("checkpoint", train)
    trainer.fit(train)
    trainer.load("checkpoint", train)
    with pytest.raises(RuntimeError, match="loss is nan at step 6"):
        trainer.fit([(x * np.nan, y) for x, y in train])
    assert load_recording(PATH).step.max() <= 5


def test_a_run_resumed_without_a_recording_begins_one():
    first, train, _ = small_run(checkpoint="checkpoint")
    first.fit(train)
    second, train, _ = small_run(record=PATH)
    second.load("checkpoint", train)
    second.fit(train)
    assert load_recording(PATH).step.tolist() == [6, 7, 8, 9, 10]


@pytest.mark.parametrize(
    "record",
    [lambda: Recorder(PATH), lambda: Recorder(PATH, IMAGE + 1), lambda: Recorder(PATH, IMAGE, max_bytes=19_000)],
)
def test_a_run_is_not_resumed_in_the_recording_of_another(record):
    first, train, _ = small_run(record=Recorder(PATH, IMAGE), checkpoint="checkpoint")
    first.fit(train)
    content = Path(PATH).read_bytes()
    second, train, _ = small_run(record=record(), batches_seed=99)
    before, order = bits(second.network), train.state_dict()
    with pytest.raises(ValueError, match="with another network, image or max_bytes; go on with the same"):
        second.load("checkpoint", train)
    assert (bits(second.network), train.state_dict(), second.epoch) == (before, order, 0)
    assert Path(PATH).read_bytes() == content


def test_a_new_run_replaces_the_recording_of_the_last():
    for _ in range(2):
        trainer, train, _ = small_run(record=PATH)
        trainer.fit(train)
    assert load_recording(PATH).step.tolist() == [1, 2, 3, 4, 5]


def test_a_recorder_serves_one_run():
    record = Recorder(PATH)
    first, train, _ = small_run(record=record)
    first.fit(train)
    second, train, _ = small_run(record=record)
    before = bits(second.network)
    with pytest.raises(ValueError, match="a step after step 5, got step 1; make a new Recorder for each run"):
        second.fit(train)
    after = bits(second.network)
    assert all(after[name] == before[name] for name in after if name.endswith(("weight", "bias")))


def test_a_run_that_fails_leaves_what_came_before():
    trainer, train, _ = small_run(record=Recorder(PATH, IMAGE, max_bytes=26_000))
    batches = list(train) + list(train) + list(train)
    batches[13] = np.full_like(batches[13][0], np.nan), batches[13][1]
    with pytest.raises(RuntimeError, match="loss is nan at step 14"):
        trainer.fit(batches)
    recording = load_recording(PATH)
    assert recording.step[-1] == recording.array_step[-1] == 13
    assert all(np.isfinite(array).all() for array in recording.activation.values())


def test_a_second_ctrl_c_leaves_no_torn_step():
    trainer, train, _ = small_run(record=Recorder(PATH, IMAGE, max_bytes=19_000))
    update = trainer.optimizer._update

    def interrupted(ops, params, slots, grads, weight_decay):
        update(ops, params[:1], [arrays[:1] for arrays in slots], grads[:1], weight_decay)
        if trainer.optimizer.steps == 13:  # and only the first parameter has changed
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        update(ops, params[1:], [arrays[1:] for arrays in slots], grads[1:], weight_decay)

    trainer.optimizer._update = interrupted
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(train, epochs=3)
    recording = load_recording(PATH)
    assert recording.array_interval > 1
    # Step 12, whose turn it was not, can no longer be told: its weights have begun to be those of step 13.
    for steps, interval in ((recording.step, recording.interval), (recording.array_step, recording.array_interval)):
        assert steps.tolist() == list(range(1, 12 + 1, interval))


def test_nothing_is_written_of_no_steps():
    record = Recorder(PATH)
    record.save()
    trainer, train, _ = small_run(record=record)
    with pytest.raises(RuntimeError, match="loss is nan at step 1"):
        trainer.fit([(x * np.nan, y) for x, y in train])
    assert not os.path.exists(PATH)


def test_a_failed_write_leaves_the_old_file(monkeypatch):
    trainer, train, _ = small_run(record=PATH)
    trainer.fit(train)
    content = Path(PATH).read_bytes()

    def full_disk(_):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        trainer.fit(train)
    assert Path(PATH).read_bytes() == content
    assert os.listdir() == [PATH]


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_have_the_dtype_of_the_network(backend, dtype):
    images, labels = small_problem()
    network = small_network().to(backend, dtype)
    trainer = minicnn.Trainer(
        network, minicnn.NLLLoss(), minicnn.Adam(network), record=Recorder(PATH, IMAGE), quiet=True
    )
    trainer.fit(Batches(images.astype(dtype), labels, 12))
    recording = load_recording(PATH)
    for arrays in (recording.weight, recording.gradient, recording.update, recording.activation):
        assert {array.dtype for array in arrays.values()} == {np.dtype(dtype)}


def test_a_path_that_cannot_be_written_is_refused_before_training():
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere; make it first"):
        small_run(record="nowhere/run.safetensors")
    with pytest.raises(IsADirectoryError, match="expected the path of a file to write, got a folder"):
        Recorder(".")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"image": [[1, 2]]}, TypeError, "Recorder: image: expected dtype float32 or float64, got int64"),
        ({"image": np.full((1, 6, 6), np.nan)}, ValueError, "image: expected finite numbers"),
        ({"image": minicnn.Images([IMAGE])}, TypeError, "Recorder: image: expected an array, got Images"),
        ({"max_bytes": 0}, ValueError, "max_bytes: expected at least 1, got 0"),
        ({"max_bytes": 1e6}, TypeError, "max_bytes: expected an integer"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        Recorder(PATH, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": IMAGE[None]}, r"image: expected an input of the network .* got shape \(1, 1, 6, 6\): Conv2d"),
        ({"image": IMAGE[:, :0]}, r"got shape \(1, 0, 6\): Conv2d: expected an input with at least one element"),
        ({"max_bytes": 5000}, r"max_bytes: expected at least \d+ for this network, got 5000"),
    ],
)
def test_what_the_network_does_not_take_is_said_before_the_first_step(arguments, message):
    trainer, train, _ = small_run(record=Recorder(PATH, **arguments))
    before = bits(trainer.network)
    with pytest.raises(ValueError, match=message):
        trainer.fit(train)
    assert bits(trainer.network) == before


def test_the_smallest_bound_that_is_named_suffices():
    trainer, train, _ = small_run(record=Recorder(PATH, IMAGE, max_bytes=100))
    with pytest.raises(ValueError, match="at least") as error:
        trainer.fit(train)
    least = int(str(error.value).split("at least ")[1].split()[0])
    trainer, train, _ = small_run(record=Recorder(PATH, IMAGE, least))
    trainer.network.to("reference")
    trainer.fit(train, epochs=30)
    assert os.path.getsize(PATH) <= least
    assert load_recording(PATH).step[[0, -1]].tolist() == [1, 150]


def recorded_file():
    trainer, train, _ = small_run(record=Recorder(PATH, IMAGE))
    trainer.fit(train)
    return read_safetensors(PATH)


@pytest.mark.parametrize("content", [b"", b"no safetensors file", None])
def test_a_damaged_file_is_named(content):
    recorded_file()
    whole = Path(PATH).read_bytes()
    Path(PATH).write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ValueError, match=f"{PATH}: expected a safetensors file"):
        load_recording(PATH)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda arrays, _: arrays.pop("loss"), r"loss: expected shape \(5,\), got None"),
        (lambda arrays, _: arrays.update({"weight/fc.bias": arrays["step"]}), r"weight/fc.bias: expected shape \(5, 3"),
        (lambda arrays, _: arrays.update(step=arrays["step"][::-1]), "steps in ascending order"),
        (lambda arrays, _: arrays.update(array_step=arrays["step"] + 1), "steps in ascending order"),
        (lambda _, description: description.pop("kept"), "KeyError: 'kept'"),
        (lambda _, description: description.update(interval=0), "interval: expected at least 1"),
        (lambda _, description: description.update(names=3), "TypeError"),
    ],
)
def test_a_file_that_does_not_fit_together_is_named(damage, message):
    arrays, metadata = recorded_file()
    description = json.loads(metadata["recording"])
    damage(arrays, description)
    write_safetensors(PATH, arrays, metadata | {"recording": json.dumps(description)})
    with pytest.raises(ValueError, match=f"{PATH}: the recording is damaged .*{message}.*record again"):
        load_recording(PATH)
    trainer, train, _ = small_run(record=Recorder(PATH, IMAGE))
    trainer.save("checkpoint", train)
    with pytest.raises(ValueError, match=message):
        trainer.load("checkpoint", train)


def test_other_files_are_told_apart():
    with pytest.raises(FileNotFoundError, match="no file nowhere"):
        load_recording("nowhere")
    minicnn.save_weights(small_network(), "weights")
    with pytest.raises(ValueError, match=r"weights: expected a recording that Trainer\(record=…\) wrote"):
        load_recording("weights")
    arrays, metadata = recorded_file()
    write_safetensors(PATH, arrays, metadata | {"format": "minicnn recording 2"})
    with pytest.raises(ValueError, match="expected a recording of format 1, got format 2; install the newest"):
        load_recording(PATH)
