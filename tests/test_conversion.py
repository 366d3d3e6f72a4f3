"""Depths, ranges, modes and arrays against the formulas that images.py states."""

import io

import numpy as np
import PIL.Image
import pytest
from tests.image_files import COLOUR, GREY, OPACITY, RNG, grey, on_black, png, smooth, tiff

from pellucid.errors import ImageError
from pellucid.images import from_array, from_pil, read_image


def test_16_bit_grey_equals_its_8_bit_version_where_pillow_saturates() -> None:
    data = png(GREY.astype(np.uint16) * 257, 0)
    np.testing.assert_array_equal(read_image(data).pixels, read_image(png(GREY, 0)).pixels)
    assert (np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB")) == 255).mean() > 0.9


def test_16_bit_grey_is_divided_by_257_and_rounded() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.array([round(v / 257) for v in range(65536)], np.uint8).reshape(256, 256)
    np.testing.assert_array_equal(read_image(png(values, 0)).pixels[..., 1], expected)
    np.testing.assert_array_equal(from_array(values).pixels[..., 2], expected)
    big_endian = PIL.Image.frombytes("I;16B", (256, 256), values.astype(">u2").tobytes())
    np.testing.assert_array_equal(from_pil(big_endian).pixels[..., 0], expected)


def test_12_bits_in_a_16_bit_file_get_a_warning_and_in_a_12_bit_file_their_range() -> None:
    dark = read_image(png(GREY.astype(np.uint16) * 16, 0))
    assert dark.pixels.max() == 16
    assert "nearly black" in dark.warnings[0]
    values = RNG.integers(0, 4096, (4, 6), dtype=np.uint16)
    packed = int("".join(f"{v:012b}" for v in values.ravel()), 2).to_bytes(36, "big")
    image = read_image(tiff((4, 6), 12, packed))
    np.testing.assert_array_equal(image.pixels, grey(np.rint(values / 4095 * 255)))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5], [0.25, 1.0]]), [[0, 128], [64, 255]]),
        (np.array([[0.0, 0.5], [0.25, 1.0]], np.float16), [[0, 128], [64, 255]]),
        (np.array([[0.0, 7.4], [254.6, 255.0]]), [[0, 7], [255, 255]]),
        (np.array([[0.0, 257.0], [65535.0, 514.4]]), [[0, 1], [255, 2]]),
        (np.array([[True, False]]), [[255, 0]]),
        (np.array([[3, 255]], np.int64), [[3, 255]]),
        (np.array([[256, 65535]], np.int32), [[1, 255]]),
        (np.array([[0, 9]], np.uint32), [[0, 9]]),
    ],
)
def test_values_without_a_depth_are_read_by_their_range(values: np.ndarray, expected: list[list[int]]) -> None:
    image = from_array(values)
    np.testing.assert_array_equal(image.pixels, grey(np.array(expected)))
    assert image.warnings == ()


@pytest.mark.parametrize(
    "values",
    [
        np.array([[-1024, 0, 3071]]),
        np.array([[-1e308, 0.0, 1e308]]),
        np.array([[-3, 0, 3]], np.float32),
        np.array([[-5, -5]]),
    ],
)
def test_other_values_are_stretched_and_said_so(values: np.ndarray) -> None:
    image = from_array(values)
    low, span = float(values.min()), float(values.max() / 2 - values.min() / 2) or 1.0
    np.testing.assert_array_equal(image.pixels[..., 0], np.rint((values / 2 - low / 2) / span * 255))
    assert "stretched" in image.warnings[0]


def test_values_that_are_no_numbers_become_black() -> None:
    image = from_array(np.array([[np.nan, 1.0, np.inf, -np.inf]]))
    np.testing.assert_array_equal(image.pixels[0, :, 0], [0, 255, 0, 0])
    assert "not finite" in image.warnings[0]


def test_arrays_of_four_channels_and_of_one() -> None:
    np.testing.assert_array_equal(from_array(np.dstack([COLOUR, OPACITY])).pixels, on_black(COLOUR, OPACITY))
    np.testing.assert_array_equal(from_array(GREY[..., None]).pixels, grey(GREY))
    np.testing.assert_array_equal(from_array(COLOUR[::-1, ::2]).pixels, COLOUR[::-1, ::2])


def test_an_image_does_not_follow_its_array() -> None:
    values = COLOUR.copy()
    image = from_array(values)
    values[:] = 0
    np.testing.assert_array_equal(image.pixels, COLOUR)


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (np.zeros((3, 20, 20), np.uint8), "unsupported-format"),
        (np.zeros(5), "unsupported-format"),
        (np.zeros((2, 4, 4, 3)), "unsupported-format"),
        (np.zeros((4, 4), complex), "unsupported-format"),
        (np.array([["a"]]), "unsupported-format"),
        (np.zeros((0, 4, 3), np.uint8), "too-small"),
    ],
)
def test_arrays_that_are_no_images(array: np.ndarray, code: str) -> None:
    with pytest.raises(ImageError) as caught:
        from_array(array)
    assert caught.value.code == code
    assert str(array.shape) in caught.value.reason


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV", "LAB", "P"])
def test_pillow_modes_of_colour(mode: str) -> None:
    base = PIL.Image.fromarray(smooth(9, 11))
    picture = base.convert("RGBA" if mode == "RGBa" else "RGB").convert(mode)
    limit = {"P": 60, "HSV": 8, "LAB": 40, "YCbCr": 3}.get(mode, 1)
    image = from_pil(picture)
    assert np.abs(image.pixels - smooth(9, 11).astype(int)).max() <= limit
    assert (image.format, image.mode) == ("array", mode)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "La", "PA", "I", "F", "I;16", "I;16B"])
def test_pillow_modes_of_grey(mode: str) -> None:
    values = {"1": GREY // 128 * 255, "I;16": GREY.astype(np.uint16) * 257, "I;16B": GREY.astype(np.uint16) * 257}.get(
        mode, GREY
    )
    picture = PIL.Image.fromarray(values)
    if mode in ("La", "PA"):
        picture = picture.convert("LA")
    elif mode == "I;16B":
        picture = PIL.Image.frombytes(mode, picture.size, values.astype(">u2").tobytes())
    expected = values if mode == "1" else GREY
    np.testing.assert_array_equal(from_pil(picture.convert(mode)).pixels, grey(expected))
