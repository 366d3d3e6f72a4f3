"""TIFF files of every kind that tifffile writes, against the numbers that were written."""

import io
import itertools
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from tests.image_files import GREY, encoded, grey, on_black, smooth

from pellucid.errors import ImageError
from pellucid.images import Image, Limits, read_image

tifffile = pytest.importorskip("tifffile")
RNG = np.random.default_rng(5)
SIZE = 45, 70
LOSSLESS = ["none", "deflate", "lzw", "packbits", "lzma", "zstd"]
NEED_CODECS = {"lzw", "packbits", "zstd", "jpeg", "lerc", "jpegxl", "ccitt"}


def written(values: np.ndarray, **options: Any) -> bytes:
    if options.get("compression", "none") in NEED_CODECS or options.get("predictor") == 3:
        pytest.importorskip("imagecodecs")
    if options.get("compression") == "none":
        del options["compression"]
    file = io.BytesIO()
    tifffile.imwrite(file, values, metadata=None, **options)
    return file.getvalue()


def numbers(dtype: str, channels: int) -> np.ndarray:
    """Numbers over the whole range of a type; floats from 0 to 1."""
    shape = SIZE if channels == 1 else (*SIZE, channels)
    if dtype[0] == "f":
        return RNG.random(shape).astype(dtype)
    top = {"uint8": 255, "int16": 32767, "uint16": 65535, "int32": 65535, "uint32": 65535}[dtype]
    values = RNG.integers(0, top + 1, shape).astype(dtype)
    values.flat[0] = top
    return values


def eight(values: np.ndarray) -> np.ndarray:
    """The rule in one line: by depth, or 0..1, or 0..65535."""
    factor = {"f": 255.0, "u": 1.0 if values.itemsize == 1 else 1 / 257, "i": 1 / 257}[values.dtype.kind]
    return np.rint(values.astype(np.float64) * factor).astype(np.uint8)


@pytest.mark.parametrize("compression", LOSSLESS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "int32", "float16", "float32", "float64"])
def test_every_layout_gives_the_numbers_that_were_written(dtype: str, compression: str) -> None:
    kinds = itertools.product(("contig", "separate"), "<>", (1, 3), (None, (16, 32)), (False, True), (False, True))
    for planar, order, channels, tile, predicted, big in kinds:
        # Predictor 3 is for floats, and tifffile writes none without compression.
        predictor = (3 if dtype[0] == "f" else 2) if predicted and compression not in ("none", "packbits") else None
        if (channels == 1 and planar == "separate") or (predicted and predictor is None):
            continue
        values = numbers(dtype, channels)
        data = written(
            np.moveaxis(values, -1, 0) if planar == "separate" else values,
            photometric="minisblack" if channels == 1 else "rgb",
            planarconfig=planar if channels == 3 else None,
            byteorder=order,
            compression=compression,
            predictor=predictor,
            tile=tile,
            rowsperstrip=None if tile else 7,
            bigtiff=big,
        )
        expected = eight(values)
        image = read_image(data)
        case = f"{planar} {order} {channels} {tile} {predictor} {big}"
        np.testing.assert_array_equal(image.pixels, grey(expected) if channels == 1 else expected, err_msg=case)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 10, 12, 14])
def test_numbers_of_a_few_bits(bits: int, order: str) -> None:
    """Packed here by hand: tifffile 2026.3.3 writes 9 to 15 bits in big-endian files as it does not read them."""
    values = RNG.integers(0, 1 << bits, SIZE)
    text = ["".join(f"{n:0{bits}b}" for n in row) for row in values]
    rows = [int(row + "0" * (-len(row) % 8), 2).to_bytes((len(row) + 7) // 8, "big") for row in text]
    data = by_hand(order, b"".join(rows), {258: bits, 262: 1})
    assert read_image(data).mode == ("1" if bits == 1 else "L" if bits < 8 else "I;16")
    np.testing.assert_array_equal(read_image(data).pixels[..., 0], np.rint(values / ((1 << bits) - 1) * 255))
    if order == "<":
        pytest.importorskip("imagecodecs")
        np.testing.assert_array_equal(tifffile.imread(io.BytesIO(data)), values)
    mirrored = bytes(int(f"{n:08b}"[::-1], 2) for n in b"".join(rows))
    reverse = by_hand(order, mirrored, {258: bits, 262: 1, 266: 2})
    np.testing.assert_array_equal(read_image(reverse).pixels, read_image(data).pixels)


def by_hand(order: str, pixels: bytes, more: dict[int, int], size: tuple[int, int] = SIZE) -> bytes:
    """An uncompressed TIFF of one strip."""
    tags = {256: size[1], 257: size[0], 259: 1, 273: 8, 277: 1, 278: size[0], 279: len(pixels), **more}
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    at, pad = 8 + len(pixels) + len(pixels) % 2, bytes(len(pixels) % 2)
    start = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, at)
    return start + pixels + pad + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_every_photometric(dtype: str) -> None:
    top = 255 if dtype == "uint8" else 65535
    values = numbers(dtype, 1)
    inverse = written(values, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(inverse).pixels[..., 0], 255 - eight(values))
    inks = numbers(dtype, 4)
    expected = np.asarray(PIL.Image.fromarray(eight(inks), "CMYK").convert("RGB"))
    for planar, order in itertools.product(("contig", "separate"), "<>"):
        arranged = np.moveaxis(inks, -1, 0) if planar == "separate" else inks
        data = written(arranged, photometric="separated", planarconfig=planar, byteorder=order, compression="deflate")
        np.testing.assert_array_equal(read_image(data).pixels, expected)
    index = RNG.integers(0, 256, SIZE).astype(np.uint8)
    palette = RNG.integers(0, top + 1, (3, 256)).astype(np.uint16)
    data = written(index, photometric="palette", colormap=palette)
    np.testing.assert_array_equal(read_image(data).pixels, np.moveaxis(eight(palette.astype(dtype)), 0, -1)[index])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_opacity_of_both_kinds(dtype: str) -> None:
    values = numbers(dtype, 4)
    colours, opacity = eight(values[..., :3]), eight(values[..., 3])
    data = written(values, photometric="rgb", extrasamples=["unassalpha"])
    assert np.abs(read_image(data).pixels.astype(int) - on_black(colours, opacity)).max() <= 1
    data = written(values, photometric="rgb", extrasamples=["assocalpha"])
    np.testing.assert_array_equal(read_image(data).pixels, colours)
    assert "laid on black" in read_image(data).warnings[0]
    data = written(values, photometric="rgb", extrasamples=["unspecified"])
    np.testing.assert_array_equal(read_image(data).pixels, colours)
    data = written(values[..., :2], photometric="minisblack", extrasamples=["unassalpha"], planarconfig="contig")
    expected = on_black(grey(eight(values[..., 0])), eight(values[..., 1]))
    assert np.abs(read_image(data).pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32"])
@pytest.mark.parametrize(("photometric", "channels"), [("rgb", 4), ("minisblack", 2)])
def test_opaque_opacity_changes_nothing(dtype: str, photometric: str, channels: int) -> None:
    top = 1.0 if dtype == "float32" else np.iinfo(dtype).max
    values = (RNG.random((*SIZE, channels)) * (top * 0.999)).astype(dtype)
    values[..., -1] = top
    for kind in ("unassalpha", "assocalpha"):
        options = {"photometric": photometric, "planarconfig": "contig"}
        image = read_image(written(values, extrasamples=[kind], **options))
        expected = read_image(written(values, extrasamples=["unspecified"], **options))
        np.testing.assert_array_equal(image.pixels, expected.pixels)
        assert image.warnings == expected.warnings


@pytest.mark.parametrize("space", ["YCbCr", "RGB", "grey"])
@pytest.mark.parametrize("tile", [None, (32, 48)])
def test_jpeg_in_tiff_is_what_imagecodecs_decodes(space: str, tile: tuple[int, int] | None) -> None:
    colours = smooth(90, 130)[..., 1] if space == "grey" else smooth(90, 130)
    options = {"compressionargs": {"outcolorspace": "rgb"}} if space == "RGB" else {}
    photometric = "minisblack" if space == "grey" else "rgb"
    data = written(colours, photometric=photometric, compression="jpeg", tile=tile, **options)
    expected = tifffile.imread(io.BytesIO(data))
    image = read_image(data)
    assert np.abs(image.pixels.astype(int) - (grey(expected) if expected.ndim == 2 else expected)).max() <= 2
    assert np.abs(image.pixels.astype(int) - (grey(colours) if colours.ndim == 2 else colours)).mean() < 4


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_fax_codes(compression: str) -> None:
    values = smooth(64, 96)[..., 0] > 128
    data = encoded(PIL.Image.fromarray(values), "TIFF", compression=compression)
    np.testing.assert_array_equal(read_image(data).pixels[..., 0], np.where(values, 255, 0))


def test_subsampled_colours_without_jpeg_as_the_formula_gives_them() -> None:
    luminance, chroma = smooth(32, 48)[..., 0], smooth(16, 24)[..., 1:]
    units = luminance.reshape(16, 2, 24, 2).transpose(0, 2, 1, 3).reshape(16, 24, 4)
    pixels = np.concatenate([units, chroma], axis=2).tobytes()
    # Two numbers of 16 bits in one value of 32.
    data = by_hand("<", pixels, {258: 8, 262: 6, 277: 3, 530: 2 | 2 << 16}, (32, 48)).replace(
        struct.pack("<HHI", 530, 4, 1), struct.pack("<HHI", 530, 3, 2)
    )
    full = np.dstack([luminance, np.repeat(np.repeat(chroma, 2, 0), 2, 1)])
    expected = np.asarray(PIL.Image.fromarray(full, "YCbCr").convert("RGB")).astype(int)
    np.testing.assert_array_equal(read_image(data).pixels, expected)


def test_cielab_as_pillow_converts_it() -> None:
    picture = PIL.Image.fromarray(smooth(*SIZE)).convert("LAB")
    image = read_image(encoded(picture, "TIFF"))
    np.testing.assert_array_equal(image.pixels, np.asarray(picture.convert("RGB")))


def test_complex_numbers_are_named() -> None:
    with pytest.raises(ImageError, match="complex64") as caught:
        read_image(written(np.ones(SIZE, np.complex64), photometric="minisblack"))
    assert caught.value.code == "unsupported-format"


def test_thumbnails_and_masks_are_passed_over() -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(GREY[::4, ::4], subfiletype=1, metadata=None)
        writer.write(GREY, metadata=None)
    image = read_image(file.getvalue())
    np.testing.assert_array_equal(image.pixels, grey(GREY))
    assert image.warnings == ()


@pytest.mark.parametrize(
    ("shape", "options", "said"),
    [
        ((40, 50, 5), {"photometric": "minisblack", "planarconfig": "contig"}, "5 bands"),
        ((5, 40, 50), {"photometric": "minisblack", "planarconfig": "separate"}, "5 bands"),
        ((40, 50), {"photometric": "depth_map"}, "DEPTH_MAP colours"),
    ],
)
def test_variants_that_are_not_read_are_named(shape: tuple[int, ...], options: dict[str, Any], said: str) -> None:
    with pytest.raises(ImageError, match=said) as caught:
        read_image(written(np.zeros(shape, np.uint8), **options))
    assert caught.value.code == "unsupported-format"


def test_three_bands_that_are_not_called_colours_are_read_as_such_and_said() -> None:
    values = numbers("uint16", 3)
    image = read_image(written(values, photometric="minisblack", planarconfig="contig"))
    np.testing.assert_array_equal(image.pixels, eight(values))
    assert "does not say that its 3 bands are colours" in image.warnings[0]


WITHOUT = """
import sys
sys.modules["imagecodecs"] = None
from pathlib import Path
from pellucid.errors import ImageError
from pellucid.images import read_image

for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        print(path.name, read_image(path).pixels.sum())
    except ImageError as error:
        print(path.name, error.code, error.reason)
"""


def test_only_rare_codecs_need_imagecodecs_and_are_named_without_it(tmp_path: Path) -> None:
    values, floats = smooth(*SIZE), RNG.random(SIZE).astype(np.float32)
    files = {
        "common-lzw": written(values, photometric="rgb", compression="lzw", predictor=2),
        "common-packbits": written(values, photometric="rgb", compression="packbits"),
        "common-zstd": written(floats, compression="zstd", predictor=3),
        "common-jpeg": written(values, photometric="ycbcr", compression="jpeg"),
        "common-twelve": written(values[..., 0].astype(np.uint16) * 16, bitspersample=12, photometric="minisblack"),
        "rare-lerc": written(values, photometric="rgb", compression="lerc"),
        "rare-jpegxl": written(values, photometric="rgb", compression="jpegxl"),
    }
    for name, data in files.items():
        (tmp_path / f"{name}.tif").write_bytes(data)
    command = [sys.executable, "-c", WITHOUT, str(tmp_path)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    for line in lines:
        name = line.partition(".")[0]
        if name.startswith("common"):
            assert line == f"{name}.tif {read_image(files[name]).pixels.sum()}"
        else:
            assert "unsupported-format" in line
            assert "pellucid[codecs]" in line
            assert name.removeprefix("rare-").upper() in line
            assert np.abs(read_image(files[name]).pixels.astype(int) - values).mean() < 2
    assert len(lines) == len(files)


def test_what_a_strip_unpacks_to_is_bounded() -> None:
    if sys.platform == "win32":
        pytest.skip("measures memory with resource")
    import resource
    import zlib

    packed = zlib.compress(bytes(400_000_000), 1)
    data = written(GREY, compression="deflate", rowsperstrip=GREY.shape[0])
    page = tifffile.TiffFile(io.BytesIO(data)).pages[0]
    count = page.tags[279]
    bomb = bytearray(data + packed)
    struct.pack_into("<I", bomb, page.tags[273].valueoffset, len(data))
    struct.pack_into("<I", bomb, count.valueoffset, len(packed))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert read_image(bytes(bomb)).size == GREY.shape
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_large_slides_say_what_to_do() -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((64, 64, 3), np.uint8), photometric="rgb", description="Aperio Image Library")
    with pytest.raises(ImageError, match="whole-slide image"):
        read_image(file.getvalue(), limits=Limits(pixels=1000))


def test_real_floats_and_integers_keep_their_order() -> None:
    ramp = np.linspace(0, 1, SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE)
    images: list[Image] = [
        read_image(written(ramp.astype(dtype), photometric="minisblack", byteorder=">", compression="deflate"))
        for dtype in ("float32", "float64")
    ]
    assert all((np.diff(image.pixels[..., 0].ravel().astype(int)) >= 0).all() for image in images)


def camera(first: dict[str, Any], below: dict[str, Any] | None = None) -> bytes:
    """A TIFF of a preview with `first` as tifffile's options, and a page of 12 bits below it."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(smooth(20, 30), photometric="rgb", metadata=None, subifds=int(below is not None), **first)
        if below is not None:
            shape = (*SIZE, 3) if below["photometric"] == "linear_raw" else SIZE
            writer.write(RNG.integers(0, 4096, shape).astype(np.uint16), metadata=None, **below)
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        camera({"subfiletype": 1}, {"photometric": "cfa"}),
        camera({}, {"photometric": "cfa"}),
        camera({}, {"photometric": "linear_raw"}),
        camera({"extratags": [(50706, 1, 4, bytes([1, 4, 0, 0]), True)]}),
        written(RNG.integers(0, 4096, SIZE).astype(np.uint16), photometric="cfa"),
    ],
    ids=["thumbnail and mosaic", "preview and mosaic", "preview and linear", "DNG", "mosaic"],
)
def test_raw_images_of_cameras_are_named(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"camera's raw image.*rawpy") as caught:
        read_image(data)
    assert caught.value.code == "unsupported-format"


def test_smaller_levels_below_a_page_do_not_make_a_raw_image() -> None:
    image = read_image(camera({}, {"photometric": "minisblack"}))
    np.testing.assert_array_equal(image.pixels, smooth(20, 30))
