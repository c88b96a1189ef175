"""Loader: the same batches whatever the threads do, in an order that can be taken up again, and no thread left over."""

import gc
import json
import threading
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import minicnn
from minicnn.data import (
    Batches,
    ByCount,
    ByPixels,
    ImageFolder,
    LabelledImages,
    Loader,
    color_jitter,
    random_flip,
    random_resize,
)
from minicnn.images import Images


def numbers(batches):
    """What a run of batches holds, to the last bit."""
    return [(images.data.tobytes(), images.sizes.tolist(), labels.tolist()) for images, labels in batches]


def pictures(n_images, rng=0):
    rng = np.random.default_rng(rng)
    images = [rng.random((3, *rng.integers(1, 9, 2)), np.float32) for _ in range(n_images)]
    return LabelledImages(Images(images), np.arange(n_images))


def augment(image, rng):
    return color_jitter(random_flip(random_resize(image, rng), rng), rng, 0.5, 0.5, 0.5)


@pytest.fixture
def folder(tmp_path):
    """Twelve images of two classes, two of them damaged."""
    rng = np.random.default_rng(0)
    for n in range(12):
        path = tmp_path / "ab"[n % 2] / f"{n:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*rng.integers(8, 20, 2), 3), np.uint8)).save(path)
        if n in (3, 8):
            path.write_bytes(path.read_bytes()[:-100])
    return ImageFolder(tmp_path)


# Orders.

sizes_of_images = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=60)


@given(sizes_of_images, st.integers(1, 20), st.booleans(), st.booleans(), st.integers(0, 9))
def test_by_count_every_image_comes_once(sizes, batch_size, shuffle, bucketed, seed):
    order = ByCount(batch_size, shuffle, bucketed)
    batches = order.batches(sizes, np.random.default_rng(seed))
    assert sorted(np.concatenate(batches)) == list(range(len(sizes)))
    lengths = sorted(map(len, batches))
    assert lengths[1:] == [batch_size] * (len(batches) - 1)
    assert 0 < lengths[0] <= batch_size
    again = order.batches(sizes, np.random.default_rng(seed))
    assert [chosen.tolist() for chosen in again] == [chosen.tolist() for chosen in batches]


@pytest.mark.quick
@given(sizes_of_images, st.integers(1, 4000), st.booleans(), st.booleans(), st.integers(0, 9))
def test_by_pixels_no_batch_is_above_the_budget_but_a_single_image(sizes, max_pixels, shuffle, bucketed, seed):
    batches = ByPixels(max_pixels, shuffle, bucketed).batches(sizes, np.random.default_rng(seed))
    assert sorted(np.concatenate(batches)) == list(range(len(sizes)))
    areas = np.prod(sizes, axis=1)
    for chosen in batches:
        assert len(chosen) == 1 or 0 < areas[chosen].sum() <= max_pixels
    if not (shuffle and bucketed):  # no batch could have taken the next image as well
        for chosen, following in pairwise(batches):
            assert areas[chosen].sum() + areas[following[0]] > max_pixels


@given(sizes_of_images, st.integers(0, 9))
def test_in_buckets_images_of_like_area_meet(sizes, seed):
    batches = ByCount(5, shuffle=True, bucketed=True).batches(sizes, np.random.default_rng(seed))
    areas = np.prod(sizes, axis=1)
    buckets = np.floor(2 * np.log2(areas))
    spans = sorted((buckets[chosen].min(), buckets[chosen].max()) for chosen in batches)
    for (_, high), (low, _) in pairwise(spans):
        assert high <= low


def test_in_buckets_chance_decides_who_meets_and_when():
    sizes = np.repeat([[10, 10], [20, 20], [40, 40]], 40, axis=0)
    order = ByCount(10, shuffle=True, bucketed=True)
    first, second = (order.batches(sizes, np.random.default_rng(seed)) for seed in (0, 1))
    assert {frozenset(chosen.tolist()) for chosen in first}.isdisjoint({frozenset(c.tolist()) for c in second})
    groups = [[int(chosen[0]) // 40 for chosen in batches] for batches in (first, second)]
    assert groups[0] != groups[1] != sorted(groups[1])
    assert all(len({n // 40 for n in chosen.tolist()}) == 1 for chosen in first)


def test_in_a_bucket_images_stay_in_the_order_drawn():
    sizes = np.tile([[9, 9], [3, 3]], (500, 1))
    [chosen] = ByCount(1000, bucketed=True).batches(sizes, rng=None)
    assert chosen.tolist() == [*range(1, 1000, 2), *range(0, 1000, 2)]


@pytest.mark.parametrize("kind", [ByCount, ByPixels])
def test_bad_orders(kind):
    with pytest.raises(ValueError, match="expected at least 1, got 0"):
        kind(0)
    with pytest.raises(TypeError, match=r"expected an integer, got 1.5"):
        kind(1.5)


# The loader.


def test_batches_are_what_the_source_has():
    source = pictures(7)
    batches = list(Loader(source, ByCount(3)))
    assert [labels.tolist() for _, labels in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    for images, labels in batches:
        assert (type(images), images.dtype, labels.dtype) == (Images, np.float32, np.int64)
        for image, label in zip(images, labels, strict=True):
            np.testing.assert_array_equal(image, source.images[int(label)])


def test_an_array_is_a_source_too():
    source = LabelledImages(np.arange(24, dtype=np.float32).reshape(4, 1, 2, 3), np.arange(4))
    batches = list(Loader(source, ByPixels(12)))
    assert [images.as_array().tolist() for images, _ in batches] == source.images.reshape(2, 2, 1, 2, 3).tolist()


def test_what_an_augmentation_writes_on_is_its_own():
    source = pictures(3)
    before = source.images.data.copy()

    def darken(image, rng):
        image *= 0
        return image

    [(images, _)] = Loader(source, ByCount(3), augment=darken)
    assert not images.data.any()
    np.testing.assert_array_equal(source.images.data, before)


@pytest.mark.quick
@pytest.mark.parametrize("order", [ByCount(3, shuffle=True), ByPixels(500, shuffle=True, bucketed=True)])
def test_the_same_batches_for_any_number_of_threads(folder, order):
    """Also in an epoch that already knows the damaged files, and with threads that are late by chance."""

    def late(image, rng):
        time.sleep(np.random.default_rng().uniform(0, 0.003))
        return augment(image, rng)

    runs = []
    for workers, function in ((1, augment), (4, late), (2, late)):
        loader = Loader(ImageFolder(folder.path), order, augment=function, rng=5, workers=workers)
        runs.append([numbers(loader) for _ in range(3)])
    assert runs[0] == runs[1] == runs[2]
    assert runs[0][0] != runs[0][1]
    assert all(sum(len(labels) for _, _, labels in epoch) == 10 for epoch in runs[0])


def test_every_image_of_every_epoch_has_its_own_random_numbers():
    drawn = []

    def note(image, rng):
        drawn.append(rng.random())
        return image

    loader = Loader(pictures(10), ByCount(3, shuffle=True), augment=note, rng=0)
    for _ in range(3):
        list(loader)
    assert len(set(drawn)) == 30
    first_of_the_order = np.random.default_rng(np.random.SeedSequence(loader.state_dict()["seed"], spawn_key=(0, 0)))
    assert first_of_the_order.random() not in drawn


def test_the_seed_is_all_that_is_drawn_from_the_generator():
    runs = [numbers(Loader(pictures(9), ByCount(2, shuffle=True), rng=rng)) for rng in (4, np.random.default_rng(4), 5)]
    assert runs[0] == runs[1] != runs[2]


def test_an_augmentation_may_compute_in_float64_and_change_sizes():
    [(images, _)] = Loader(pictures(4), ByCount(4), augment=lambda image, rng: image.astype(np.float64)[:, :1, :1])
    assert (images.dtype, images.sizes.tolist()) == (np.float32, [[1, 1]] * 4)


def test_bad_files_leave_their_batch_smaller_and_empty_batches_are_passed_over(folder):
    assert (folder.paths[4].name, folder.paths[7].name) == ("08.png", "03.png")
    for _ in range(2):
        assert [len(images) for images, _ in Loader(folder, ByCount(5))] == [4, 4, 2]
    alone = Loader(folder, ByCount(1))
    assert (len(alone), len(list(alone))) == (12, 10)


@pytest.mark.parametrize("taken", [0, 1, 3, 4, 5, 9, 12])
def test_a_run_can_be_taken_up_anywhere(folder, taken):
    """`taken` batches of a run of three epochs of four."""

    def loader(rng, workers):
        order = ByCount(3, shuffle=True, bucketed=True)
        return Loader(ImageFolder(folder.path), order, augment=augment, rng=rng, workers=workers)

    def run(loader):
        return (batch for _ in range(3) for batch in loader)

    whole = numbers(run(loader(0, 1)))
    assert len(whole) == 12
    begun = loader(0, 3)
    stream = run(begun)
    head = numbers(next(stream) for _ in range(taken))
    state = json.loads(json.dumps(begun.state_dict()))
    resumed = loader(9, 2)
    resumed.load_state_dict(state)
    assert head + numbers(run(resumed))[: 12 - taken] == whole


def test_passed_over_batches_count_when_a_run_is_taken_up(folder):
    whole = numbers(Loader(folder, ByCount(1)))
    for taken in range(1, 10):
        begun = Loader(folder, ByCount(1))
        stream = iter(begun)
        for _ in range(taken):
            next(stream)
        stream.close()
        resumed = Loader(folder, ByCount(1))
        resumed.load_state_dict(begun.state_dict())
        assert numbers(resumed) == whole[taken:]


def test_a_new_loop_after_a_broken_one_is_a_new_epoch():
    loader, whole = (Loader(pictures(8), ByCount(2, shuffle=True), rng=0) for _ in range(2))
    epochs = [numbers(whole) for _ in range(3)]
    for _ in loader:
        break
    assert numbers(loader) == epochs[1]
    assert numbers(loader) == epochs[2]


def test_a_state_of_another_run_is_refused_and_changes_nothing():
    loader = Loader(pictures(8), ByCount(2, shuffle=True), rng=0)
    next(iter(loader))
    before = loader.state_dict()
    for other in (Loader(pictures(7), ByCount(2, shuffle=True)), Loader(pictures(8), ByCount(2))):
        with pytest.raises(ValueError, match=r"Loader.load_state_dict: expected .* as in the run saved, got"):
            loader.load_state_dict(other.state_dict())
        assert loader.state_dict() == before


@pytest.mark.parametrize("order", [ByCount(3, shuffle=True), ByPixels(12, shuffle=True), ByPixels(12, True, True)])
def test_the_number_of_batches_to_come_is_known(order):
    whole, loader = (Loader(pictures(20), order, rng=0) for _ in range(2))
    counts = [len(list(whole)) for _ in range(4)]
    assert [loader.batches_in(n) for n in range(5)] == [sum(counts[:n]) for n in range(5)]
    for n in range(4):
        assert loader.batches_in(4 - n) == sum(counts[n:])
        list(loader)


def test_the_number_of_batches_to_come_in_an_epoch_that_was_begun():
    for make in (lambda: Loader(pictures(20), ByPixels(12, True), rng=0), lambda: Batches(np.ones(20), np.ones(20), 3)):
        begun = make()
        first, both = begun.batches_in(1), begun.batches_in(2)
        stream = iter(begun)
        next(stream)
        resumed = make()
        resumed.load_state_dict(begun.state_dict())
        assert (resumed.batches_in(0), resumed.batches_in(1), resumed.batches_in(2)) == (0, first - 1, both - 1)
        assert len(list(resumed)) == first - 1
        assert resumed.batches_in(1) == both - first
        stream.close()  # left early: the next loop is a new epoch
        assert begun.batches_in(1) == both - first


@pytest.mark.parametrize(
    "wrong", [{"seed": -1}, {"seed": "0"}, {"epoch": -1}, {"epoch": 0.5}, {"position": 99}, {"position": True}]
)
def test_a_damaged_state_is_refused_and_changes_nothing(wrong):
    loader = Loader(pictures(8), ByCount(2, shuffle=True), rng=0)
    before = loader.state_dict()
    missing = {key: value for key, value in before.items() if key not in wrong}
    for state in (before | wrong, missing, None, []):
        with pytest.raises(ValueError, match=r"Loader.load_state_dict: .*expected"):
            loader.load_state_dict(state)
        assert loader.state_dict() == before


BIT_GENERATORS = ["PCG64", "MT19937", "Philox", "SFC64", "PCG64DXSM"]


def spoilt(state, path=()):
    """(where, the state with one number less or another): of every number in it."""
    for key, value in state.items():
        yield (*path, key), {name: value for name, value in state.items() if name != key}
        for other in (None, -1, 2**200, "a", 0.5):
            yield (*path, key, other), state | {key: other}
        if isinstance(value, dict):
            for where, inner in spoilt(value, (*path, key)):
                yield where, state | {key: inner}


@pytest.mark.parametrize("name", BIT_GENERATORS)
def test_a_damaged_random_state_is_refused_and_changes_nothing(name):
    """A place beyond the end of a generator's buffer too: NumPy takes it, and would read what is behind."""

    def make(seed):
        rng = np.random.Generator(getattr(np.random, name)(seed))
        return Batches(np.arange(20), np.arange(20), 3, shuffle=True, rng=rng)

    batches, other = make(0), make(1)
    list(other)
    before, good = batches.state_dict(), json.loads(json.dumps(other.state_dict()))
    wrong = [good | {"rng": rng} for _, rng in spoilt(good["rng"])]
    wrong += [good | {"position": position} for position in (-1, 8, 1.0, None)]
    if name == "MT19937":
        wrong.append(good | {"rng": good["rng"] | {"state": good["rng"]["state"] | {"pos": 625}}})
    if name == "Philox":
        wrong.append(good | {"rng": good["rng"] | {"buffer_pos": 5}})
    for state in wrong:
        with pytest.raises(ValueError, match=r"Batches.load_state_dict: .*expected"):
            batches.load_state_dict(state)
        assert batches.state_dict() == before
    batches.load_state_dict(good)
    assert [y.tolist() for _, y in batches] == [y.tolist() for _, y in other]


def test_bad_workers():
    with pytest.raises(ValueError, match="Loader: workers: expected at least 1, got 0"):
        Loader(pictures(1), ByCount(1), workers=0)


# Threads.


def loader_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("minicnn-loader")]


class Noting:
    """A source that notes the images asked for."""

    def __init__(self, n_images):
        self.source, self.asked = pictures(n_images), []
        self.labels, self.sizes = self.source.labels, self.source.sizes

    def __len__(self):
        return len(self.source)

    def image(self, index):
        self.asked.append(index)
        return self.source.image(index)


def test_it_reads_ahead_so_far_and_no_further():
    source = Noting(100)
    stream = iter(Loader(source, ByCount(1), workers=2))
    for taken in range(1, 11):
        next(stream)
        deadline = time.monotonic() + 30
        while len(source.asked) < taken + 3 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.01)  # time to go too far
        assert sorted(source.asked) == list(range(taken + 3))
    stream.close()


def test_leaving_the_loop_leaves_no_thread():
    loader = Loader(pictures(50), ByCount(1), workers=4)
    for _ in loader:
        assert loader_threads()
        break
    assert not loader_threads()

    def interrupted():
        for _ in loader:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    gc.collect()
    assert not loader_threads()

    stream = iter(loader)
    next(stream)
    assert loader_threads()
    del stream
    gc.collect()
    assert not loader_threads()

    list(loader)
    assert not loader_threads()


def test_an_error_in_a_thread_reaches_the_loop_and_leaves_no_thread():
    def fails(image, rng):
        raise ArithmeticError("in the augmentation")

    with pytest.raises(ArithmeticError, match="in the augmentation"):
        list(Loader(pictures(9), ByCount(1), augment=fails))
    assert not loader_threads()


# With Trainer.


@pytest.mark.quick
def test_training_from_a_folder_resumes_to_the_same_bits(folder, tmp_path):
    def start():
        network = minicnn.Sequential(
            conv=minicnn.Conv2d(3, 4, kernel_size=3, padding=1, rng=0),
            pool=minicnn.AdaptiveMaxPool2d((1, 1)),
            flatten=minicnn.Flatten(),
            fc=minicnn.Linear(4, 2, rng=0),
        )
        trainer = minicnn.Trainer(network, minicnn.CrossEntropyLoss(), minicnn.Adam(network, lr=0.02), quiet=True)
        train = Loader(ImageFolder(folder.path), ByCount(3, shuffle=True), augment=augment, rng=3)
        return trainer, train, Loader(folder, ByCount(4))

    whole, train, validation = start()
    whole.fit(train, validation, epochs=3)

    begun, train, validation = start()
    begun.fit(train, validation, epochs=1)
    begun.save(tmp_path / "run.safetensors", train)
    resumed, train, validation = start()
    resumed.load(tmp_path / "run.safetensors", train)
    resumed.fit(train, validation, epochs=2)
    without_time = [[{**row, "seconds": 0} for row in trainer.history] for trainer in (whole, resumed)]
    assert without_time[0] == without_time[1]
    for name, array in whole.network.state_dict().items():
        np.testing.assert_array_equal(array, resumed.network.state_dict()[name])


# Batches from memory.


@pytest.mark.parametrize("as_list", [True, False])
def test_batches_of_different_sizes_from_memory(as_list):
    source = pictures(7)
    given_images = list(source.images) if as_list else source.images
    batches = Batches(given_images, source.labels, 3, shuffle=True, rng=0)
    seen = []
    for images, labels in batches:
        assert isinstance(images, Images)
        for image, label in zip(images, labels.tolist(), strict=True):
            np.testing.assert_array_equal(image, source.images[label])
            seen.append(label)
    assert sorted(seen) == list(range(7))


def test_a_list_gives_images_also_where_its_sizes_are_equal():
    [(images, _)] = Batches([np.zeros((1, 2, 2))] * 2, [0, 1], 2)
    assert isinstance(images, Images)
    with pytest.raises(ValueError, match="at least one image, got none"):
        Batches([], [], 2)


def test_images_of_different_sizes_can_be_split():
    rest, part = pictures(5).split(2, rng=0)
    for half in (rest, part):
        for image, label in zip(half.images, half.labels.tolist(), strict=True):
            np.testing.assert_array_equal(image, pictures(5).images[label])
