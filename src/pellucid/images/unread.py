"""Files that are not read: what they are, and what to do with them."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple

from ..errors import ImageError

FIRST = 1024

CONVERT = "Convert it to PNG or JPEG, for example with {}."
RAW = "Develop it to JPEG, PNG or TIFF, for example with rawpy."
SLICES = "It is a volume and not a picture: save its slices as PNG, for example with {}."
PATCHES = "Cut patches from it, for example with {}, and classify those."
UNPACK = "Unpack it and give the images in it."


class Unread(NamedTuple):
    """One kind of file: what its first bytes match, what it is called, and what to do; whether it is an image."""

    signature: bytes
    title: str
    advice: str
    image: bool = True


# The first that fits counts.
UNREAD = (
    Unread(
        rb"version https://git-lfs",
        "a Git LFS pointer, which stands for an image that was not fetched",
        "Run `git lfs pull` in its repository.",
        False,
    ),
    Unread(
        rb"(\.\./)*(\.git)?/annex/objects/",
        "a git-annex pointer, which stands for an image that was not fetched",
        "Run `git annex get` in its repository.",
        False,
    ),
    Unread(rb".{4}ftyp(avif|avis)", "an AVIF image", CONVERT.format("Pillow or ImageMagick")),
    Unread(
        rb".{4}ftyp(hei[cfmsx]|hev[cmsx]|mif[12]|msf1|miaf|hif1)",
        "a HEIC image",
        CONVERT.format("pillow-heif or heif-convert"),
    ),
    Unread(rb".{4}ftypcrx ", "a camera's raw image (CR3)", RAW),
    Unread(rb"II\*\0.{4}CR\x02", "a camera's raw image (CR2)", RAW),
    Unread(rb".{4}ftyp", "a video", "Save single frames as PNG or JPEG, for example with ffmpeg.", False),
    Unread(rb"\x1aE\xdf\xa3|RIFF.{4}AVI |\0\0\x01[\xba\xb3]|OggS", "a video", "Save single frames as PNG.", False),
    Unread(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 image", CONVERT.format("Pillow or opj_decompress")),
    Unread(rb"\0\0\0\x0cJXL |\xff\x0a", "a JPEG XL image", CONVERT.format("djxl or imagecodecs")),
    Unread(rb"II\xbc\x01", "a JPEG XR image", CONVERT.format("imagecodecs")),
    Unread(rb"8BPS", "a Photoshop document", CONVERT.format("Pillow or ImageMagick")),
    Unread(rb"gimp xcf", "a GIMP document", CONVERT.format("GIMP")),
    Unread(rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript document", CONVERT.format("Ghostscript")),
    Unread(rb"\0\0[\x01\x02]\0[^\0]\0", "an icon", CONVERT.format("Pillow")),
    Unread(rb"icns", "an icon", CONVERT.format("Pillow")),
    Unread(rb"P[1-7]\s|P[Ff]\s", "a Netpbm image (PNM)", CONVERT.format("Pillow or ImageMagick")),
    Unread(rb"qoif", "a QOI image", CONVERT.format("Pillow")),
    Unread(rb"v/1\x01", "an OpenEXR image", CONVERT.format("OpenCV or ImageMagick")),
    Unread(rb"#\?(RADIANCE|RGBE)", "a Radiance HDR image", CONVERT.format("OpenCV or ImageMagick")),
    Unread(rb"DDS ", "a DDS texture", CONVERT.format("Pillow")),
    Unread(rb"\x0a[\0-\x05]\x01[\x01\x02\x04\x08]", "a PCX image", CONVERT.format("Pillow")),
    Unread(rb"[\x8a\x8b](MNG|JNG)", "an MNG or JNG image", CONVERT.format("ImageMagick")),
    Unread(rb"BPG\xfb", "a BPG image", CONVERT.format("bpgdec")),
    Unread(rb"FLIF", "a FLIF image", CONVERT.format("flif")),
    Unread(rb"AT&TFORM", "a DjVu document", CONVERT.format("ddjvu")),
    Unread(rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF", "a Windows metafile", CONVERT.format("Inkscape")),
    Unread(rb"SIMPLE  =", "a FITS image", CONVERT.format("astropy")),
    Unread(rb"FUJIFILMCCD-RAW|IIU\0|II(RO|RS)|MMOR|FOVb|II\x1a\0\0\0HEAP", "a camera's raw image", RAW),
    Unread(rb".{344}(n\+1|ni1)\0|.{4}(n\+2|ni2)\0", "a NIfTI file", SLICES.format("nibabel")),
    Unread(rb"NRRD000", "an NRRD file", SLICES.format("SimpleITK")),
    Unread(rb"(ObjectType|NDims) *=", "a MetaImage file", SLICES.format("SimpleITK")),
    Unread(rb"\x5c\x01\0\0.{34}r|\0\0\x01\x5c.{34}r", "an Analyze header", SLICES.format("nibabel")),
    Unread(rb"ZISRAWFILE", "a Zeiss CZI slide", PATCHES.format("czifile or QuPath")),
    Unread(rb"\xda\xce\xbe\x0a", "a Nikon ND2 file", PATCHES.format("nd2 or QuPath")),
    Unread(rb"\x70\0\0\0.{4}\x2a", "a Leica LIF file", PATCHES.format("readlif or QuPath")),
    Unread(rb"\x93NUMPY", "a NumPy array", "Save it as PNG, or load it with numpy and pass the array."),
    Unread(rb"\x89HDF\r\n\x1a\n", "an HDF5 file", "Save the images in it as PNG, for example with h5py.", False),
    Unread(rb"MATLAB ", "a MATLAB file", "Save the images in it as PNG, for example with scipy.io.", False),
    Unread(rb"PAR1", "a Parquet table", "`pellucid batch` reads the images in it; or save them as files.", False),
    Unread(rb"%PDF", "a PDF document", "Save its pages as PNG, for example with pdftoppm.", False),
    Unread(rb"PK\x03\x04", "a ZIP archive", UNPACK, False),
    Unread(rb"\x1f\x8b", "a gzip archive", UNPACK, False),
    Unread(rb"Rar!|7z\xbc\xaf|BZh[1-9]|\xfd7zXZ\0|\x28\xb5\x2f\xfd|.{257}ustar", "an archive", UNPACK, False),
)


def refusal(data: bytes, read: Sequence[str]) -> ImageError:
    """The error for a file of no format that is read; `read` are the names of those that are."""
    names = f"{', '.join(read[:-1])} and {read[-1]}"
    start = data[:FIRST].lstrip(b"\xef\xbb\xbf \t\r\n\0").lower()
    if b"<svg" in start:
        row: Unread | None = Unread(b"", "an SVG drawing", CONVERT.format("Inkscape or rsvg-convert"))
    elif start.startswith(b"<"):
        row = Unread(b"", "a web page or XML", "Check that the download was allowed.", False)
    else:
        row = _recognised(_head_of_gzip(data)) or _recognised(data)
    if row is None:
        text = "text" if _is_text(data[:FIRST]) else "none of " + names
        return ImageError("not-an-image", f"The file is not an image: its first bytes are {text}.")
    if row.image:
        return ImageError("unsupported-format", f"The file is {row.title}; only {names} are read. {row.advice}")
    return ImageError("not-an-image", f"The file is {row.title} and not an image. {row.advice}")


def _recognised(data: bytes) -> Unread | None:
    return next((row for row in UNREAD if re.match(row.signature, data[:FIRST], re.DOTALL)), None)


def _head_of_gzip(data: bytes) -> bytes:
    """The first bytes in a gzip file: medical volumes are kept that way. Empty when it is none."""
    if data[:2] != b"\x1f\x8b":
        return b""
    try:
        return zlib.decompressobj(31).decompress(data[: 2**16], FIRST)
    except zlib.error:
        return b""


def _is_text(start: bytes) -> bool:
    try:
        text = start[: start.rfind(b" ") + 1 or len(start)].decode("utf-8")
    except UnicodeDecodeError:
        return False
    return bool(text.strip()) and all(c.isprintable() or c in "\t\r\n" for c in text)
