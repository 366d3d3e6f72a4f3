"""Every format and mode against pixels made another way."""

import io
import itertools
import os
import struct
import subprocess
import sys
import traceback
import warnings
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageFile
import PIL.ImageOps
import PIL.PngImagePlugin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.image_files import COLOUR, GREY, OPACITY, encoded, exif, grey, on_black, png, smooth, stored, tiff

from pellucid.errors import ImageError
from pellucid.images import Image, Limits, as_image, from_array, from_pil, read_image

ORIENTATION = 274


LOSSLESS = {
    "png grey": (png(GREY, 0), "L", grey(GREY)),
    "png colour": (png(COLOUR, 2), "RGB", COLOUR),
    "png 1 bit": (encoded(PIL.Image.fromarray(GREY > 99), "PNG"), "1", grey(np.where(GREY > 99, 255, 0))),
    "png 4 bits": (encoded(GREY // 16 * 17, "PNG", bits=4), "L", grey(GREY // 16 * 17)),
    "png palette": (png(GREY % 3, 3, (b"PLTE", bytes(range(9)))), "P", (GREY % 3)[..., None] * 3 + np.arange(3)),
    "png grey and alpha": (png(np.dstack([GREY, OPACITY]), 4), "LA", on_black(grey(GREY), OPACITY)),
    "png colour and alpha": (png(np.dstack([COLOUR, OPACITY]), 6), "RGBA", on_black(COLOUR, OPACITY)),
    "png opaque": (png(np.dstack([COLOUR, OPACITY | 255]), 6), "RGBA", COLOUR),
    "png palette with alpha": (
        png(GREY % 3, 3, (b"PLTE", bytes(range(100, 109))), (b"tRNS", bytes([0, 128, 255]))),
        "P",
        on_black((GREY % 3)[..., None] * 3 + np.arange(100, 103), np.array([0, 128, 255])[GREY % 3]),
    ),
    "png transparent colour": (
        png(COLOUR, 2, (b"tRNS", struct.pack(">HHH", *COLOUR[4, 5]))),
        "RGB",
        np.where(np.equal(COLOUR, COLOUR[4, 5]).all(-1, keepdims=True), 0, COLOUR),
    ),
    "png transparent grey": (
        png(GREY, 0, (b"tRNS", struct.pack(">H", GREY[2, 3]))),
        "L",
        grey(np.where(np.equal(GREY, GREY[2, 3]), 0, GREY)),
    ),
    "png 16-bit colour": (png(COLOUR.astype(np.uint16) * 257, 2), "RGB", COLOUR),
    "png 16-bit transparent colour is ignored": (
        png(COLOUR.astype(np.uint16) * 257, 2, (b"tRNS", struct.pack(">HHH", *COLOUR[4, 5].astype(int) * 257))),
        "RGB",
        COLOUR,
    ),
    "bmp": (encoded(COLOUR, "BMP"), "RGB", COLOUR),
    "bmp grey": (encoded(GREY, "BMP"), "L", grey(GREY)),
    "bmp 1 bit": (encoded(PIL.Image.fromarray(GREY > 99), "BMP"), "1", grey(np.where(GREY > 99, 255, 0))),
    "webp": (encoded(COLOUR, "WEBP", lossless=True), "RGB", COLOUR),
    "webp alpha": (
        encoded(np.dstack([COLOUR, OPACITY]), "WEBP", lossless=True, exact=True),
        "RGBA",
        on_black(COLOUR, OPACITY),
    ),
    "gif": (encoded(GREY, "GIF"), "P", grey(GREY)),
    "tiff": (encoded(COLOUR, "TIFF"), "RGB", COLOUR),
    "tiff lzw": (encoded(GREY, "TIFF", compression="tiff_lzw"), "L", grey(GREY)),
    "tiff cmyk": (
        encoded(PIL.Image.fromarray(np.dstack([COLOUR, OPACITY]), "CMYK"), "TIFF"),
        "CMYK",
        np.clip(255 - OPACITY[..., None] - np.rint(COLOUR * (255.0 - OPACITY[..., None]) / 255), 0, 255),
    ),
    "tiff float 0..1": (encoded((GREY / 255).astype(np.float32), "TIFF"), "F", grey(GREY)),
    "tiff float 0..255": (encoded(GREY.astype(np.float32), "TIFF"), "F", grey(GREY)),
    "tiff 32 bits": (encoded(GREY.astype(np.int32) * 257, "TIFF"), "I", grey(GREY)),
    "tiff 16 bits": (encoded(GREY.astype(np.uint16) * 257, "TIFF"), "I;16", grey(GREY)),
    "tiff white is zero": (tiff(GREY.shape, 8, GREY.tobytes(), 0), "L", grey(255 - GREY)),
    "tiff 16 bits white is zero": (
        tiff(GREY.shape, 16, (GREY.astype("<u2") * 257).tobytes(), 0),
        "I;16",
        grey(255 - GREY),
    ),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_files_give_their_pixels(name: str) -> None:
    data, mode, expected = LOSSLESS[name]
    image = read_image(data)
    np.testing.assert_array_equal(image.pixels, expected)
    assert (image.format.lower(), image.mode) == (name.split()[0], mode)
    assert image.stored_size == image.size == (23, 37)
    assert not image.pixels.flags.writeable
    composited = ("alpha" in name or "transparent" in name) and "ignored" not in name
    ranged = {"tiff float 0..255": 255, "tiff 32 bits": 65535}.get(name)
    expected_warnings = ["Transparent parts of the picture were laid on black."] * composited
    expected_warnings += [f"The values have no stated range and were read as 0 to {ranged}."] * (ranged is not None)
    assert list(image.warnings) == expected_warnings


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 20}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_is_what_pillow_decodes(mode: str, options: dict[str, object]) -> None:
    data = encoded(PIL.Image.fromarray(smooth(61, 83)).convert(mode), "JPEG", **options)
    np.testing.assert_array_equal(read_image(data).pixels, np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB")))


def test_real_files_are_what_pillow_decodes(shared_data: Path) -> None:
    for path in (
        sorted((shared_data / "photos").iterdir())[::5] + sorted((shared_data / "xray-lungs" / "masks").iterdir())[::9]
    ):
        expected = PIL.ImageOps.exif_transpose(PIL.Image.open(path)).convert("RGB")
        np.testing.assert_array_equal(read_image(path).pixels, np.asarray(expected))


def test_cmyk_jpeg_by_the_formula_for_inverted_inks() -> None:
    data = encoded(PIL.Image.fromarray(smooth(40, 50)).convert("CMYK"), "JPEG", quality=95)
    inks = np.asarray(PIL.Image.open(io.BytesIO(data))).astype(float)
    expected = 255 - inks[..., 3:] - np.rint(inks[..., :3] * (255 - inks[..., 3:]) / 255)
    image = read_image(data)
    assert image.mode == "CMYK"
    np.testing.assert_allclose(image.pixels, np.clip(expected, 0, 255), atol=1)
    assert np.abs(image.pixels - smooth(40, 50).astype(float)).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_all_orientations_give_one_picture(kind: str, orientation: int) -> None:
    tag = PIL.Image.Exif()
    tag[ORIENTATION] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(stored(COLOUR, orientation), kind, exif=tag, **options)
    image = read_image(data)
    np.testing.assert_array_equal(image.pixels, COLOUR)
    assert (image.orientation, image.size) == (orientation, (23, 37))
    assert image.stored_size == ((37, 23) if orientation > 4 else (23, 37))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("order", "kind"), [("<", 3), (">", 3), (">", 4)])
def test_jpeg_orientation_in_either_byte_order(orientation: int, order: str, kind: int) -> None:
    upright = smooth(48, 64)
    data = encoded(stored(upright, orientation), "JPEG", quality=95, exif=exif(orientation, order, kind))
    image = read_image(data)
    assert np.abs(image.pixels.astype(int) - upright).max() < 12
    np.testing.assert_array_equal(image.pixels, from_pil(PIL.Image.open(io.BytesIO(data))).pixels)


@pytest.mark.parametrize(
    "block", [b"", exif(0), exif(9), exif(3)[:20], exif(3).replace(b"II", b"XX"), exif(3).replace(b"\x08", b"\xff", 1)]
)
def test_odd_exif_is_upright(block: bytes) -> None:
    assert read_image(encoded(smooth(20, 30), "JPEG", exif=block)).orientation == 1


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    at_least=st.tuples(st.integers(1, 120), st.integers(1, 120)),
    orientation=st.integers(1, 8),
)
def test_scaled_decoding_is_never_smaller_than_asked(
    height: int, width: int, at_least: tuple[int, int], orientation: int
) -> None:
    data = encoded(np.full((height, width), 90, np.uint8), "JPEG", exif=exif(orientation))
    image = read_image(data, at_least=at_least)
    upright = (width, height) if orientation > 4 else (height, width)
    assert image.stored_size == (height, width)
    assert image.size == upright
    assert image.pixels.shape[:2] == tuple(-(-n // image.reduction) for n in upright)
    if image.reduction > 1:
        assert all(have >= 1.5 * want for have, want in zip(image.pixels.shape, at_least, strict=False))
    else:
        assert min(n / want for n, want in zip(upright, at_least, strict=True)) < 3
    left, top, right, bottom = image.box
    assert 0 <= left < right <= image.pixels.shape[1]
    assert 0 <= top < bottom <= image.pixels.shape[0]
    assert (bottom - top, right - left) == pytest.approx([n / image.reduction for n in upright])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_box_of_a_scaled_image_is_the_whole_picture(orientation: int) -> None:
    ramp = np.add.outer(np.linspace(0, 120, 403), np.linspace(0, 130, 301)).astype(np.uint8)
    data = encoded(stored(grey(ramp), orientation), "JPEG", quality=98, exif=exif(orientation))
    image, full = read_image(data, at_least=(24, 24)), read_image(data)
    assert image.reduction == 8
    small = image.upright.resize((24, 24), PIL.Image.Resampling.BILINEAR, box=image.box)
    expected = full.upright.resize((24, 24), PIL.Image.Resampling.BILINEAR)
    assert np.abs(np.asarray(small).astype(int) - np.asarray(expected)).max() <= 1


def test_as_image_takes_whatever_holds_an_image(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(png(COLOUR, 2))
    image = read_image(path)
    for source in (
        path,
        str(path),
        path.read_bytes(),
        bytearray(path.read_bytes()),
        PIL.Image.open(path),
        COLOUR,
        image,
    ):
        np.testing.assert_array_equal(as_image(source).pixels, COLOUR)
    assert as_image(image) is image
    lazy = PIL.Image.open(io.BytesIO(path.read_bytes()[:-100]))
    with pytest.raises(ImageError, match="cannot be decoded"):
        as_image(lazy)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.png", ()),
        ("a.PNG", ()),
        ("a.bin", ()),
        ("a", ()),
        ("a.jpg", ("The file is named .jpg but holds PNG.",)),
        ("a.dcm", ("The file is named .dcm but holds PNG.",)),
    ],
)
def test_the_first_bytes_count_and_not_the_name(tmp_path: Path, name: str, expected: tuple[str, ...]) -> None:
    (tmp_path / name).write_bytes(png(COLOUR, 2))
    image = read_image(tmp_path / name)
    assert (image.format, image.warnings) == ("PNG", expected)


@pytest.mark.parametrize(
    ("size", "sentences"), [((1, 1), 1), ((1, 65000), 2), ((65000, 1), 2), ((16, 160), 0), ((20, 201), 1)]
)
def test_tiny_and_thin_pictures_are_read_with_a_warning(size: tuple[int, int], sentences: int) -> None:
    image = read_image(png(np.zeros(size, np.uint8), 0))
    assert image.pixels.shape == (*size, 3)
    # One more: it is black all over.
    assert len(image.warnings) == sentences + 1


def test_a_picture_of_one_tone_carries_a_warning() -> None:
    flat = np.full((40, 40, 3), (200, 30, 90), np.uint8)
    assert any("one flat tone" in warning for warning in from_array(flat).warnings)
    flat[20, 20, 1] += 3  # none of the few pixels that are looked at first
    assert not from_array(flat).warnings
    assert any("one flat tone" in warning for warning in from_array(np.full((1, 300), 7, np.uint8)).warnings)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    def code(source: Path | str | bytes, limits: Limits | None = None) -> str:
        with pytest.raises(ImageError) as caught:
            read_image(source, limits=limits or Limits())
        return caught.value.code

    (tmp_path / "empty.png").touch()
    (tmp_path / "x.png").write_bytes(png(COLOUR, 2))
    assert code(tmp_path / "none.png") == "missing"
    assert code(tmp_path) == "missing"
    assert code("a\0b") == "missing"
    assert code("x" * 5000) in ("missing", "unreadable")
    assert code(tmp_path / "empty.png") == "empty"
    assert code(tmp_path / "x.png", Limits(file_bytes=100)) == "too-large"
    assert code(png(COLOUR, 2), Limits(file_bytes=100)) == "too-large"
    assert code(png(COLOUR, 2), Limits(pixels=23 * 37 - 1)) == "too-large"
    assert read_image(png(COLOUR, 2), limits=Limits(pixels=23 * 37)).format == "PNG"
    if hasattr(os, "geteuid") and os.geteuid():
        (tmp_path / "x.png").chmod(0)
        assert code(tmp_path / "x.png") == "unreadable"


def test_metadata_is_neither_kept_nor_quoted() -> None:
    info = PIL.PngImagePlugin.PngInfo()
    info.add_text("Author", "Jane Roe")
    info.add_itxt("Comment", "Jane Roe", zip=True)
    tag = PIL.Image.Exif()
    tag[0x013B] = "Jane Roe"
    files = [
        encoded(COLOUR, "PNG", pnginfo=info, exif=tag),
        encoded(COLOUR, "JPEG", exif=tag, comment=b"Jane Roe", xmp=b"<Jane Roe>"),
        encoded(COLOUR, "WEBP", exif=tag, xmp=b"<Jane Roe>"),
        encoded(COLOUR, "GIF", comment=b"Jane Roe"),
        encoded(COLOUR, "TIFF", exif=tag),
    ]
    for data, cut in itertools.product(files, (None, -40, 60)):
        assert b"Jane Roe" in data or data[1:4] == b"PNG"
        try:
            said = repr(read_image(data[:cut]))
        except ImageError as error:
            said = "".join(traceback.format_exception(error, limit=0))
        assert "Jane" not in said


def test_nothing_of_pillow_is_changed_and_no_warning_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIL.ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    before = PIL.Image.MAX_IMAGE_PIXELS, list(warnings.filters), list(PIL.Image.ID)
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", COLOUR.size // 3 - 1)
    for data in (
        png(COLOUR, 2),
        encoded(COLOUR, "JPEG"),
        encoded(COLOUR, "GIF"),
        encoded(COLOUR, "BMP"),
        encoded(COLOUR, "TIFF"),
    ):
        assert read_image(data).pixels.shape == COLOUR.shape
    monkeypatch.undo()
    assert (PIL.Image.MAX_IMAGE_PIXELS, list(warnings.filters), list(PIL.Image.ID)) == before


def test_the_module_is_cheap_to_import() -> None:
    code = (
        "import sys, pellucid.images; print([m for m in ('pydantic', 'pydicom', 'scipy', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_image_is_plain_data() -> None:
    image = Image(COLOUR, "PNG", "RGB", (23, 37))
    assert image.size == (23, 37)
    assert image.box == (0, 0, 37, 23)
