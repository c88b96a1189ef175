"""A recorded run as a part of the page: its numbers, and that it leaves room for the rest."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import minicnn
from minicnn.cli.program import program
from minicnn.inspect import Recorder, inspect, load_recording, replay_data
from minicnn.inspect.sample import decoded
from tests.runs import small_problem, small_run

pytestmark = pytest.mark.quick

IMAGE = small_problem(n_images=1, seed=7)[0][0]


def recorded(path, max_bytes=30_000, epochs=12, image=IMAGE):
    trainer, train, _ = small_run(record=Recorder(path, image, max_bytes))
    trainer.network.to("reference")
    trainer.fit(train, epochs=epochs)
    return trainer, load_recording(path)


def numbers(recording):
    names = ("step", "epoch", "lr", "loss", "weight_norm", "gradient_norm", "update_norm", "update_ratio", "array_step")
    return {name: getattr(recording, name) for name in names}


def test_the_page_gets_the_recordings_numbers(tmp_path):
    _, recording = recorded(tmp_path / "run")
    replay = json.loads(json.dumps(replay_data(recording), allow_nan=False))
    for name, expected in numbers(recording).items():
        np.testing.assert_array_equal(decoded(replay[name]), expected, err_msg=name)
    assert replay["names"] == recording.names
    for kind in ("weight", "gradient", "update"):
        for name in recording.names:
            array = replay[kind][name]
            np.testing.assert_array_equal(decoded(array), getattr(recording, kind)[name])
            assert array["shape"] == [len(recording.array_step), *recording.shapes[f"parameter/{name}"]]
    for layer in replay["activation"]:
        np.testing.assert_array_equal(decoded(layer["value"]), recording.activation[layer["name"]])
        kept = recording.kept[f"activation/{layer['name']}"]
        assert layer["value"]["kept"] == (None if kept == [None] * len(kept) else {"axes": [None, *kept]})
    assert [layer["name"] for layer in replay["activation"]] == list(recording.activation)
    np.testing.assert_array_equal(decoded(replay["image"])[0], recording.image)
    assert replay["filters"] == "conv.weight"
    assert f"one step in {recording.array_interval}, and of the last" in replay["left_out"][1]


def test_without_an_image_there_are_no_activations(tmp_path):
    replay = replay_data(recorded(tmp_path / "run", image=None)[1])
    assert replay["activation"] == []
    assert replay["image"] is None


@pytest.mark.parametrize("max_characters", [30_000, 60_000, 150_000])
def test_a_long_recording_is_thinned_to_fit(tmp_path, max_characters):
    _, recording = recorded(tmp_path / "run", max_bytes=300_000)
    assert recording.interval == recording.array_interval == 1
    whole, replay = (replay_data(recording, most) for most in (10**9, max_characters))
    assert sum(map(len, data_of(replay))) <= max_characters + 4 * len(data_of(replay))  # each is filled up to 4
    assert sum(map(len, data_of(whole))) > max_characters
    for name, expected in numbers(recording).items():
        column, n = decoded(replay[name]), len(expected)
        thinned = [expected[np.unique([*range(0, n, every), n - 1])] for every in (1, 2, 4, 8, 16)]
        assert any(np.array_equal(column, one, equal_nan=True) for one in thinned), name
    assert len(decoded(replay["array_step"])) < len(recording.array_step)
    assert "one step in " in replay["left_out"][1]


def data_of(replay):
    """All base64 in it."""
    if isinstance(replay, dict):
        return [replay["data"]] if "data" in replay else [text for part in replay.values() for text in data_of(part)]
    return [text for part in replay for text in data_of(part)] if isinstance(replay, list) else []


def test_a_page_with_a_replay_keeps_its_size(tmp_path):
    images = np.random.default_rng(0).standard_normal((16, 3, 32, 32), np.float32)
    network = minicnn.SimpleNet(rng=0)
    trainer = minicnn.Trainer(
        network,
        minicnn.CrossEntropyLoss(),
        minicnn.SGD(network, 0.01),
        record=Recorder(tmp_path / "run", images[0], max_bytes=10_000_000),
        quiet=True,
    )
    trainer.fit([(images[:8], [0] * 8)] * 20)
    recording = load_recording(tmp_path / "run")
    for max_bytes in (2_000_000, 8_000_000):
        inspection = inspect(network, images, [1] * 16, replay=recording, max_bytes=max_bytes, path=tmp_path / "p.html")
        assert len(json.dumps(inspection.record, separators=(",", ":"))) < 1.02 * max_bytes
        assert (tmp_path / "p.html").stat().st_size < 10_000_000


def test_a_page_takes_a_recording_or_its_path(tmp_path):
    trainer, recording = recorded(tmp_path / "run")
    by_path = trainer.network.inspect(IMAGE, 1, replay=tmp_path / "run").record
    assert by_path["replay"] == trainer.network.inspect(IMAGE, 1, replay=recording).record["replay"]
    assert "replay" not in trainer.network.inspect(IMAGE, 1).record


def test_a_damaged_recording_leaves_no_page(tmp_path):
    trainer, _ = recorded(tmp_path / "run")
    (tmp_path / "run").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="run: expected a safetensors file"):
        trainer.network.inspect(IMAGE, 1, replay=tmp_path / "run", path=tmp_path / "page.html")
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere"):
        trainer.network.inspect(IMAGE, 1, replay=tmp_path / "nowhere", path=tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_the_command_line_takes_a_recording(tmp_path):
    recorded(tmp_path / "run")
    arguments = ["inspect", "--digit", "3", "--output", str(tmp_path / "page.html"), "--replay"]
    result = CliRunner().invoke(program, [*arguments, str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert '"array_step"' in (tmp_path / "page.html").read_text("utf-8")
    result = CliRunner().invoke(program, [*arguments, str(tmp_path / "nowhere")])
    assert result.exit_code == 1
    assert "no file" in result.output
