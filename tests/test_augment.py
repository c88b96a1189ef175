"""Augmentations: known numbers, the right sizes, and nothing written on the input."""

import numpy as np
import pytest

from minicnn.data import color_jitter, pad_to, random_crop, random_flip, random_resize, resize

pytestmark = pytest.mark.quick


class Drawn:
    """A Generator whose uniform numbers are given, and whose permutation is the identity unless given."""

    def __init__(self, *uniform, order=(0, 1, 2)):
        self.numbers, self.order = iter(uniform), order

    def uniform(self, low, high):
        number = next(self.numbers)
        assert low <= number <= high
        return number

    def permutation(self, n):
        return np.array(self.order[:n])


def image(height=4, width=6, channels=3, dtype=np.float32, seed=0):
    result = np.random.default_rng(seed).random((channels, height, width)).astype(dtype)
    result.flags.writeable = False
    return result


def test_flip_is_a_mirror_image_half_of_the_time():
    x, rng = image(), np.random.default_rng(0)
    results = [random_flip(x, rng) for _ in range(1000)]
    flipped = [np.array_equal(result, x[:, :, ::-1]) for result in results]
    assert all(was or np.array_equal(result, x) for result, was in zip(results, flipped, strict=True))
    assert 440 < sum(flipped) < 560


def test_crop_takes_every_place():
    x, rng = np.arange(12).reshape(1, 3, 4), np.random.default_rng(0)
    corners = set()
    for _ in range(200):
        part = random_crop(x, (2, 3), rng)
        corner = int(part[0, 0, 0])
        assert part.tolist() == [[[corner, corner + 1, corner + 2], [corner + 4, corner + 5, corner + 6]]]
        corners.add(corner)
    assert corners == {0, 1, 4, 5}
    np.testing.assert_array_equal(random_crop(x, (3, 4), rng), x)
    with pytest.raises(ValueError, match=r"at least 4 × 4, got shape \(1, 3, 4\); pad_to"):
        random_crop(x, 4, rng)


def test_brightness_by_hand():
    x = np.float32([[[0.2, 0.8]]])
    np.testing.assert_allclose(color_jitter(x, Drawn(1.5, 1, 1), 0.5, 0, 0), [[[0.3, 1]]], rtol=1e-6)


def test_contrast_by_hand():
    """Grey mean of red 1 and green 1: (0.2989 + 0.587) / 2; f = 0.5."""
    x = np.float32([[[1, 0]], [[0, 1]], [[0, 0]]])
    low, high = 0.221475, 0.721475
    result = color_jitter(x, Drawn(1, 0.5, 1), 0, 0.5, 0)
    np.testing.assert_allclose(result, [[[high, low]], [[low, high]], [[low, low]]], rtol=1e-6)


def test_saturation_by_hand():
    """f = 0 is grey; f = 2 goes away from it and is cut."""
    x = np.float32([[[0.5]], [[0.25]], [[0]]])
    grey = 0.5 * 0.2989 + 0.25 * 0.587
    np.testing.assert_allclose(color_jitter(x, Drawn(1, 1, 0), 0, 0, 1).ravel(), [grey] * 3, rtol=1e-6)
    expected = [2 * 0.5 - grey, 2 * 0.25 - grey, 0]
    np.testing.assert_allclose(color_jitter(x, Drawn(1, 1, 2), 0, 0, 1).ravel(), expected, rtol=1e-6)
    np.testing.assert_allclose(color_jitter(x[:1], Drawn(1, 1, 0), 0, 0, 1), x[:1])


def test_the_order_of_the_three_is_drawn():
    """Doubled and cut, then half way to the mean; or the other way round."""
    x = np.float32([[[0.2, 0.8]]])
    first = color_jitter(x, Drawn(2, 0.5, 1), 1, 0.5, 0)
    np.testing.assert_allclose(first, [[[0.55, 0.85]]], rtol=1e-6)
    second = color_jitter(x, Drawn(0.5, 2, 1, order=(1, 0, 2)), 1, 0.5, 0)
    np.testing.assert_allclose(second, [[[0.7, 1]]], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3])
def test_jitter_draws_its_order_and_keeps_range_dtype_and_input(dtype, channels):
    x = image(channels=channels, dtype=dtype)
    results = [color_jitter(x, np.random.default_rng(seed), 0.9, 0.9, 0.9) for seed in range(20)]
    assert all(result.dtype == dtype and result.min() >= 0 and result.max() <= 1 for result in results)
    assert len({result.tobytes() for result in results}) == 20
    same = color_jitter(x, np.random.default_rng(0))
    np.testing.assert_allclose(same, x, rtol=1e-6)


def test_bad_jitter():
    with pytest.raises(ValueError, match=r"\(1, H, W\) or \(3, H, W\), got shape \(4, 4, 6\)"):
        color_jitter(image(channels=4), np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"expected contrast of at least 0, got -1"):
        color_jitter(image(), np.random.default_rng(0), contrast=-1)


def test_shrinking_averages_and_leaves_no_pixel_out():
    """A fine chequerboard is grey from afar; picking pixels would give 0 or 1."""
    board = np.indices((64, 64)).sum(axis=0)[None] % 2
    np.testing.assert_allclose(resize(board.astype(np.float32), (8, 8)), 0.5, atol=0.02)


def test_growing_interpolates():
    result = resize(np.float32([[[0, 1]]]), (1, 4))
    np.testing.assert_allclose(result, [[[0, 0.25, 0.75, 1]]], rtol=1e-6)


@pytest.mark.parametrize(
    ("size", "max_side", "expected"),
    [((5, 7), None, (5, 7)), (8, None, (8, 12)), (2, None, (2, 3)), (8, 9, (6, 9)), (8, 100, (8, 12))],
)
def test_sizes(size, max_side, expected):
    assert resize(image(), size, max_side).shape == (3, *expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_resizing_keeps_dtype_and_channels_apart(dtype):
    x = image(dtype=dtype)
    result = resize(x, (9, 5))
    assert result.dtype == dtype
    for channel in range(3):
        np.testing.assert_array_equal(result[channel], resize(x[channel : channel + 1], (9, 5))[0])
    np.testing.assert_allclose(resize(x, (4, 6)), x, rtol=1e-6)


def test_a_strip_does_not_explode():
    strip = np.zeros((1, 60000, 1), np.float32)
    with pytest.raises(ValueError, match=r"at most 50000000 pixels, got 3840000 × 64 .*; give `max_side`"):
        resize(strip, 64)
    assert resize(strip, 64, max_side=1000).shape == (1, 1000, 1)


def test_random_resize_keeps_the_shape_within_the_scale():
    x, rng = image(100, 200), np.random.default_rng(0)
    sizes = np.array([random_resize(x, rng, scale=(0.5, 2)).shape[1:] for _ in range(300)])
    assert (sizes.min(), sizes.max()) >= (50, 100)
    assert sizes[:, 0].max() <= 200
    assert abs(sizes[:, 1] - 2 * sizes[:, 0]).max() <= 1
    assert 110 < (sizes[:, 0] > 100).sum() < 190  # larger as often as smaller
    assert random_resize(image(1, 1), rng, (0.1, 0.1)).shape == (3, 1, 1)
    for bad in ((0, 1), (2, 1)):
        with pytest.raises(ValueError, match="0 < low <= high"):
            random_resize(x, rng, bad)


def test_padding_puts_the_image_in_the_middle():
    x = np.ones((1, 1, 3))
    assert pad_to(x, (4, 2)).tolist() == [[[0, 0, 0], [1, 1, 1], [0, 0, 0], [0, 0, 0]]]
    np.testing.assert_array_equal(pad_to(x, 1), x)
