"""One picture from a DICOM file, as a viewer shows it, without reading who it is of.

Stored values pass through the modality transformation (rescale or table), the first VOI transformation (table, else
window) and the presentation table; without the last, an inversion follows where the least value is white. As that is a
function of one stored value it is tabulated once. Without a VOI transformation the full range of the stored bits
becomes 0..255.

Reference: DICOM PS3.3, C.7.6.3 (pixels), C.11.1 (modality), C.11.2 (VOI), C.11.6 (presentation).
"""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image

from .._optional import require
from ..errors import ImageError, MissingDependencyError
from .containers import check_pixels, jpeg_header, quiet, truncated
from .conversion import DARK, NEARLY_BLACK, NEARLY_ONE_GREY, Decoded, Uint8Array, through_table, to_depth_eight
from .dicom_values import flattened, grey_table, presented, stored_values, with_plain_palette

SIZES = ["NumberOfFrames", "SamplesPerPixel", "Rows", "Columns", "BitsAllocated"]
HUES = ("Red", "Green", "Blue")
# Only these are parsed: names, dates and comments are stepped over.
TAGS = [
    *SIZES, "PhotometricInterpretation", "PlanarConfiguration", "BitsStored", "HighBit", "PixelRepresentation",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction",
    "VOILUTSequence", "PresentationLUTShape", "PresentationLUTSequence",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "PixelData",
    "FloatPixelData", "DoubleFloatPixelData",
    *(f"{hue}PaletteColorLookupTable{part}" for hue in HUES for part in ("Data", "Descriptor")),
    *(f"Segmented{hue}PaletteColorLookupTableData" for hue in HUES),
]  # fmt: skip

IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.99", ".2"))
RLE = "1.2.840.10008.1.2.5"
JPEG_FAMILY = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70, 80, 81))
JPEG_LS = JPEG_FAMILY[-2:]
JPEG_2000 = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (90, 91, 201, 202, 203))
UNCOMPRESSED = (IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN)
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")
GREY = ("MONOCHROME1", "MONOCHROME2")

NO_SYNTAX = (
    "The DICOM file does not state its transfer syntax, so that it is unknown how its picture is stored; "
    "export it again from the program that it comes from, with a complete header."
)
FLOATS = "The DICOM file's pixels are floats of {} bits, which are not read; export them as integers of up to 16 bits."

# What is inflated of a deflated file to learn the size of its picture, and to hold what is around it.
HEAD = 2**20


def decode(data: bytes, most_pixels: int) -> Decoded:
    """Decode the one picture of a DICOM file, with its preamble or without.

    Raises ImageError: `unsupported-format`, `no-pixels` (also for several frames),
    `too-large`, `damaged`; and whatever pydicom raises on damaged files, with the file's text in it.
    """
    with quiet("pydicom"):
        try:
            require("pydicom", "dicom")
        except MissingDependencyError as error:
            raise ImageError("unsupported-format", f"The file is a DICOM image. {error}.") from None
        try:
            dataset = _parsed(data, most_pixels)
            check_pixels((int(dataset.Rows), int(dataset.Columns)), most_pixels)
            return _shown(flattened(dataset))
        except Exception as error:
            other = isinstance(error, ImageError) and error.code != "damaged"
            if other or not _lacks_syntax(data):
                raise
            raise ImageError("unsupported-format", NO_SYNTAX) from None


def _parsed(data: bytes, most_pixels: int) -> Any:
    """The parts of the dataset that matter here, with the transfer syntax in its `file_meta`."""
    import pydicom

    syntax, start = _transfer_syntax(data)
    if syntax == DEFLATED:
        data, syntax = _inflated(data[start:], most_pixels), EXPLICIT
    dataset = pydicom.dcmread(io.BytesIO(data), specific_tags=TAGS, force=True)
    if not syntax:
        implicit, little = dataset.original_encoding
        syntax = BIG_ENDIAN if not little else IMPLICIT if implicit else EXPLICIT
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    _check_frames(dataset)
    if not dataset.get("PixelData"):
        if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
            bits = 32 if "FloatPixelData" in dataset else 64
            raise ImageError("unsupported-format", FLOATS.format(bits))
        if _lacks_syntax(data):
            raise ImageError("unsupported-format", NO_SYNTAX)
        raise ImageError("no-pixels", "The DICOM file holds no picture.")
    if dataset["PixelData"].is_undefined_length and syntax in UNCOMPRESSED:
        raise ImageError("unsupported-format", NO_SYNTAX)
    return dataset


def _check_frames(dataset: Any) -> None:
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise ImageError("no-pixels", f"The DICOM file holds {frames} frames, not one picture; export a single frame.")


def _shown(dataset: Any) -> Decoded:
    photometric, bits = str(dataset.PhotometricInterpretation), int(dataset.BitsStored)
    allocated = int(dataset.BitsAllocated)
    if photometric not in GREY + COLOUR or allocated not in (1, 8, 16):
        reason = "only grey and colour of 1 to 16 bits are."
        raise ImageError("unsupported-format", f"The DICOM file's pixels are of a kind that is not read; {reason}")
    if not 0 < bits <= allocated:
        raise ImageError("damaged", "The DICOM file is damaged: it states more bits than are stored.")
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if syntax not in UNCOMPRESSED:
        _check_compressed(dataset, syntax)
    values = _values(dataset, bits, allocated) if syntax in (*UNCOMPRESSED, RLE) else _pixel_array(dataset)
    if photometric in COLOUR:
        colours, warnings = _colour(dataset, values, photometric, bits)
        return Decoded(PIL.Image.fromarray(colours), f"{photometric};{bits}", warnings)
    first, table, warnings = grey_table(dataset)
    if warnings and bits == 16 and int(values.max()) - int(values.min()) < DARK:
        dark = first == 0 and photometric == "MONOCHROME2" and int(values.max()) < DARK
        warnings = (NEARLY_BLACK if dark else NEARLY_ONE_GREY, *warnings)
    shown = np.rint(np.clip(presented(dataset, table), 0, 1) * 255).astype(np.uint8)
    return Decoded(PIL.Image.fromarray(through_table(shown, values, first)), f"{photometric};{bits}", warnings)


def _transfer_syntax(data: bytes) -> tuple[str, int]:
    """The transfer syntax ("" where none is stated), and where the dataset begins.

    It is read before the rest: a deflated file would be inflated whole, to any size.
    """
    from pydicom.filereader import read_dataset
    from pydicom.uid import UID

    stream = io.BytesIO(data)
    stream.seek(132 if data[128:132] == b"DICM" else 0)
    if data[stream.tell() : stream.tell() + 2] != b"\x02\x00":
        return "", stream.tell()
    meta = read_dataset(stream, False, True, stop_when=lambda tag, *_: tag.group != 2)
    syntax = str(meta.get("TransferSyntaxUID") or "")
    if syntax and syntax not in (*UNCOMPRESSED, RLE, *JPEG_FAMILY, *JPEG_2000):
        reason = f"The DICOM file is stored as {UID(syntax).name}, which is not read; save it uncompressed."
        raise ImageError("unsupported-format", reason)
    return syntax, stream.tell()


def _lacks_syntax(data: bytes) -> bool:
    """Whether a file that should state a transfer syntax, as it has a preamble or a meta header, states none."""
    if data[128:132] != b"DICM" and data[:2] != b"\x02\x00":
        return False
    try:
        syntax, start = _transfer_syntax(data)
    except Exception:
        return False
    # A file that ends within its meta header is damaged.
    return not syntax and start < len(data)


def _inflated(packed: bytes, most_pixels: int) -> bytes:
    """A deflated dataset, once its head says that its picture is no larger than is allowed."""
    import pydicom

    unpacker = zlib.decompressobj(-15)
    head = unpacker.decompress(packed, HEAD)
    sizes = pydicom.dcmread(io.BytesIO(head), force=True, specific_tags=SIZES, stop_before_pixels=True)
    _check_frames(sizes)
    check_pixels((int(sizes.Rows), int(sizes.Columns)), most_pixels)
    pixel_bytes = int(sizes.Rows) * int(sizes.Columns) * 3 * max(1, int(sizes.BitsAllocated) // 8)
    return head + unpacker.decompress(unpacker.unconsumed_tail, pixel_bytes + HEAD)


def _check_compressed(dataset: Any, syntax: str) -> None:
    """The compressed picture must be of the size that was checked, before it is decompressed."""
    from pydicom.encaps import get_frame

    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    size = int(dataset.Rows), int(dataset.Columns)
    if syntax == RLE:
        fits = _unpacked_length(frame) <= size[0] * size[1] * 8
    elif syntax in JPEG_2000:
        # Some writers wrap the codestream in the boxes of a JP2 file.
        start = max(0, frame.find(b"\xff\x4f\xff\x51", 0, 4096)) if frame[4:8] == b"jP  " else 0
        width, height, left, top = struct.unpack_from(">IIII", frame, start + 8)
        fits = frame[start : start + 4] == b"\xff\x4f\xff\x51" and (height - top, width - left) == size
    else:
        fits = jpeg_header(frame).size == size
    if not fits:
        raise ImageError("damaged", "The DICOM file is damaged: its compressed picture is not of the size stated.")


def _unpacked_length(frame: bytes) -> int:
    """How long run-length coded segments become, which can be 64 times as long. Reference: DICOM PS3.5, annex G."""
    (count,) = struct.unpack_from("<I", frame)
    offsets = [*struct.unpack_from(f"<{min(count, 15)}I", frame, 4), len(frame)]
    total = 0
    for start, end in itertools.pairwise(offsets):
        while start < end:
            head = frame[start]
            total += head + 1 if head < 128 else 257 - head if head > 128 else 0
            start += head + 2 if head < 128 else 2 if head > 128 else 1
    return total


def _values(dataset: Any, bits: int, allocated: int) -> npt.NDArray[Any]:
    """Stored values that no codec has aligned: pydicom takes the lowest bits, wherever the highest one is."""
    high = int(dataset.get("HighBit", bits - 1))
    if not bits - 1 <= high < allocated:
        raise ImageError("damaged", "The DICOM file is damaged: its highest bit does not fit its bits.")
    if allocated == 1:
        return _pixel_array(dataset)
    dataset.BitsStored = allocated
    words = _pixel_array(dataset)
    dataset.BitsStored = bits
    return stored_values(words, bits, high, bool(dataset.get("PixelRepresentation") or 0))


def _pixel_array(dataset: Any) -> npt.NDArray[Any]:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import pixel_array

    syntax = dataset.file_meta.TransferSyntaxUID
    if not (syntax in UNCOMPRESSED or get_decoder(syntax).is_available):
        return _by_imagecodecs(dataset)
    try:
        values: npt.NDArray[Any] = pixel_array(dataset)
    except (RuntimeError, NotImplementedError):
        if syntax in JPEG_FAMILY and find_spec("imagecodecs"):
            return _by_imagecodecs(dataset)
        reason = f"The DICOM file's compressed picture ({syntax.name}) is damaged, or of a kind that is not read."
        raise ImageError("damaged", reason) from None
    except ValueError:
        raise truncated() from None
    if syntax in JPEG_FAMILY and dataset.get("PixelRepresentation") == 1:
        # Where a JPEG-LS frame states more bits than BitsStored, pyjpegls does not repeat the sign.
        values = stored_values(values, bits := int(dataset.BitsStored), bits - 1, signed=True)
    return values


def _by_imagecodecs(dataset: Any) -> npt.NDArray[Any]:
    """Lossless JPEG, JPEG of 12 bits and JPEG-LS, for which pydicom has no decoder of its own."""
    from pydicom.encaps import get_frame

    syntax = dataset.file_meta.TransferSyntaxUID
    photometric = str(dataset.PhotometricInterpretation)
    known = syntax in JPEG_FAMILY and photometric in (*GREY, "RGB", "PALETTE COLOR")
    if find_spec("imagecodecs") is None or not known:
        cure = "pip install 'pellucid[codecs]'" if known else "pip install 'pylibjpeg[all]'"
        reason = f"The DICOM file is compressed as {syntax.name}, which needs another library: {cure}."
        raise ImageError("unsupported-format", reason)
    import imagecodecs

    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    try:
        values: npt.NDArray[Any] = (
            imagecodecs.jpegls_decode(frame) if syntax in JPEG_LS else imagecodecs.jpeg_decode(frame)
        )
    except RuntimeError:
        reason = f"The DICOM file's compressed picture ({syntax.name}) is damaged."
        raise ImageError("damaged", reason) from None
    bits = int(dataset.BitsStored)
    return stored_values(values, bits, bits - 1, bool(dataset.get("PixelRepresentation") or 0))


def _colour(dataset: Any, values: npt.NDArray[Any], photometric: str, bits: int) -> tuple[Uint8Array, tuple[str, ...]]:
    if photometric != "PALETTE COLOR":
        return to_depth_eight(values, bits)
    from pydicom.pixels.processing import apply_color_lut

    return to_depth_eight(apply_color_lut(values, with_plain_palette(dataset)))
