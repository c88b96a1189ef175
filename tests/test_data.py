"""Data: batches in an order that can be taken up again, and loaders that name what is wrong."""

import gzip
import io
import json
import pickle
import struct
import tarfile

import numpy as np
import pytest

from minicnn.data import (
    Batches,
    Dataset,
    LabelledImages,
    load_cifar10,
    load_digits,
    load_fashion_mnist,
    published_batch,
    standardised,
    trimmed,
)
from minicnn.data.fashion_mnist import DEBIAN_FOLDER
from minicnn.images import Images

pytestmark = pytest.mark.quick


def numbers(batches):
    return [x.tolist() for x, _ in batches]


def test_every_image_comes_once_an_epoch_with_its_label():
    batches = Batches(np.arange(10), np.arange(10) * 3, 4, shuffle=True, rng=0)
    assert len(batches) == 3
    pairs = [(x, y) for _ in range(2) for xs, ys in batches for x, y in zip(xs, ys, strict=True)]
    assert sorted(x for x, _ in pairs) == sorted([*range(10), *range(10)])
    assert all(y == 3 * x for x, y in pairs)


def test_each_epoch_has_its_own_order_and_each_seed_its_own():
    first, same, other = (Batches(np.arange(20), np.arange(20), 20, True, rng=seed) for seed in (0, 0, 1))
    orders = numbers(first) + numbers(first)
    assert orders == numbers(same) + numbers(same)
    assert orders[0] != orders[1] != numbers(other)[0]


@pytest.mark.parametrize("taken", [0, 1, 3, 4, 5, 8])
def test_the_order_can_be_taken_up_anywhere(taken):
    """`taken` batches of a run whose epochs have four."""

    def run(batches, epochs):
        return (x.tolist() for _ in range(epochs) for x, _ in batches)

    whole = list(run(Batches(np.arange(10), np.arange(10), 3, True, rng=0), 3))
    batches = Batches(np.arange(10), np.arange(10), 3, True, rng=0)
    stream = run(batches, 3)
    head = [next(stream) for _ in range(taken)]
    resumed = Batches(np.arange(10), np.arange(10), 3, True, rng=9)
    resumed.load_state_dict(batches.state_dict())
    assert head + list(run(resumed, 3))[: 12 - taken] == whole


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_the_state_of_every_generator_goes_through_json(kind):
    batches = Batches(np.arange(9), np.arange(9), 2, True, rng=np.random.Generator(kind(3)))
    stream = iter(batches)
    next(stream)
    state = json.loads(json.dumps(batches.state_dict()))
    resumed = Batches(np.arange(9), np.arange(9), 2, True, rng=np.random.Generator(kind(4)))
    resumed.load_state_dict(state)
    assert numbers(resumed) == [x.tolist() for x, _ in stream]
    assert numbers(resumed) == numbers(batches)


def test_a_new_loop_after_a_broken_one_is_a_new_epoch():
    batches = Batches(np.arange(6), np.arange(6), 2, True, rng=0)
    next(iter(batches))
    assert sorted(x for xs in numbers(batches) for x in xs) == list(range(6))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.zeros((0, 1)), np.zeros(0), 2), ValueError, "at least one image, got none"),
        ((np.zeros(3), np.zeros(2), 2), ValueError, "expected 3 labels, one an image, got 2"),
        ((np.zeros(3), np.zeros(3), 0), ValueError, "at least 1, got 0"),
        ((np.zeros(3), np.zeros(3), 1.5), TypeError, "expected an integer, got 1.5"),
    ],
)
def test_bad_batches(arguments, error, message):
    with pytest.raises(error, match=message):
        Batches(*arguments)


def test_the_published_batch():
    x, y = published_batch(rng=0)
    assert (x.shape, x.dtype, y.shape) == ((10, 3, 32, 32), np.float32, (10,))
    assert y.min() >= 0
    assert y.max() <= 9
    np.testing.assert_array_equal(published_batch(rng=0)[0], x)


def test_digits():
    digits = load_digits()
    assert digits.train.images.shape == (1437, 1, 8, 8)
    assert digits.test.images.shape == (360, 1, 8, 8)
    assert (digits.train.images.min(), digits.train.images.max()) == (0, 1)
    assert sorted(set(digits.train.labels)) == list(range(10))
    together = np.concatenate([digits.train.images, digits.test.images]).reshape(1797, -1)
    from sklearn.datasets import load_digits as original

    assert sorted(map(tuple, together * 16)) == sorted(map(tuple, original().data))


def test_standardised_uses_the_training_images_only():
    rng = np.random.default_rng(0)
    train = LabelledImages(
        rng.normal([[[[5]], [[7]]]], [[[[2]], [[0]]]], (50, 2, 3, 3)).astype(np.float32), np.zeros(50)
    )
    test = LabelledImages(train.images[:3] + 1, np.zeros(3))
    done = standardised(Dataset("d", train, test, ("a",), "made up"))
    np.testing.assert_allclose(done.train.images.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(done.train.images[:, 0].std(), 1, rtol=1e-5)
    assert np.isfinite(done.train.images).all()  # the second channel is constant
    scale = train.images[:, 0].std()
    np.testing.assert_allclose(done.test.images[:, 0], done.train.images[:3, 0] + 1 / scale, rtol=1e-4)


def test_split_is_disjoint_and_repeatable():
    images = LabelledImages(np.arange(10), np.arange(10))
    rest, part = images.split(3, rng=0)
    assert (len(rest), len(part)) == (7, 3)
    assert sorted([*rest.labels, *part.labels]) == list(range(10))
    np.testing.assert_array_equal(images.split(3, rng=0)[1].labels, part.labels)
    for bad in (0, 10):
        with pytest.raises(ValueError, match=f"1 to 9 images, got {bad}"):
            images.split(bad, rng=0)


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


def write_fashion_mnist(folder):
    for prefix, n_images in (("train", 5), ("t10k", 2)):
        pixels = np.arange(n_images * 28 * 28).reshape(n_images, 28, 28) % 256
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", pixels)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", np.arange(n_images))


def test_fashion_mnist_files(tmp_path):
    write_fashion_mnist(tmp_path)
    dataset = load_fashion_mnist(tmp_path)
    assert dataset.train.images.shape == (5, 1, 28, 28)
    assert dataset.train.images.dtype == np.float32
    assert dataset.train.images[0, 0, 0, :3].tolist() == pytest.approx([0, 1 / 255, 2 / 255])
    assert dataset.train.labels.tolist() == [0, 1, 2, 3, 4]
    assert len(dataset.test) == 2


@pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_fashion_mnist_itself():
    dataset = load_fashion_mnist()
    assert dataset.train.images.shape == (60000, 1, 28, 28)
    assert dataset.test.images.shape == (10000, 1, 28, 28)
    assert np.bincount(dataset.train.labels).tolist() == [6000] * 10
    assert dataset.train.images.mean() == pytest.approx(0.2860, abs=1e-4)  # as published with the set


def test_a_missing_file_says_which_where_and_how(tmp_path):
    write_fashion_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        load_fashion_mnist(tmp_path)
    for part in ("t10k-labels-idx1-ubyte.gz", str(tmp_path), "apt install dataset-fashion-mnist", "--data-dir"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-20], "cannot be unpacked"),
        (lambda content: b"plain", "cannot be unpacked"),
        (lambda content: gzip.compress(b""), "4|header"),
        (lambda content: gzip.compress(gzip.decompress(content)[:-1]), "bytes of data"),
        (lambda content: gzip.compress(b"\0\0\x08\x01" + gzip.decompress(content)[4:]), "3 axes"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, damage, message):
    write_fashion_mnist(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=message) as caught:
        load_fashion_mnist(tmp_path)
    assert str(path) in str(caught.value)


def test_labels_that_do_not_fit_are_refused(tmp_path):
    write_fashion_mnist(tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", np.arange(4))
    with pytest.raises(ValueError, match="expected 5 labels"):
        load_fashion_mnist(tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", np.arange(5) + 7)
    with pytest.raises(ValueError, match="labels from 0 to 9, got 11"):
        load_fashion_mnist(tmp_path)


CIFAR_FILES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


def cifar_pixels(number):
    return (np.arange(4 * 3072).reshape(4, 3072) * (number + 1) % 256).astype(np.uint8)


def write_archive(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def write_cifar(folder, form):
    members = {}
    for number, name in enumerate(CIFAR_FILES):
        pixels, labels = cifar_pixels(number), np.arange(4) + number
        if form == "python":
            content = pickle.dumps({b"batch_label": b"x", b"labels": labels.tolist(), b"data": pixels}, protocol=2)
            members[f"cifar-10-batches-py/{name}"] = content
        else:
            records = np.concatenate([labels[:, None].astype(np.uint8), pixels], axis=1)
            members[f"cifar-10-batches-bin/{name}.bin"] = records.tobytes()
    members["cifar-10-batches/readme.html"] = b"<html>"
    write_archive(folder / f"cifar-10-{form}.tar.gz", members)


@pytest.mark.parametrize("form", ["python", "binary"])
def test_cifar10_from_either_archive(tmp_path, form):
    write_cifar(tmp_path, form)
    dataset = load_cifar10(tmp_path)
    assert dataset.train.images.shape == (20, 3, 32, 32)
    np.testing.assert_allclose(dataset.train.images[4:8].reshape(4, -1), cifar_pixels(1) / np.float32(255))
    assert dataset.train.labels[4:8].tolist() == [1, 2, 3, 4]
    assert dataset.test.labels.tolist() == [5, 6, 7, 8]


def test_cifar10_missing_says_where_and_how(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cifar-10-python.tar.gz or cifar-10-binary.tar.gz in /.*cifar.html"):
        load_cifar10(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no archive at all", gzip.compress(b"no archive at all", mtime=0)])
def test_cifar10_damaged(tmp_path, content):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"cifar-10-python.tar.gz: expected CIFAR-10's archive"):
        load_cifar10(tmp_path)


def test_cifar10_truncated(tmp_path):
    write_cifar(tmp_path, "python")
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="expected CIFAR-10's archive"):
        load_cifar10(tmp_path)


def test_cifar10_incomplete(tmp_path):
    write_archive(tmp_path / "cifar-10-binary.tar.gz", {"x/data_batch_1.bin": bytes(3073)})
    with pytest.raises(ValueError, match="without data_batch_2, data_batch_3, data_batch_4, data_batch_5, test_batch"):
        load_cifar10(tmp_path)


class Hostile:
    def __reduce__(self):
        return print, ("this code must not run",)


def test_a_pickle_that_asks_for_code_is_refused(tmp_path, capsys):
    content = pickle.dumps({b"labels": [0], b"data": Hostile()})
    write_archive(tmp_path / "cifar-10-python.tar.gz", {"x/data_batch_1": content})
    with pytest.raises(ValueError, match=r"it asks for builtins\.print"):
        load_cifar10(tmp_path)
    assert capsys.readouterr().out == ""


# Images of different sizes.


def test_standardising_counts_every_pixel_of_images_of_different_sizes():
    rng = np.random.default_rng(0)
    train = [rng.normal(level, 1, (2, *size)) for level, size in ((0, (2, 3)), (5, (9, 20)), (1, (1, 1)))]
    test = [rng.normal(3, 2, (2, 4, 4))]
    parts = [LabelledImages(Images(images), np.zeros(len(images), np.int64)) for images in (train, test)]
    result = standardised(Dataset("d", *parts, ("a",), "nowhere"))
    pixels = np.concatenate([image.reshape(2, -1) for image in result.train.images], axis=1)
    np.testing.assert_allclose(pixels.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(pixels.std(axis=1), 1, atol=1e-12)
    before = np.concatenate([image.reshape(2, -1) for image in train], axis=1)
    mean, std = before.mean(axis=1)[:, None, None], before.std(axis=1)[:, None, None]
    np.testing.assert_allclose(result.test.images[0], (test[0] - mean) / std, atol=1e-12)


def test_trimming_keeps_what_is_not_zero():
    image = np.zeros((2, 5, 6), np.float32)
    image[0, 1, 2], image[1, 3, 4] = 1, -2  # the corners, in different channels
    result = trimmed(np.stack([image, np.zeros_like(image)]))
    np.testing.assert_array_equal(result[0], image[:, 1:4, 2:5])
    assert result.sizes.tolist() == [[3, 3], [1, 1]]  # an empty one keeps a pixel
