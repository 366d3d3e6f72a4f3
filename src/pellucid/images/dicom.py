"""One picture from a DICOM file, as a viewer shows it, without reading who it is of.

Stored values pass through the modality transformation (rescale or table), then the first VOI transformation (table,
else window) and, for MONOCHROME1, an inversion. As that is a function of one stored value it is tabulated once.
Without a VOI transformation the full range of the stored bits becomes 0..255.

Reference: DICOM PS3.3, C.7.6.3 (pixels), C.11.1 (modality), C.11.2 (VOI).
"""

from __future__ import annotations

import io
import itertools
import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image

from .._optional import require
from ..errors import ImageError, MissingDependencyError
from .containers import check_pixels, jpeg_header, quiet, truncated
from .conversion import Decoded, Uint8Array, by_depth, through_table

# Only these are parsed: names, dates and comments are stepped over.
TAGS = [
    "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope", "RescaleIntercept",
    "ModalityLUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence", "PixelData",
    *(f"{hue}PaletteColorLookupTable{part}" for hue in ("Red", "Green", "Blue") for part in ("Data", "Descriptor")),
]  # fmt: skip

RLE = "1.2.840.10008.1.2.5"
JPEG_FAMILY = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70, 80, 81))
JPEG_2000 = tuple(f"1.2.840.10008.1.2.4.{n}" for n in (90, 91))
UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")
GREY = ("MONOCHROME1", "MONOCHROME2")

FloatArray = npt.NDArray[np.float64]


def decode(data: bytes, most_pixels: int) -> Decoded:
    """Decode the one picture of a DICOM file.

    Raises ImageError: `unsupported-format`, `no-pixels` (also for several frames, none of which is the picture),
    `too-large`, `damaged`; and whatever pydicom raises on damaged files, with the file's text in it.
    """
    with quiet("pydicom"):
        return _decode(data, most_pixels)


def _decode(data: bytes, most_pixels: int) -> Decoded:
    try:
        pydicom = require("pydicom", "dicom")
    except MissingDependencyError as error:
        raise ImageError("unsupported-format", f"The file is a DICOM image. {error}.") from None
    syntax = _transfer_syntax(data)
    dataset = pydicom.dcmread(io.BytesIO(data), specific_tags=TAGS)
    if not dataset.get("PixelData"):
        raise ImageError("no-pixels", "The DICOM file holds no picture.")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise ImageError("no-pixels", f"The DICOM file holds {frames} frames and not one picture; export one of them.")
    check_pixels((int(dataset.Rows), int(dataset.Columns)), most_pixels)
    photometric, bits = str(dataset.PhotometricInterpretation), int(dataset.BitsStored)
    if photometric not in GREY + COLOUR or int(dataset.BitsAllocated) not in (1, 8, 16):
        reason = "The DICOM file's pixels are of a kind that is not read; only grey and colour of 1 to 16 bits are."
        raise ImageError("unsupported-format", reason)
    if syntax not in UNCOMPRESSED:
        _check_compressed(dataset, syntax)
    values = _pixel_array(dataset)
    if photometric in COLOUR:
        return Decoded(PIL.Image.fromarray(_colour(dataset, values, photometric, bits)), f"{photometric};{bits}", ())
    first, table, warnings = grey_table(dataset)
    if photometric == "MONOCHROME1":
        table = 1 - table
    shown = np.rint(np.clip(table, 0, 1) * 255).astype(np.uint8)
    return Decoded(PIL.Image.fromarray(through_table(shown, values, first)), f"{photometric};{bits}", warnings)


def _transfer_syntax(data: bytes) -> str:
    """The transfer syntax, read before the rest: a deflated file would be inflated whole, to any size."""
    from pydicom.filereader import read_dataset

    stream = io.BytesIO(data)
    stream.seek(132)
    meta = read_dataset(stream, False, True, stop_when=lambda tag, *_: tag.group != 2)
    syntax = str(meta.TransferSyntaxUID)
    if syntax not in (*UNCOMPRESSED, RLE, *JPEG_FAMILY, *JPEG_2000):
        reason = "The DICOM file is deflated or compressed in a way that is not read; save it uncompressed."
        raise ImageError("unsupported-format", reason)
    return syntax


def _check_compressed(dataset: Any, syntax: str) -> None:
    """The compressed picture must be of the size that was checked, before it is decompressed."""
    from pydicom.encaps import get_frame

    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    size = int(dataset.Rows), int(dataset.Columns)
    if syntax == RLE:
        fits = _unpacked_length(frame) <= size[0] * size[1] * 8
    elif syntax in JPEG_2000:
        width, height, left, top = struct.unpack_from(">IIII", frame, 8)
        fits = frame[:4] == b"\xff\x4f\xff\x51" and (height - top, width - left) == size
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


def _pixel_array(dataset: Any) -> npt.NDArray[Any]:
    from pydicom.pixels.utils import pixel_array

    try:
        values: npt.NDArray[Any] = pixel_array(dataset)
    except (RuntimeError, NotImplementedError):
        reason = "The DICOM file's compressed picture is damaged, or needs a decoder: pip install 'pylibjpeg[all]'."
        raise ImageError("damaged", reason) from None
    except ValueError:
        raise truncated() from None
    return values


def _colour(dataset: Any, values: npt.NDArray[Any], photometric: str, bits: int) -> Uint8Array:
    if photometric == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        values = apply_color_lut(values, dataset)
        bits = 8 * values.dtype.itemsize
    if values.dtype == np.uint8:
        return values
    return through_table(by_depth(bits), values)


def grey_table(dataset: Any) -> tuple[int, FloatArray, tuple[str, ...]]:
    """What each stored value is shown as: the first stored value, brightness 0..1 from it on, and sentences."""
    bits = int(dataset.BitsStored)
    first = -(1 << bits - 1) if int(dataset.get("PixelRepresentation") or 0) else 0
    values = np.arange(first, first + (1 << bits), dtype=np.float64)
    if dataset.get("ModalityLUTSequence"):
        values, low, high = _lookup(dataset.ModalityLUTSequence[0], values, dataset)
    else:
        values = values * _number(dataset, "RescaleSlope", 1.0) + _number(dataset, "RescaleIntercept", 0.0)
        low, high = values.min(), values.max()
    if dataset.get("VOILUTSequence"):
        values, low, high = _lookup(dataset.VOILUTSequence[0], values, dataset)
        return first, (values - low) / (high - low), ()
    centre, width = _number(dataset, "WindowCenter", math.nan), _number(dataset, "WindowWidth", math.nan)
    shape = str(dataset.get("VOILUTFunction") or "LINEAR").upper()
    if centre == centre and width >= (1 if shape == "LINEAR" else 1e-9):
        return first, windowed(values, centre, width, shape), ()
    warnings = ("The DICOM file states no window; the full range of its bits was used.",) if bits > 8 else ()
    return first, (values - low) / ((high - low) or 1.0), warnings


def windowed(values: FloatArray, centre: float, width: float, shape: str = "LINEAR") -> FloatArray:
    """Brightness 0..1 of `values` through a window. Reference: DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3."""
    if shape == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    if shape == "LINEAR":
        centre, width = centre - 0.5, width - 1
    if width == 0:
        return (values > centre).astype(np.float64)
    return np.clip((values - centre) / width + 0.5, 0, 1)


def _lookup(item: Any, values: FloatArray, dataset: Any) -> tuple[FloatArray, float, float]:
    """Values through a DICOM table, and the least and greatest that its entries can be."""
    entries, first, bits = (int(n) for n in item.LUTDescriptor)
    if not 1 <= bits <= 16:
        raise ImageError("damaged", "The DICOM file is damaged: a table in it is not of 1 to 16 bits.")
    entries = entries or 65536
    table = item.LUTData
    if isinstance(table, bytes):
        little = dataset.file_meta.TransferSyntaxUID.is_little_endian
        # Entries of 8 bits may be packed two to a word.
        table = np.frombuffer(table, np.uint8 if len(table) < 2 * entries else "<u2" if little else ">u2")
    looked_up = np.asarray(table, np.float64)[:entries]
    index = np.clip(np.rint(values) - first, 0, len(looked_up) - 1).astype(np.intp)
    return looked_up[index], 0.0, float((1 << bits) - 1)


def _number(dataset: Any, name: str, default: float) -> float:
    """The first value of a numeric element; `default` where there is none."""
    value = dataset.get(name)
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if len(value) else None
    if value is None or value == "":
        return default
    number = float(value)
    if not math.isfinite(number):
        raise ImageError("damaged", "The DICOM file is damaged: a number in it is out of range.")
    return number
