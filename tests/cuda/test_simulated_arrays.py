"""DeviceArray, the pool behind it, and the ways in and out of the device."""

import gc
import weakref

import numpy as np
import pytest

from minicnn import Images
from minicnn.data import Batches

pytestmark = pytest.mark.cuda_sim

device_array = pytest.importorskip("minicnn.backends.cuda.runtime.device_array")
arrays = pytest.importorskip("minicnn.backends.cuda.arrays")
device = pytest.importorskip("minicnn.backends.cuda.runtime.device")


def test_to_the_device_and_back():
    for dtype in (np.float32, np.float64, np.int64, np.int32):
        for shape in ((3,), (2, 3, 4), (1, 1), ()):
            host = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
            array = arrays.asarray(host)
            assert (array.shape, array.dtype, array.ndim, array.size) == (host.shape, host.dtype, host.ndim, host.size)
            back = arrays.to_numpy(array)
            np.testing.assert_array_equal(back, host)
            assert back.dtype == dtype
            assert not np.shares_memory(back, host)


def test_asarray_takes_what_numpy_can_read():
    array = arrays.asarray([[1.0, 2.0], [3.0, 4.0]])
    assert arrays.asarray(array) is array
    transposed = np.arange(6.0).reshape(2, 3).T
    np.testing.assert_array_equal(arrays.asarray(transposed).numpy(), transposed)


def test_the_host_array_is_free_at_once():
    host = np.ones(100, np.float32)
    array = arrays.asarray(host)
    host[:] = 2
    np.testing.assert_array_equal(array.numpy(), np.ones(100))


def test_views():
    host = np.arange(24.0).reshape(4, 3, 2)
    array = arrays.asarray(host)
    for chosen in (0, -1, np.int64(2), slice(1, 3), slice(None), slice(2, 2), slice(3, 1)):
        np.testing.assert_array_equal(array[chosen].numpy(), host[chosen])
    for shape in ((-1,), (2, -1), (4, 6), (24, 1)):
        np.testing.assert_array_equal(array.reshape(*shape).numpy(), host.reshape(shape))
        np.testing.assert_array_equal(array.reshape(shape).numpy(), host.reshape(shape))
    arrays.scale_(array[1], 2)  # a view is the same memory
    np.testing.assert_array_equal(array.numpy()[1], 2 * host[1])


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda a: a[::2], TypeError, "integer or a slice"),
        (lambda a: a[:, 0], TypeError, "integer or a slice"),
        (lambda a: a[4], IndexError, "no position 4, there are 4"),
        (lambda a: a.reshape(5, 5), ValueError, "24 numbers"),
        (lambda a: a.reshape(7, -1), ValueError, "24 numbers"),
        (np.asarray, TypeError, r"numpy\(\)"),
        (lambda a: a + 1, TypeError, "unsupported operand"),
    ],
)
def test_what_it_refuses(wrong, error, message):
    array = arrays.asarray(np.zeros((4, 3, 2)))
    with pytest.raises(error, match=message):
        wrong(array)


def test_memory_is_used_again_when_the_last_view_has_died():
    first = device_array.empty(5000, np.float32)
    place, view = device.pointer(first.flat), first[10:20]
    del first
    gc.collect()
    assert device.pointer(device_array.empty(5000, np.float32).flat) != place
    del view
    gc.collect()
    assert device.pointer(device_array.empty(4990, np.float32).flat) == place
    device_array.release()


def test_memory_of_arrays_that_die_in_a_cycle_is_not_freed(monkeypatch):
    """Numba frees memory when it is told that an array is gone, and a free buffer must not be one of those."""
    freed, allocate = [], device.allocate

    def watched(size, dtype):
        buffer = allocate(size, dtype)
        weakref.finalize(buffer, freed.append, size)
        return buffer

    monkeypatch.setattr(device, "allocate", watched)
    device_array.release()
    cycle = [device_array.empty(3000, np.float32)]
    place = device.pointer(cycle[0].flat)
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert freed == []
    assert device.pointer(device_array.empty(3000, np.float32).flat) == place
    device_array.release()
    assert freed == [3072]


def test_where_the_device_is_full_free_buffers_of_other_sizes_go_back_to_the_driver(monkeypatch):
    allocate, in_use = device.allocate, []

    def from_one_place(size, dtype):
        if sum(buffer() is not None for buffer in in_use):
            raise MemoryError("the device has no room")
        buffer = allocate(size, dtype)
        in_use.append(weakref.ref(buffer))
        return buffer

    device_array.release()
    monkeypatch.setattr(device, "allocate", from_one_place)
    device_array.empty(1000, np.float32)
    held = device_array.empty(9000, np.float32)
    with pytest.raises(MemoryError, match="no room"):
        device_array.empty(1000, np.float32)
    assert held.size == 9000


def test_memory_that_another_library_has_seen_is_not_used_again():
    device_array.release()
    first, second = (device_array.empty(7000, np.float32) for _ in range(2))
    seen, own = (device.pointer(array.flat) for array in (first, second))
    other = np.from_dlpack(first)
    del first
    gc.collect()
    third = device_array.empty(7000, np.float32)
    assert device.pointer(third.flat) not in (seen, own)
    del other, second
    gc.collect()
    assert device.pointer(device_array.empty(7000, np.float32).flat) == own
    del third
    device_array.release()


def test_what_is_kept_is_in_proportion_to_what_was_in_use(monkeypatch):
    """Of 66 sizes, up to 80 kB, what lies free would be megabytes."""
    allocate, buffers = device.allocate, []

    def watched(size, dtype):
        buffer = allocate(size, dtype)
        buffers.append(weakref.ref(buffer))
        return buffer

    def held(buffer):
        return 0 if buffer() is None else buffer().size * buffer().dtype.itemsize

    device_array.release()
    monkeypatch.setattr(device, "allocate", watched)
    for size in (*range(100, 10_000, 300), *range(10_000, 100, -300)):
        device_array.empty(size, (np.float32, np.int64)[size // 300 % 2])
        gc.collect()
        assert sum(map(held, buffers)) <= 2.5 * 80_000
    device_array.release()
    gc.collect()
    assert sum(map(held, buffers)) == 0


def test_dlpack_is_the_same_memory_and_keeps_it_alive():
    host = np.arange(12, dtype=np.float32).reshape(3, 4)
    array = arrays.asarray(host)
    seen = np.from_dlpack(array)
    assert seen.ctypes.data == device.pointer(array.flat)
    arrays.scale_(array, 3)
    del array
    gc.collect()
    np.testing.assert_array_equal(seen, 3 * host)


def test_dlpack_of_a_copy_and_of_another_device():
    class Copied:
        def __dlpack__(self, **_):
            return array.__dlpack__(copy=True)

        def __dlpack_device__(self):
            return array.__dlpack_device__()

    array = arrays.asarray(np.arange(3.0))
    copied = np.from_dlpack(Copied())
    arrays.scale_(array, 2)
    np.testing.assert_array_equal(copied, [0, 1, 2])
    with pytest.raises(BufferError, match=r"numpy\(\)"):
        array.__dlpack__(dl_device=(2, 0))


def test_a_capsule_that_nobody_takes_lets_go():
    from minicnn.backends.cuda.runtime import dlpack

    array = arrays.asarray(np.zeros(3))
    before = len(dlpack._in_use)
    capsule = array.__dlpack__()
    assert len(dlpack._in_use) == before + 1
    del capsule
    gc.collect()
    assert len(dlpack._in_use) == before


def test_constants_are_sent_once():
    table = np.arange(6).reshape(2, 3)
    assert device_array.constant(table) is device_array.constant(table.astype(np.int32))
    assert device_array.constant(table) is not device_array.constant(table.reshape(3, 2))


def batches_of(images):
    return Batches(images, np.arange(len(images)), batch_size=2, shuffle=True, rng=0)


@pytest.mark.parametrize("kind", ["array", "Images"])
def test_prefetch_gives_the_same_batches(kind):
    images = np.random.default_rng(0).standard_normal((7, 1, 2, 3))
    if kind == "Images":
        images = Images([image[:, :, : 1 + n % 3] for n, image in enumerate(images)])
    expected = list(batches_of(images))
    count = 0
    for (x, y), (x_true, y_true) in zip(arrays.prefetch(batches_of(images)), expected, strict=True):
        numbers, true = (x.data, x_true.data) if kind == "Images" else (x, x_true)
        assert isinstance(numbers, device_array.DeviceArray)
        np.testing.assert_array_equal(numbers.numpy(), true)
        np.testing.assert_array_equal(y, y_true)
        count += 1
    assert count == 4


def test_prefetch_resumes_after_the_batch_that_was_handed_out_last():
    images = np.arange(9.0).reshape(9, 1, 1, 1)
    batches = batches_of(images)
    expected = [x for x, _ in batches_of(images)]
    sent = arrays.prefetch(batches)
    for k in range(2):
        np.testing.assert_array_equal(next(sent)[0].numpy(), expected[k])
    sent.close()
    rest = [x.numpy() for x, _ in arrays.prefetch(batches)]
    assert len(rest) == len(expected) - 2
    for x, x_true in zip(rest, expected[2:], strict=True):
        np.testing.assert_array_equal(x, x_true)


def test_prefetch_leaves_to_the_layers_what_is_no_picture():
    odd = [(np.zeros((1, 1, 2, 2), np.uint8), 0), ("text", 1), (np.zeros((0, 1, 2, 2)), 2)]
    for (x, y), (x_given, y_given) in zip(arrays.prefetch(odd), odd, strict=True):
        assert x is x_given
        assert y == y_given
