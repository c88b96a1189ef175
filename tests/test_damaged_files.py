"""Files that are damaged, or made to do harm: the right numbers or a ValueError, in bounded time and memory."""

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

import minicnn
from minicnn.inspect import load_recording
from minicnn.io.safetensors import read_safetensors, write_safetensors
from minicnn.training.checkpoint import load_run, save_run
from minicnn.verify.compare import recording as comparison_recording

ROOT = Path(minicnn.__file__).parent.parent


def network():
    layers = {"conv": minicnn.Conv2d(1, 2, 3, rng=0), "bn": minicnn.BatchNorm2d(2), "flat": minicnn.Flatten()}
    return minicnn.Sequential(**layers, fc=minicnn.Linear(8, 2, rng=0)).to("reference")


BATCH = np.random.default_rng(0).standard_normal((3, 1, 4, 4), np.float32), np.array([0, 1, 0])


def train(**options):
    trained = network()
    optimizer = minicnn.Adam(trained, lr=0.1)
    trainer = minicnn.Trainer(trained, minicnn.CrossEntropyLoss(), optimizer, fuse=False, quiet=True, **options)
    trainer.fit([BATCH])


def load_weights(path):
    other = network()
    minicnn.load_weights(other, path)
    return other.state_dict()


def load_classifier(path):
    classifier = minicnn.Classifier.load(path)
    numbers = {"mean": classifier.mean, "std": classifier.std, "max_side": classifier.max_side}
    return classifier.network.state_dict() | numbers | {"names": classifier.class_names}


# Each kind of file of ours: (how one is made at a path, how it is read, into something to compare, where its JSON is).
KINDS = {
    "weights": (lambda path: minicnn.save_weights(network(), path), load_weights, None),
    "a run": (lambda path: train(checkpoint=path), load_run, "run"),
    "a classifier": (
        lambda path: minicnn.Classifier(minicnn.SimpleNet(2, 1, rng=0), "ab", [0], [1]).save(path),
        load_classifier,
        "classifier",
    ),
    "a recording": (lambda path: train(record=minicnn.Recorder(path, BATCH[0][0])), load_recording, "recording"),
    "a comparison": (
        lambda path: minicnn.verify.compare.record(network(), *BATCH, path),
        comparison_recording.load,
        "comparison",
    ),
}


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """The path of a sound file of each kind."""
    folder = tmp_path_factory.mktemp("sound")
    for name, (make, _, _) in KINDS.items():
        make(folder / name)
    return {name: folder / name for name in KINDS}


def pieces(loaded):
    """What was loaded as one flat list of bytes and texts, which are compared to the bit."""
    if isinstance(loaded, np.ndarray):
        return [loaded.dtype.str, repr(loaded.shape), loaded.tobytes()]
    if isinstance(loaded, dict):
        return [part for key in loaded for part in (key, *pieces(loaded[key]))]
    if isinstance(loaded, (list, tuple)):
        return [part for item in loaded for part in pieces(item)]
    if hasattr(loaded, "__dataclass_fields__"):
        return pieces(vars(loaded))
    return [repr(loaded)]


def read_or_refused(load, path):
    """The `pieces` of what is in a file, or the ValueError that says why not."""
    try:
        return pieces(load(path))
    except ValueError as error:
        assert str(path) in str(error), error  # noqa: PT017, it may also be read
        assert len(str(error)) < 5000, error  # noqa: PT017
        return error


# Flipped bits


@pytest.mark.parametrize("name", KINDS)
def test_a_flipped_bit_is_noticed(files, tmp_path, name):
    """All bits of the header's first 400 bytes and of its last 16, and 500 bits of the rest."""
    _, load, _ = KINDS[name]
    content = bytearray(files[name].read_bytes())
    sound = pieces(load(files[name]))
    header = 8 + int.from_bytes(content[:8], "little")
    bits = {*range(8 * min(400, header)), *range(8 * (header - 16), 8 * (header + 1))}
    bits |= set(np.random.default_rng(0).integers(0, 8 * len(content), 500).tolist())
    noticed = 0
    for bit in sorted(bits):
        content[bit // 8] ^= 1 << bit % 8
        (tmp_path / "file").write_bytes(content)
        content[bit // 8] ^= 1 << bit % 8
        found = read_or_refused(load, tmp_path / "file")
        assert isinstance(found, ValueError) or found == sound, f"bit {bit} gives other numbers"
        noticed += isinstance(found, ValueError)
    # What may pass is a bit in the name under which the digest stands: the file is then one without a digest.
    assert len(bits) - noticed <= 8 * len("minicnn digest")


@pytest.mark.parametrize("name", KINDS)
def test_a_file_cut_off_anywhere_is_noticed(files, tmp_path, name):
    _, load, _ = KINDS[name]
    content = files[name].read_bytes()
    for length in [*range(0, 64), *range(64, len(content), len(content) // 50), len(content) - 1]:
        (tmp_path / "file").write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"/file"):
            load(tmp_path / "file")
    (tmp_path / "file").write_bytes(content + b"\0")
    with pytest.raises(ValueError, match=r"/file"):
        load(tmp_path / "file")


def test_swapped_numbers_names_and_settings_are_noticed(tmp_path):
    """What is no longer sound safetensors is not the point here: these are, but for the digest."""
    arrays = {"a": np.float32([[1, 2], [3, 4]]), "b": np.float32([5, 6])}
    write_safetensors(tmp_path / "file", arrays, {"lr": "0.1"})
    content = (tmp_path / "file").read_bytes()
    changes = {
        "numbers": content[:-16] + content[-8:] + content[-16:-8],
        "names": content.replace(b'"a"', b'"c"'),
        "a shape": content.replace(b"[2,2]", b"[4]  "),
        "a dtype": content.replace(b"F32", b"I32", 1),
        "a setting": content.replace(b"0.1", b"0.2"),
    }
    for changed in changes.values():
        assert changed != content
        (tmp_path / "file").write_bytes(changed)
        with pytest.raises(ValueError, match=r"/file: .*its digest does not fit"):
            read_safetensors(tmp_path / "file")


# Files of others, and of earlier versions


@pytest.mark.parametrize("name", [name for name in KINDS if name != "weights"])
def test_a_file_without_a_digest_loads(files, tmp_path, name):
    _, load, _ = KINDS[name]
    safetensors.numpy.save_file(*read_safetensors(files[name])[:1], tmp_path / "file", read_safetensors(files[name])[1])
    assert "minicnn digest" not in (tmp_path / "file").read_bytes()[:4000].decode("latin1")
    assert sorted(map(str, pieces(load(tmp_path / "file")))) == sorted(map(str, pieces(load(files[name]))))


EVERY_DTYPE = [np.bool_, *(np.dtype(f"{kind}{size}") for kind in "ui" for size in (1, 2, 4, 8)), "f2", "f4", "f8"]


def test_the_library_reads_our_files_and_we_read_its(tmp_path):
    rng = np.random.default_rng(0)
    shapes = [(), (1,), (3,), (2, 3), (0,), (2, 0, 3), (5, 1, 2)]
    arrays = {
        f"{np.dtype(dtype)} {shape} ä": np.asarray(rng.integers(0, 2, shape)).astype(dtype)
        for dtype, shape in itertools.product(EVERY_DTYPE, shapes)
    }
    metadata = {"a": "b", "ü": '"\\\n', "empty": ""}
    write_safetensors(tmp_path / "ours", arrays, metadata)
    safetensors.numpy.save_file(arrays, tmp_path / "theirs", metadata)
    theirs = safetensors.numpy.load_file(tmp_path / "ours")
    ours, found = read_safetensors(tmp_path / "theirs")
    assert found == metadata
    for name, array in arrays.items():
        for read in (theirs[name], ours[name]):
            assert (read.dtype, read.shape) == (array.dtype, array.shape)
            np.testing.assert_array_equal(read, array)


def test_numbers_in_another_order_of_bytes_are_written_as_what_they_are(tmp_path):
    write_safetensors(tmp_path / "file", {"a": np.array([1, 2, 3], ">f4"), "b": np.array([1, 2], ">i8")})
    arrays, _ = read_safetensors(tmp_path / "file")
    assert (arrays["a"].tolist(), arrays["b"].tolist()) == ([1, 2, 3], [1, 2])


@pytest.mark.torch
@pytest.mark.parametrize("name", ["bfloat16", "float16", "float64"])
def test_weights_of_other_floats_are_read_as_pytorch_converts_them(tmp_path, name):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    theirs = {key: torch.from_numpy(array) for key, array in network().state_dict().items()}
    theirs = {
        key: tensor.to(getattr(torch, name)) if tensor.is_floating_point() else tensor for key, tensor in theirs.items()
    }
    save_file(theirs, tmp_path / "file")
    for key, array in load_weights(tmp_path / "file").items():
        assert array.dtype == network().state_dict()[key].dtype
        np.testing.assert_array_equal(array, theirs[key].to(torch.from_numpy(array).dtype).numpy())


def test_every_bfloat16_is_the_float32_of_the_same_bits(tmp_path):
    bits = np.arange(2**16, dtype=np.uint16)
    write_header(tmp_path / "file", {"a": entry("BF16", [2**16], 0, 2**17)}, bits.tobytes())
    (array,) = read_safetensors(tmp_path / "file")[0].values()
    np.testing.assert_array_equal(array.view(np.uint32), bits.astype(np.uint32) << 16)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2"])
def test_floats_of_8_bits_are_refused_with_the_reason(tmp_path, name):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    save_file({"fc.weight": torch.ones(3).to(getattr(torch, name))}, tmp_path / "file")
    with pytest.raises(
        ValueError, match=r"/file: .*'fc.weight' has dtype 'F8_.*expected one of .*BF16.*tensor.float\(\)"
    ):
        minicnn.load_weights(network(), tmp_path / "file")


@pytest.mark.torch
def test_pytorch_reads_files_with_a_digest(files):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    for name in ("weights", "a classifier"):
        arrays, _ = read_safetensors(files[name])
        theirs = load_file(files[name])
        assert theirs.keys() == arrays.keys()
        assert all(torch.equal(theirs[key], torch.from_numpy(array)) for key, array in arrays.items())


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused(tmp_path, number):
    spoilt = network()
    arrays = spoilt.state_dict()
    arrays["fc.weight"][0, 3] = number
    write_safetensors(tmp_path / "file", arrays)
    with pytest.raises(ValueError, match=r"/file: expected finite numbers, got NaN or infinity in fc.weight"):
        minicnn.load_weights(network(), tmp_path / "file")
    spoilt["fc"].params["weight"][0, 3] = number
    minicnn.save_weights(network(), tmp_path / "good")
    good = (tmp_path / "good").read_bytes()
    with pytest.raises(ValueError, match=r"NaN or infinity in fc\.weight"):
        minicnn.save_weights(spoilt, tmp_path / "good")
    assert (tmp_path / "good").read_bytes() == good
    arrays = minicnn.SimpleNet(2, 1, rng=0).state_dict()
    arrays["bn1.running_var"][0] = number
    description = {"network": {"name": "SimpleNet", "num_classes": 2, "in_channels": 1}, "class_names": ["a", "b"]}
    metadata = {
        "format": "minicnn classifier 2",
        "classifier": json.dumps(description | {"mean": [0], "std": [1], "max_side": None}),
    }
    write_safetensors(tmp_path / "file", arrays, metadata)
    with pytest.raises(ValueError, match=r"/file: .*NaN or infinity in bn1.running_var"):
        minicnn.Classifier.load(tmp_path / "file")


def test_a_failed_load_names_the_file_and_changes_nothing(tmp_path):
    before = network()
    for wrong in ({"fc.bias": np.zeros(3, np.float32)}, {"fc.bias": np.zeros(2, np.int32)}, {"x": np.zeros(1)}):
        write_safetensors(tmp_path / "file", before.state_dict() | wrong)
        with pytest.raises(ValueError, match=r"/file: .*load_state_dict"):
            minicnn.load_weights(before, tmp_path / "file")
    assert pieces(before.state_dict()) == pieces(network().state_dict())
    write_safetensors(tmp_path / "file", {f"layer{n}.weight": np.zeros(1) for n in range(30_000)})
    with pytest.raises(ValueError, match=r"/file: ") as raised:
        minicnn.load_weights(before, tmp_path / "file")
    assert len(str(raised.value)) < 3000


# Headers


def write_header(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


FOUR = entry("F32", [4], 0, 16)
HEADERS = {
    "not JSON": b"{",
    "not UTF-8": b'{"\xff": 1}',
    "no dict": b"[]",
    "a number": b"3",
    "deep lists": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep dicts": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "one name twice": b'{"a":%s,"a":%s}' % ((json.dumps(FOUR).encode(),) * 2),
    "one key twice": b'{"a":{"dtype":"F32","shape":[4],"shape":[4],"data_offsets":[0,16]}}',
    "metadata twice": b'{"__metadata__":{"a":"1","a":"2"}}',
    "metadata of numbers": {"__metadata__": {"a": 1}, "a": FOUR},
    "metadata as a list": {"__metadata__": ["a"], "a": FOUR},
    "no entry": {"a": 3},
    "no dtype": {"a": {"shape": [4], "data_offsets": [0, 16]}},
    "no shape": {"a": {"dtype": "F32", "data_offsets": [0, 16]}},
    "no offsets": {"a": {"dtype": "F32", "shape": [4]}},
    "an unknown dtype": {"a": entry("F33", [4], 0, 16)},
    "a dtype that is a list": {"a": entry(["F32"], [4], 0, 16)},
    "a shape that is a number": {"a": entry("F32", 4, 0, 16)},
    "a shape that is a text": {"a": entry("F32", "4", 0, 16)},
    "a negative shape": {"a": entry("F32", [-2, -2], 0, 16)},
    "a shape of floats": {"a": entry("F32", [4.0], 0, 16)},
    "a shape of NaN": {"a": entry("F32", [float("nan")], 0, 16)},
    "a shape of truths": {"a": entry("F32", [True, 4], 0, 16)},
    "too many axes": {"a": entry("F32", [1] * 100 + [4], 0, 16)},
    "2**40 numbers": {"a": entry("F32", [2**40], 0, 2**42)},
    "2**40 numbers in 16 bytes": {"a": entry("F32", [2**40], 0, 16)},
    "a product beyond 64 bits": {"a": entry("F32", [2**32, 2**32, 4], 0, 16)},
    "digits without end": b'{"a":{"dtype":"F32","shape":[1%s],"data_offsets":[0,16]}}' % (b"0" * 1_000_000),
    "no numbers of 2**62": {"a": entry("F32", [0, 2**62, 2**62], 0, 0), "b": FOUR},
    "other bytes than the shape": {"a": entry("F32", [3], 0, 16)},
    "offsets turned round": {"a": entry("F32", [4], 16, 0)},
    "offsets of three": {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16, 16]}},
    "offsets of floats": {"a": entry("F32", [4], 0.0, 16.0)},
    "a gap": {"a": entry("F32", [2], 0, 8), "b": entry("F32", [1], 12, 16)},
    "an overlap": {"a": FOUR, "b": FOUR},
    "data left over": {"a": entry("F32", [2], 0, 8)},
    "data missing": {"a": entry("F32", [8], 0, 32)},
    "a truth of 2": {"a": entry("BOOL", [16], 0, 16)},
    "a name of a megabyte": {"a" * 1_000_000: entry("F33", [4], 0, 16)},
    "a dtype of a megabyte": {"a": entry("F" * 1_000_000, [4], 0, 16)},
    "half a character": {"\ud800": entry("F33", [4], 0, 16)},
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_wrong_header_is_named(tmp_path, name):
    write_header(tmp_path / "file", HEADERS[name], b"\2" * 16)
    with pytest.raises(ValueError, match=r"/file: expected a safetensors file") as raised:
        read_safetensors(tmp_path / "file")
    assert len(str(raised.value)) < 1000
    str(raised.value).encode()  # can be printed


@pytest.mark.parametrize("claimed", [2**40, 2**63, 2**64 - 1, 0, 7])
def test_a_wrong_length_of_the_header_is_named(tmp_path, claimed):
    (tmp_path / "file").write_bytes(claimed.to_bytes(8, "little") + b'{"a":1}' + bytes(100))
    with pytest.raises(ValueError, match=r"/file: expected a safetensors file"):
        read_safetensors(tmp_path / "file")


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any bytes"
    for form in (content, len(content).to_bytes(8, "little") + content):
        path.write_bytes(form)
        read_or_refused(read_safetensors, path)


# Descriptions, where the file itself is sound

ODD = st.recursive(
    st.sampled_from([None, True, 0, -1, 1, 0.5, float("nan"), float("inf"), 10**400, 2**40, "", "a", "weight"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=4,
)


def places(value, here=()):
    """The paths to everything within a JSON value, that itself included."""
    yield here
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from places(part, (*here, key))


def exchanged(value, place, new):
    if not place:
        return new
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[place[0]] = exchanged(value[place[0]], place[1:], new)
    return copied


@pytest.mark.parametrize("name", [name for name in KINDS if KINDS[name][2]])
@given(data=st.data())
def test_an_odd_description_is_refused_or_read(files, name, data):
    _, load, key = KINDS[name]
    arrays, metadata = read_safetensors(files[name])
    description = json.loads(metadata[key])
    place = data.draw(st.sampled_from(list(places(description))), label="place")
    new = data.draw(ODD, label="new")
    path = files[name].with_name("odd")
    write_safetensors(path, arrays, metadata | {key: json.dumps(exchanged(description, place, new))})
    read_or_refused(load, path)


@pytest.mark.parametrize("name", [name for name in KINDS if KINDS[name][2]])
@given(data=st.data())
def test_odd_arrays_are_refused_or_read(files, name, data):
    _, load, _ = KINDS[name]
    arrays, metadata = read_safetensors(files[name])
    key = data.draw(st.sampled_from(sorted(arrays)), label="array")
    odd = {
        "missing": None,
        "empty": np.zeros((0, *arrays[key].shape), arrays[key].dtype),
        "flat": arrays[key].reshape(-1),
        "one more axis": arrays[key][None],
        "a single number": np.zeros((), arrays[key].dtype),
        "integers": arrays[key].astype(np.int8),
        "halves": arrays[key].astype(np.float16),
        "truths": arrays[key].astype(bool),
        "large": np.full_like(arrays[key], 2**62 if arrays[key].dtype.kind == "i" else 1e30),
        "negative": np.full_like(arrays[key], -1),
    }
    new = odd[data.draw(st.sampled_from(sorted(odd)), label="instead")]
    path = files[name].with_name("odd")
    write_safetensors(path, {k: v for k, v in (arrays | {key: new}).items() if v is not None}, metadata)
    read_or_refused(load, path)


@pytest.mark.parametrize("name", [name for name in KINDS if KINDS[name][2]])
@pytest.mark.parametrize("text", [None, "", "{", "[]", "3", "null", "[" * 200_000, '{"a":' * 200_000, '{"a": NaN}'])
def test_a_damaged_description_names_the_file(files, tmp_path, name, text):
    _, load, key = KINDS[name]
    arrays, metadata = read_safetensors(files[name])
    metadata.pop(key) if text is None else metadata.update({key: text})
    write_safetensors(tmp_path / "file", arrays, metadata)
    if (name, text) == ("a run", '{"a": NaN}'):
        return  # a dict, of which more is asked by Trainer.load
    with pytest.raises(ValueError, match="/file"):
        load(tmp_path / "file")


def test_a_header_too_large_to_be_read_is_not_written(tmp_path):
    names = [f"class {number}" for number in range(3_000_000)]
    with pytest.raises(ValueError, match="metadata of at most"):
        save_run(tmp_path / "file", {}, {"names": names})
    assert os.listdir(tmp_path) == []
