"""Files made to deceive, to break off, or to exhaust the reader: refused in time and in little memory."""

import gzip
import random
import struct
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tests.image_files import COLOUR, GREY, encoded, exif, png, smooth, tiff

from pellucid.errors import ImageError
from pellucid.images import Limits, read_image
from pellucid.images.formats import SERVED_FORMATS

PICTURE = smooth(96, 128)


def refused(data: bytes | Path) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(data)
    assert caught.value.reason.endswith((".", "'"))
    assert "\n" not in caught.value.reason
    return caught.value.code


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(width: int, height: int, depth: int, *, decodable: bool = False) -> bytes:
    """A black grey PNG whose pixels, when `decodable`, are really all there."""
    body = zlib.compress(bytes(1000))
    if decodable:
        packer, rows = zlib.compressobj(), bytes((width * depth + 7) // 8 + 1) * 100
        first, again = (packer.compress(rows) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
        body = first + again * (height // 100 - 1) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


WHOLE = {
    "jpeg": encoded(PICTURE, "JPEG"),
    "progressive jpeg": encoded(PICTURE, "JPEG", progressive=True),
    "jpeg with thumbnail": encoded(PICTURE, "JPEG", exif=exif(1) + encoded(PICTURE[::8, ::8], "JPEG")),
    "png": encoded(PICTURE, "PNG"),
    "interlaced png": encoded(PICTURE, "PNG", interlace=1),
    "webp": encoded(PICTURE, "WEBP"),
    "lossless webp": encoded(PICTURE, "WEBP", lossless=True),
    "bmp": encoded(PICTURE, "BMP"),
    "gif": encoded(PICTURE, "GIF"),
    "tiff": encoded(PICTURE, "TIFF"),
    "lzw tiff": encoded(PICTURE, "TIFF", compression="tiff_lzw"),
    "jpeg tiff": encoded(PICTURE, "TIFF", compression="jpeg"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_truncated_files_are_refused_wherever_they_break_off(name: str) -> None:
    data = WHOLE[name]
    for kept in (0.02, 0.1, 0.35, 0.5, 0.75, 0.9, 0.98):
        assert refused(data[: int(kept * len(data))]) == "damaged"
    for missing in (3, 4):
        assert refused(data[:-missing]) == "damaged"


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize(
    "tail", [b"PK\x03\x04" + bytes(300), b"<html><script>alert(1)</script>", b"\xff\xd8\xff\xe0" * 9]
)
def test_appended_bytes_change_nothing(name: str, tail: bytes) -> None:
    expected = read_image(WHOLE[name])
    np.testing.assert_array_equal(read_image(WHOLE[name] + tail).pixels, expected.pixels)


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [
        (b"", "empty", "empty"),
        (b"<!DOCTYPE html><html></html>", "not-an-image", "web page"),
        (b"\xef\xbb\xbf  <?xml version='1.0'?><note/>", "not-an-image", "web page or XML"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "unsupported-format", "SVG"),
        (b"<?xml version='1.0'?>\n<SVG/>", "unsupported-format", "SVG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9", "unsupported-format", "PostScript"),
        (b"8BPS\0\x01" + bytes(40), "unsupported-format", "Photoshop"),
        (b"%PDF-1.7\n", "not-an-image", "PDF"),
        (b"PK\x03\x04" + bytes(40), "not-an-image", "ZIP"),
        (b"\x1f\x8b\x08\0" + bytes(40), "not-an-image", "gzip"),
        (b"\0\0\0\x1cftypheic" + bytes(40), "unsupported-format", "HEIC"),
        (b"\0\0\0\x1cftypavif" + bytes(40), "unsupported-format", "AVIF"),
        (encoded(COLOUR, "JPEG2000"), "unsupported-format", "JPEG 2000"),
        (encoded(COLOUR, "ICO"), "unsupported-format", "icon"),
        (encoded(COLOUR, "PPM"), "unsupported-format", "Netpbm"),
        (b"BM, she said, and went on.", "not-an-image", "first bytes"),
        (b"RIFF\x24\0\0\0WAVEfmt " + bytes(40), "not-an-image", "first bytes"),
        (bytes(1000), "not-an-image", "first bytes"),
    ],
)
def test_other_files_are_refused_by_what_they_are(tmp_path: Path, data: bytes, code: str, said: str) -> None:
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(ImageError, match=said) as caught:
        read_image(tmp_path / "x.png")
    assert caught.value.code == code


def test_formats_can_be_excluded() -> None:
    data = encoded(COLOUR, "TIFF")
    with pytest.raises(ImageError, match=r"a TIFF image; only .* are read here") as caught:
        read_image(data, limits=Limits(formats=SERVED_FORMATS))
    assert caught.value.code == "unsupported-format"
    assert read_image(data, limits=Limits(formats=SERVED_FORMATS | {"TIFF"})).format == "TIFF"


def test_bombs_are_refused_in_little_memory(tmp_path: Path) -> None:
    (tmp_path / "square.png").write_bytes(png_of(60_000, 60_000, 1, decodable=True))
    (tmp_path / "pillow only warns.png").write_bytes(png_of(13_300, 13_300, 8, decodable=True))
    text = b"Comment\0\0" + zlib.compress(bytes(200_000_000), 1)
    (tmp_path / "text.png").write_bytes(png(GREY, 0, *[(b"zTXt", text)] * 3))
    (tmp_path / "huge.jpg").write_bytes(WHOLE["jpeg"].replace(struct.pack(">HH", 96, 128), b"\xff\xff" * 2))
    webp = b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\x3f\x00" * 2 + WHOLE["webp"][12:]
    (tmp_path / "huge.webp").write_bytes(b"RIFF" + struct.pack("<I", len(webp) + 4) + b"WEBP" + webp)
    gif = WHOLE["gif"]
    (tmp_path / "huge.gif").write_bytes(gif[:6] + b"\xff" * 4 + gif[10:])
    (tmp_path / "huge.bmp").write_bytes(WHOLE["bmp"][:18] + struct.pack("<ii", 50_000, -50_000) + WHOLE["bmp"][26:])
    (tmp_path / "huge.tif").write_bytes(tiff((60_000, 60_000), 8, bytes(64)))
    with (tmp_path / "long.png").open("wb") as file:
        file.write(png(GREY, 0)[:33])
        file.truncate(400_000_000)
    code = """
import pathlib, sys
import pellucid.images
from pellucid.errors import ImageError

def most():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])

before = most()
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        print(path.name, pellucid.images.read_image(path).size)
    except ImageError as error:
        print(path.name, error.code)
print((most() - before) // 1024)
"""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc to measure memory")
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    assert lines[:-1] == [
        "huge.bmp too-large",
        "huge.gif too-large",
        "huge.jpg too-large",
        "huge.tif too-large",
        "huge.webp too-large",
        "long.png too-large",
        "pillow only warns.png too-large",
        "square.png too-large",
        "text.png (23, 37)",
    ]
    assert int(lines[-1]) < 150, "megabytes; the longest file read is 64"


def test_a_second_header_cannot_smuggle_in_another_size() -> None:
    data = png(GREY, 0)
    assert (
        refused(data[:33] + chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)) + data[33:])
        == "damaged"
    )
    jpeg = WHOLE["jpeg"]
    at = jpeg.index(b"\xff\xc0")
    frame = jpeg[at : at + 19]
    assert refused(jpeg[:at] + frame + jpeg[at:]) == "damaged"
    webp = WHOLE["webp"][12:] + b"VP8X" + struct.pack("<I", 10) + bytes(4) + b"\x09\0\0" * 2
    assert read_image(b"RIFF" + struct.pack("<I", len(webp) + 4) + b"WEBP" + webp).size == (96, 128)


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_pictures_without_a_side_are_damaged(size: tuple[int, int]) -> None:
    assert refused(png_of(*size, 8)) == "damaged"


def test_empty_scans_cannot_keep_the_decoder_busy() -> None:
    data = encoded(smooth(600, 800), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    (length,) = struct.unpack_from(">H", data, start + 2)
    scans = data[start : start + 2 + length] + b"\x00"
    begun = time.perf_counter()
    assert refused(data[:-2] + scans * 200_000 + data[-2:]) == "damaged"
    assert time.perf_counter() - begun < 2


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff" + b"\x00\xff" * 5_000_000,
        b"\xff\xd8" + b"\xff" * 10_000_000,
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", bytes(13)) + chunk(b"tEXt", b"") * 800_000,
        b"RIFF\xf8\xff\xff\x00WEBP" + b"XXXX\0\0\0\0" * 2_100_000,
        b"GIF89a\x09\0\x09\0\0\0\0" + b"\x21\xfe\0" * 1_000_000,
    ],
)
def test_millions_of_segments_are_refused_in_time(data: bytes) -> None:
    begun = time.perf_counter()
    assert refused(data) == "damaged"
    assert time.perf_counter() - begun < 2


@pytest.mark.parametrize(("kind", "options"), [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True})])
def test_the_first_of_500_frames_is_read(kind: str, options: dict[str, object]) -> None:
    frames = [PIL.Image.fromarray(np.full((20, 30), n % 256, np.uint8)) for n in range(500)]
    first = PIL.Image.fromarray(np.arange(600, dtype=np.uint16).astype(np.uint8).reshape(20, 30))
    data = encoded(first, kind, save_all=True, append_images=frames, **options)
    image = read_image(data)
    np.testing.assert_array_equal(image.pixels[..., 0], np.asarray(first))
    assert image.warnings == ("The file holds several pictures; only the first was read.",)


def test_the_first_page_of_a_tiff_is_read() -> None:
    data = encoded(PIL.Image.fromarray(COLOUR), "TIFF", save_all=True, append_images=[PIL.Image.new("L", (5, 5))])
    image = read_image(data)
    np.testing.assert_array_equal(image.pixels, COLOUR)
    assert "several" in image.warnings[0]


def test_a_checksum_that_does_not_fit_is_damage() -> None:
    data = bytearray(WHOLE["png"])
    data[len(data) // 2] ^= 1
    assert refused(bytes(data)) == "damaged"


def test_variants_that_are_not_read() -> None:
    bmp = bytearray(encoded(GREY, "BMP"))
    bmp[30] = 1
    assert refused(bytes(bmp)) == "unsupported-format"
    jpeg = bytearray(WHOLE["jpeg"])
    jpeg[jpeg.index(b"\xff\xc0") + 4] = 12
    assert refused(bytes(jpeg)) == "unsupported-format"


def test_mutilated_files_give_an_image_or_an_image_error() -> None:
    chance = random.Random(5)
    outcomes = set()
    for _ in range(1000):
        data = bytearray(WHOLE[chance.choice([n for n in WHOLE if "tiff" not in n])])
        for _ in range(chance.randrange(1, 6)):
            data[chance.randrange(chance.choice([40, 700, len(data)]))] = chance.randrange(256)
        at = chance.randrange(len(data))
        data[at:at] = chance.randbytes(chance.choice([0, 0, 7]))
        try:
            read_image(bytes(data), at_least=chance.choice([None, (9, 9)]), limits=Limits(pixels=200_000))
            outcomes.add("read")
        except ImageError as error:
            outcomes.add(error.code)
    assert {"read", "damaged"} < outcomes


def test_threads_read_at_once() -> None:
    files = [WHOLE[name] for name in WHOLE] * 6
    one_by_one = [read_image(data).pixels for data in files]
    with ThreadPoolExecutor(8) as pool:
        at_once = list(pool.map(lambda data: read_image(data).pixels, files))
    for a, b in zip(one_by_one, at_once, strict=True):
        np.testing.assert_array_equal(a, b)


UNREAD = [
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "not-an-image", "git lfs pull"),
    (b"../../.git/annex/objects/x1/MD5E-s1--a.jpg\n", "not-an-image", "git annex get"),
    (b"\0\0\0\x1cftypmif1" + bytes(40), "unsupported-format", "HEIC"),
    (b"\0\0\0\x1cftyphevx" + bytes(40), "unsupported-format", "pillow-heif"),
    (b"\0\0\0\x1cftypavis" + bytes(40), "unsupported-format", "AVIF"),
    (b"\0\0\0\x18ftypmp42" + bytes(40), "not-an-image", "a video"),
    (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "unsupported-format", "JPEG XL"),
    (b"\xff\x0a" + bytes(40), "unsupported-format", "JPEG XL"),
    (b"P5\n3 3\n255\n" + bytes(9), "unsupported-format", "Netpbm"),
    (b"qoif" + bytes(40), "unsupported-format", "QOI"),
    (b"v/1\x01\x02\0\0\0", "unsupported-format", "OpenEXR"),
    (bytes(344) + b"n+1\0" + bytes(40), "unsupported-format", "nibabel"),
    (gzip.compress(bytes(344) + b"n+1\0" + bytes(400)), "unsupported-format", "NIfTI"),
    (b"\x93NUMPY\x01\0v\0{'descr'", "unsupported-format", "NumPy array"),
    (b"NRRD0004\ntype: short", "unsupported-format", "NRRD"),
    (b"SIMPLE  =                    T", "unsupported-format", "FITS"),
    (b"ZISRAWFILE" + bytes(40), "unsupported-format", "patches"),
    (b"\x89HDF\r\n\x1a\n" + bytes(40), "not-an-image", "HDF5"),
    (b"FUJIFILMCCD-RAW 0201", "unsupported-format", "raw image"),
    (b"II*\0\x10\0\0\0CR\2\0" + bytes(40), "unsupported-format", "raw image .CR2.*rawpy"),
    (b"id,label\n1,cat\n", "not-an-image", "first bytes are text"),
]


@pytest.mark.parametrize(("data", "code", "said"), UNREAD)
def test_files_that_are_not_read_are_named_with_what_to_do(data: bytes, code: str, said: str) -> None:
    with pytest.raises(ImageError, match=said) as caught:
        read_image(data)
    assert caught.value.code == code
    assert "damaged" not in caught.value.reason


@pytest.mark.parametrize(("components", "said"), [(1, "12 bits and 1 channel,"), (3, "12 bits and 3 channels,")])
def test_jpegs_of_12_bits_are_named(components: int, said: str) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    values = np.zeros((16, 16) if components == 1 else (16, 16, 3), np.uint16)
    assert f"a JPEG of {said} which is not read" in reason(imagecodecs.jpeg8_encode(values, bitspersample=12))


def reason(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(data)
    assert caught.value.code == "unsupported-format"
    return caught.value.reason


def dib(header: bytes, rest: bytes) -> bytes:
    return struct.pack("<I", len(header) + 4) + header + rest


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_a_dib_is_the_bmp_without_its_file_header(mode: str) -> None:
    picture = PIL.Image.fromarray(smooth(20, 33)).convert(mode)
    data = encoded(picture, "DIB")
    assert data == encoded(picture, "BMP")[14:]
    image = read_image(data)
    assert image.format == "BMP"
    np.testing.assert_array_equal(image.pixels, np.asarray(picture.convert("RGB")))


def test_dibs_with_masks_and_of_the_old_header() -> None:
    colours = smooth(20, 32)
    words = np.dstack([colours[::-1, :, ::-1], np.zeros((20, 32), np.uint8)]).tobytes()
    header = struct.pack("<iiHHIIiiII", 32, 20, 1, 32, 3, 0, 0, 0, 0, 0)
    masks = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)
    np.testing.assert_array_equal(read_image(dib(header, masks + words)).pixels, colours)
    old = struct.pack("<HHHH", 32, 20, 1, 24)
    np.testing.assert_array_equal(read_image(dib(old, colours[::-1, :, ::-1].tobytes())).pixels, colours)
    # A palette that a display may use stands before pixels of true colour too.
    header = struct.pack("<iiHHIIiiII", 32, 20, 1, 24, 0, 0, 0, 0, 5, 0)
    np.testing.assert_array_equal(read_image(dib(header, bytes(20) + colours[::-1, :, ::-1].tobytes())).pixels, colours)
    with pytest.raises(ImageError) as caught:
        read_image(dib(struct.pack("<iiHHIIiiII", 32, 20, 1, 24, 0, 0, 0, 0, 2**32 - 1, 0), bytes(2000)))
    assert caught.value.code == "damaged"
    assert "damaged" not in reason(dib(struct.pack("<iiHHIIiiII", 32, 20, 1, 8, 1, 0, 0, 0, 0, 0), bytes(2000)))


def test_lossless_jpegs_are_never_decoded_at_a_reduced_size() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    data = imagecodecs.jpeg8_encode(np.ascontiguousarray(smooth(300, 400)), lossless=True)
    image = read_image(data, at_least=(30, 30))
    assert image.reduction == 1
    np.testing.assert_array_equal(image.pixels, smooth(300, 400))


def test_jpeg_ls_is_named() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    with pytest.raises(ImageError, match="JPEG-LS") as caught:
        read_image(imagecodecs.jpegls_encode(GREY))
    assert caught.value.code == "unsupported-format"


def arithmetic_jpeg(rows: int, columns: int) -> bytes:
    """A grey JPEG with arithmetic coding: any bytes decode to something, so these are of chance, a restart each row."""

    def segment(marker: int, body: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body

    chance = random.Random(3)
    frame = struct.pack(">BHHB", 8, rows * 8, columns * 8, 1) + b"\x01\x11\x00"
    parts = [b"\xff\xd8", segment(0xDB, b"\0" + bytes([1] * 64)), segment(0xC9, frame)]
    parts += [segment(0xDD, struct.pack(">H", columns)), segment(0xDA, b"\x01\x01\x00\x00\x3f\x00")]
    for row in range(rows):
        parts.append(bytes(chance.randrange(255) for _ in range(columns * 40)))
        parts.append(bytes([0xFF, 0xD0 + row % 8]) if row + 1 < rows else b"\xff\xd9")
    return b"".join(parts)


def test_arithmetic_jpegs_of_more_than_one_block_are_read() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    data = arithmetic_jpeg(40, 64)
    assert len(data) > 2**16
    image = read_image(data)
    np.testing.assert_array_equal(image.pixels[..., 0], imagecodecs.jpeg8_decode(data))
    assert image.pixels[-8:].std() > 1
