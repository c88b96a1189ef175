"""What is read from image files of every kind."""

import numpy as np
import pytest
from PIL import Image

from minicnn.data import ImageFolder, shrink
from minicnn.data.decode import to_unit_range
from tests.image_files import WHITE, decoded, opened, pixels, save


@pytest.mark.parametrize("max_side", [1, 7, 30])
def test_large_images_are_shrunk_and_the_sizes_say_so(tmp_path, max_side):
    save(tmp_path / "a" / "tall.png", pixels(30, 11))
    save(tmp_path / "a" / "small.png", pixels(5, 6))
    save(tmp_path / "a" / "strip.png", pixels(1, 200))
    save(tmp_path / "b" / "deep.png", np.full((20, 9), 4660, np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6  # lying on its side
    save(tmp_path / "b" / "turned.jpg", Image.fromarray(pixels(16, 24)), exif=exif)
    folder = ImageFolder(tmp_path, max_side=max_side)
    for index, path in enumerate(folder.paths):
        image, _ = folder[index]
        assert image.shape == (3, *folder.sizes[index]), path
        assert max(image.shape) <= max(3, max_side), path
        full, _ = ImageFolder(tmp_path)[index]
        np.testing.assert_allclose(image, shrink(full, max_side), atol=0.51 / 255)
    turned = [path.name for path in folder.paths].index("turned.jpg")
    assert folder.sizes[turned].tolist() == [min(24, max_side), min(16, max(1, round(16 * max_side / 24)))]
    deep = [path.name for path in folder.paths].index("deep.png")
    assert (folder[deep][0] == np.float32(4660 / 65535)).all()


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "ppm"])
def test_colours_without_loss(tmp_path, suffix):
    expected = pixels(3, 5)
    path = save(tmp_path / f"a.{suffix}", expected, **({"lossless": True} if suffix == "webp" else {}))
    result = decoded(path)
    assert (result.shape, result.dtype) == ((3, 3, 5), np.uint8)
    np.testing.assert_array_equal(result, expected.transpose(2, 0, 1))


@pytest.mark.quick
def test_jpeg_as_pillow_decodes_it(tmp_path):
    path = save(tmp_path / "a.jpg", pixels(20, 30))
    np.testing.assert_array_equal(decoded(path), np.asarray(opened(path)).transpose(2, 0, 1))


def test_the_content_counts_and_not_the_suffix(tmp_path):
    path = save(tmp_path / "a.jpg", pixels(3, 5), format="PNG")
    np.testing.assert_array_equal(decoded(path), pixels(3, 5).transpose(2, 0, 1))


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path, suffix, channels):
    grey = np.uint16([[0, 1, 255, 256], [257, 32768, 65534, 65535]])
    result = decoded(save(tmp_path / f"a.{suffix}", grey), channels)
    np.testing.assert_array_equal(result, np.broadcast_to(grey, (channels, 2, 4)))
    floats = to_unit_range(result)
    assert floats.dtype == np.float32
    np.testing.assert_array_equal(floats[0], grey.astype(np.float32) / 65535)


def test_sixteen_bits_the_other_way_round(tmp_path):
    grey = np.uint16([[1, 256]])
    image = Image.frombytes("I;16B", (2, 1), grey.astype(">u2").tobytes())
    assert decoded(save(tmp_path / "a.tif", image), 1).tolist() == [[[1, 256]]]


def test_floats_from_0_to_1_are_taken_as_they_are(tmp_path):
    result = decoded(save(tmp_path / "a.tif", np.float32([[0, 0.3], [1, 1e-7]])), 1)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(to_unit_range(result), np.float32([[[0, 0.3], [1, 1e-7]]]))


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        (np.float32([[0, 255]]), "floats from 0.0 to 255.0; expected 0 to 1"),
        (np.float32([[0, np.nan]]), "floats from nan to nan"),
        (np.int32([[0, 70000]]), "integers from 0 to 70000; expected 0 to 65535"),
        (np.int32([[-1, 5]]), "integers from -1 to 5"),
    ],
)
def test_32_bits_out_of_range_are_refused(tmp_path, numbers, reason):
    path = save(tmp_path / "a.tif", numbers)
    with pytest.raises(ValueError, match=reason):
        decoded(path)


def test_32_bit_integers_count_as_16(tmp_path):
    assert decoded(save(tmp_path / "a.tif", np.int32([[0, 65535]])), 1).tolist() == [[[0, 65535]]]


def test_one_bit(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(np.uint8([[0, 255, 0]])).convert("1"))
    assert opened(path).mode == "1"
    assert decoded(path).tolist() == [[[0, 255, 0]]] * 3
    assert decoded(path, 1).tolist() == [[[0, 255, 0]]]


def test_grey_from_colour_and_colour_from_grey(tmp_path):
    colour = save(tmp_path / "a.png", np.uint8([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]]))
    assert decoded(colour, 1).tolist() == [[[76, 150, 29, 9]]]  # 255 times 0.299, 0.587, 0.114
    every_grey = np.arange(256, dtype=np.uint8)[None]
    grey = save(tmp_path / "b.png", every_grey)
    np.testing.assert_array_equal(decoded(grey), np.broadcast_to(every_grey, (3, 1, 256)))
    np.testing.assert_array_equal(decoded(grey, 1)[0], every_grey)


def palette_image():
    """Pixels green, red, blue."""
    image = Image.fromarray(np.uint8([[1, 0, 2]])).convert("P")
    image.putdata([1, 0, 2])
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    return image


def test_palette(tmp_path):
    path = save(tmp_path / "a.png", palette_image())
    assert opened(path).mode == "P"
    assert decoded(path)[:, 0].T.tolist() == [[0, 255, 0], [255, 0, 0], [0, 0, 255]]


@pytest.mark.parametrize(
    ("transparency", "red"), [(0, WHITE), (bytes([128]), (255, 127, 127)), (bytes([255]), (255, 0, 0))]
)
def test_palette_with_transparency(tmp_path, transparency, red):
    path = save(tmp_path / "a.png", palette_image(), transparency=transparency)
    assert decoded(path)[:, 0].T.tolist() == [[0, 255, 0], list(red), [0, 0, 255]]


def test_alpha_is_laid_over_the_background(tmp_path):
    """Half of 100 over 255, over nothing, and over (0, 10, 20)."""
    path = save(tmp_path / "a.png", np.uint8([[[100, 100, 100, 255], [100, 100, 100, 51], [7, 7, 7, 0]]]))
    assert decoded(path)[:, 0].T.tolist() == [[100] * 3, [224] * 3, [255] * 3]
    assert decoded(path, background=(0, 10, 20))[:, 0].T.tolist() == [[100] * 3, [20, 28, 36], [0, 10, 20]]
    assert decoded(path, 1).tolist() == [[[100, 224, 255]]]


def test_grey_with_alpha(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(np.uint8([[[100, 51], [100, 0]]])))
    assert opened(path).mode == "LA"
    assert decoded(path).tolist() == [[[224, 255]]] * 3
    assert decoded(path, 1, background=(0, 0, 0)).tolist() == [[[20, 0]]]


@pytest.mark.parametrize(("image", "key"), [(np.uint8([[7, 8]]), 7), (np.uint8([[[7, 8, 9], [1, 8, 9]]]), (7, 8, 9))])
def test_one_colour_that_stands_for_transparent(tmp_path, image, key):
    path = save(tmp_path / "a.png", image, transparency=key)
    assert decoded(path)[:, 0, 0].tolist() == [255, 255, 255]
    assert decoded(path)[2, 0, 1] == (8 if image.ndim == 2 else 9)


def test_cmyk(tmp_path):
    path = save(tmp_path / "a.tif", Image.fromarray(np.uint8([[[255, 0, 0, 0], [0, 0, 0, 255], [0, 0, 0, 0]]]), "CMYK"))
    assert opened(path).mode == "CMYK"
    assert decoded(path)[:, 0].T.tolist() == [[0, 255, 255], [0, 0, 0], [255, 255, 255]]
    assert decoded(path, 1).tolist() == [[[179, 0, 255]]]


def test_cmyk_jpeg(tmp_path):
    path = save(tmp_path / "a.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), quality=100)
    red, green, blue = decoded(path)[:, 4, 4].tolist()
    assert (red > 250, green < 5, blue < 5) == (True, True, True)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_of_an_animation_the_first_image(tmp_path, suffix):
    first, second = Image.new("RGB", (3, 2), (255, 0, 0)), Image.new("RGB", (3, 2), (0, 0, 255))
    path = save(tmp_path / f"a.{suffix}", first, save_all=True, append_images=[second])
    assert opened(path).n_frames == 2
    np.testing.assert_allclose(decoded(path)[:, 0, 0], [255, 0, 0], atol=2)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
def test_images_are_turned_upright(tmp_path, suffix, orientation):
    """Orientation n says where the stored rows and columns lie in the upright image (EXIF 2.32, 4.6.4)."""
    upright = np.add.outer(np.arange(16) * 3, np.arange(24) * 7).astype(np.uint8)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: upright.T[::-1],
        7: upright[::-1, ::-1].T,
        8: upright.T[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"jpg": {"quality": 100}, "webp": {"lossless": True}}.get(suffix, {})
    save(tmp_path / "class" / f"a.{suffix}", np.ascontiguousarray(stored), exif=exif, **options)
    folder = ImageFolder(tmp_path, channels=1)
    assert folder.sizes.tolist() == [[16, 24]]
    np.testing.assert_allclose(folder[0][0][0] * 255, upright, atol=3 if suffix == "jpg" else 1e-4)


def test_sixteen_bits_are_turned_upright_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.png", np.uint16([[1000, 2000], [3000, 4000], [5000, 6000]]), exif=exif)
    assert decoded(path, 1).tolist() == [[[5000, 3000, 1000], [6000, 4000, 2000]]]


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientations_that_do_not_exist_do_not_matter(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path / "class" / "a.png", np.zeros((2, 5), np.uint8), exif=exif)
    folder = ImageFolder(tmp_path)
    assert (folder.sizes.tolist(), folder[0][0].shape) == ([[2, 5]], (3, 2, 5))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0\xff\xff\xff\x7f"])
def test_damaged_exif_data_do_not_matter(tmp_path, exif):
    save(tmp_path / "class" / "a.jpg", np.zeros((8, 16, 3), np.uint8), exif=exif)
    folder = ImageFolder(tmp_path)
    assert (folder.sizes.tolist(), folder[0][0].shape) == ([[8, 16]], (3, 8, 16))


def test_values_are_float32_from_0_to_1(tmp_path):
    save(tmp_path / "class" / "a.png", np.uint8([[[0, 51, 255]]]))
    image, label = ImageFolder(tmp_path)[0]
    assert (image.dtype, image.ravel().tolist(), label) == (np.float32, [0, float(np.float32(51) / 255), 1], 0)
