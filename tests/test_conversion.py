"""Depths, ranges, modes and arrays against the formulas that images.py states."""

import io
import struct

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


@pytest.mark.parametrize("colour_type", [0, 2, 4, 6])
def test_12_bits_in_a_16_bit_png_get_a_warning_whatever_its_kind(colour_type: int) -> None:
    layers = {0: [GREY], 2: [GREY] * 3, 4: [GREY, GREY | 255], 6: [GREY] * 3 + [GREY | 255]}[colour_type]
    factors = [16] * (3 if colour_type & 2 else 1) + [257] * (colour_type > 3)
    values = np.dstack([layer.astype(np.uint16) * factor for layer, factor in zip(layers, factors, strict=True)])
    dark = read_image(png(values[..., 0] if colour_type == 0 else values, colour_type))
    assert dark.pixels.max() in (15, 16)
    assert dark.warnings == ("The picture has 16 bits a pixel but uses 12 or fewer, which makes it nearly black.",)
    bright = read_image(png((values * 16)[..., 0] if colour_type == 0 else values * 16, colour_type))
    assert not any("nearly black" in warning for warning in bright.warnings)


def test_a_bmp_whose_opacity_is_all_0_is_opaque() -> None:
    # 32 bits with masks, as GIMP and ImageMagick write them.
    header = struct.pack("<IiiHHIIiiII", 108, 37, -23, 1, 32, 3, 0, 0, 0, 0, 0)
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(48)
    for opacity, expected in ((OPACITY * 0, COLOUR), (OPACITY, on_black(COLOUR, OPACITY))):
        pixels = np.dstack([COLOUR[..., ::-1], opacity]).tobytes()
        data = struct.pack("<2sIII", b"BM", 122 + len(pixels), 0, 122) + header + masks + pixels
        np.testing.assert_array_equal(read_image(data).pixels, expected)


def test_12_bits_in_a_12_bit_file_have_their_range() -> None:
    values = RNG.integers(0, 4096, (4, 6), dtype=np.uint16)
    packed = int("".join(f"{v:012b}" for v in values.ravel()), 2).to_bytes(36, "big")
    image = read_image(tiff((4, 6), 12, packed))
    np.testing.assert_array_equal(image.pixels, grey(np.rint(values / 4095 * 255)))


RANGES = [
    (np.array([[0.0, 0.5], [0.25, 1.0]]), [[0, 128], [64, 255]], ""),
    (np.array([[0.0, 0.5], [0.25, 1.0]], np.float16), [[0, 128], [64, 255]], ""),
    (np.array([[0.0, 0.5], [-0.01, 1.0005]], np.float32), [[0, 128], [0, 255]], "outside 0 to 1 were clipped"),
    (np.array([[0.0, 7.4], [254.6, 255.0]]), [[0, 7], [255, 255]], "read as 0 to 255"),
    (np.array([[0.0, 7.4], [-0.4, 255.3]]), [[0, 7], [0, 255]], "read as 0 to 255"),
    (np.array([[0.0, 257.0], [65535.0, 514.4]]), [[0, 1], [255, 2]], "read as 0 to 65535"),
    (np.array([[True, False]]), [[255, 0]], ""),
    (np.array([[3, 255]], np.int64), [[3, 255]], "read as 0 to 255"),
    (np.array([[256, 65535]], np.int32), [[1, 255]], "read as 0 to 65535"),
    (np.array([[0, 9]], np.uint32), [[0, 9]], "read as 0 to 255"),
    (np.array([[0, 4095]], np.int32), [[0, 16]], "nearly black"),
    (np.array([[0, 4095.0]]), [[0, 16]], "nearly black"),
    (np.array([[0, 4095]], np.int16), [[0, 16]], "nearly black"),
    (np.array([[0, 255]], np.int16), [[0, 1]], "nearly black"),
    (np.array([[0, 32767]], np.int16), [[0, 127]], ""),
    (np.array([[0, 4095]], np.uint16), [[0, 16]], "nearly black"),
    (np.array([[0, 4096]], np.uint16), [[0, 16]], ""),
]


@pytest.mark.parametrize(("values", "expected", "said"), RANGES)
def test_every_type_is_scaled_by_one_rule(values: np.ndarray, expected: list[list[int]], said: str) -> None:
    image = from_array(values)
    np.testing.assert_array_equal(image.pixels, grey(np.array(expected)))
    # One of the pictures is of one tone, which has a warning of its own.
    warnings = [warning for warning in image.warnings if "one flat tone" not in warning]
    assert (said in " ".join(warnings)) if said else not warnings
    colour = from_array(np.repeat(values[..., None], 3, axis=2))
    np.testing.assert_array_equal(colour.pixels, image.pixels)
    assert colour.warnings == image.warnings


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


def test_opacity_hides_no_warning() -> None:
    values = np.dstack([COLOUR.astype(np.uint16) * 16, np.full(GREY.shape, 65535, np.uint16)])
    image = from_array(values)
    assert "nearly black" in image.warnings[0]
    np.testing.assert_array_equal(image.pixels, np.rint(COLOUR.astype(int) * 16 / 257))


@pytest.mark.parametrize(
    ("dtype", "top", "full"),
    [
        ("uint8", 255, 255),
        ("int8", 127, 127),
        ("uint16", 65535, 65535),
        ("uint16", 4095, 65535),
        ("uint16", 4095, 4095),
        ("uint16", 1023, 1023),
        ("uint16", 16383, 16383),
        ("int16", 32767, 32767),
        ("int16", 4095, 4095),
        ("uint32", 2**32 - 1, 2**32 - 1),
        ("uint32", 65535, 65535),
        ("uint32", 65535, 2**32 - 1),
        ("uint32", 255, 1),
        ("int32", 2**31 - 1, 2**31 - 1),
        ("int32", 255, 2**31 - 1),
        ("int32", 4095, 4095),
        ("int64", 255, 1),
        ("int64", 2**32 - 1, 2**32 - 1),
        ("int64", 2**31 - 1, 2**31 - 1),
        ("int64", 2**63 - 1, 2**63 - 1),
        ("uint64", 2**64 - 1, 2**64 - 1),
        ("float16", 1, 1),
        ("float32", 1, 255),
        ("float32", 255, 1),
        ("float64", 255, 255),
        ("float32", 4095, 4095),
        ("float64", 65535, 65535),
        ("float32", 2**32 - 1, 2**32 - 1),
        ("float64", 1e6, 1e6),
    ],
)
def test_opacity_at_its_full_value_is_opaque(dtype: str, top: float, full: float) -> None:
    share = np.linspace(0, 1, 40 * 48).reshape(40, 48, 1)
    # The greatest 64-bit integers do not fit a float.
    colours = np.where(share == 1, np.array(top, dtype), (share * (top * (1 - 1e-15))).astype(dtype)).repeat(3, axis=2)
    image = from_array(np.dstack([colours, np.full((40, 48), full, dtype)]))
    np.testing.assert_array_equal(image.pixels, from_array(colours).pixels)
    assert image.warnings == from_array(colours).warnings
    assert image.pixels.max() > 0


@pytest.mark.parametrize(
    ("dtype", "full"),
    [
        ("uint16", 65535),
        ("int16", 32767),
        ("uint32", 2**32 - 1),
        ("int32", 2**31 - 1),
        ("uint16", 4095),
        ("float32", 1),
    ],
)
def test_opacity_is_scaled_by_its_full_value(dtype: str, full: int) -> None:
    share = RNG.random((23, 37))
    share[0, 0] = 1
    opacity = (share * full).astype(dtype)
    colours = np.full((23, 37, 3), full, dtype)
    expected = from_array(colours).pixels * share[..., None]
    assert np.abs(from_array(np.dstack([colours, opacity])).pixels - expected).max() <= 1


def test_constant_opacity_below_the_full_value_is_kept() -> None:
    colours = np.full((23, 37, 3), 65535, np.uint16)
    for half in (32767, 32768):
        image = from_array(np.dstack([colours, np.full((23, 37), half, np.uint16)]))
        assert set(np.unique(image.pixels)) <= {127, 128}
    assert from_array(np.dstack([colours, np.full((23, 37), 4095, np.uint16)])).pixels.max() == 16


@pytest.mark.parametrize("full", [1023, 4095, 65535])
def test_opaque_png_of_16_bits_that_uses_fewer(full: int) -> None:
    colours = (COLOUR.astype(np.uint16) * (min(full, 4095) // 255)).clip(0, full)
    data = png(np.dstack([colours, np.full(GREY.shape, full, np.uint16)]), 6)
    np.testing.assert_array_equal(read_image(data).pixels, colours >> 8)
    assert read_image(data).warnings[0].startswith("The picture has 16 bits")


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
