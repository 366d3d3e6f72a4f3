"""What the stored values of a DICOM picture are shown as: rescaling, windows and tables.

Reference: DICOM PS3.3, C.7.6.16 (functional groups), C.7.9 (palettes), C.11.1 (modality), C.11.2 (VOI).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ImageError

FloatArray = npt.NDArray[np.float64]

NO_WINDOW = "The DICOM file states no window; the full range of its bits was used."
MOST_ENTRIES = 65536
FRAME_ELEMENTS = frozenset(
    ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence")
)


def flattened(dataset: Any) -> Any:
    """The dataset itself, with rescaling and window of its one frame, which enhanced objects keep apart."""
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in (dataset.get(name) or [])[:1]:
            for sequence in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
                for item in (group.get(sequence) or [])[:1]:
                    for element in item:
                        if element.keyword in FRAME_ELEMENTS:
                            dataset[element.tag] = element
    return dataset


def stored_values(words: npt.NDArray[Any], stored: int, high: int, signed: bool) -> npt.NDArray[Any]:
    """The values in `words`, which hold them in `stored` bits from bit `high` down; other bits may hold overlays."""
    words = words.astype(words.dtype.newbyteorder("="), copy=False)
    if stored == 8 * words.dtype.itemsize:
        return words.view(f"{'i' if signed else 'u'}{words.dtype.itemsize}")
    unsigned = words.view(f"u{words.dtype.itemsize}")
    # Shifting up drops what lies above the highest bit; shifting down repeats the sign of signed numbers.
    up = unsigned.dtype.type(8 * words.dtype.itemsize - 1 - high)
    kept = (unsigned << up).view(f"{'i' if signed else 'u'}{words.dtype.itemsize}")
    values: npt.NDArray[Any] = np.right_shift(kept, 8 * words.dtype.itemsize - stored, dtype=kept.dtype)
    return values


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
    warnings = (NO_WINDOW,) if bits > 8 else ()
    return first, (values - low) / ((high - low) or 1.0), warnings


def presented(dataset: Any, brightness: FloatArray) -> FloatArray:
    """Brightness 0..1 as it is presented: through a presentation table, or inverted (C.11.6)."""
    tables = dataset.get("PresentationLUTSequence")
    if not tables:
        return 1 - brightness if is_inverted(dataset) else brightness
    entries = int(tables[0].LUTDescriptor[0]) or MOST_ENTRIES
    looked_up, low, high = _lookup(tables[0], np.clip(brightness, 0, 1) * (entries - 1), dataset)
    return (looked_up - low) / (high - low)


def is_inverted(header: Any) -> bool:
    """Whether the least value is white: as the presentation shape says, else the photometric interpretation.

    The two always agree in valid files. Where they do not, dcmtk and dcm4che follow the shape, too.
    """
    shape = str(header.get("PresentationLUTShape") or "").strip().upper()
    if shape in ("IDENTITY", "INVERSE"):
        return shape == "INVERSE"
    return str(header.get("PhotometricInterpretation")) == "MONOCHROME1"


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
    """The first value of a numeric element; `default` when it is absent or empty."""
    value = dataset.get(name)
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if len(value) else None
    if value is None or value == "":
        return default
    number = float(value)
    if not math.isfinite(number):
        raise ImageError("damaged", "The DICOM file is damaged: a number in it is out of range.")
    return number


def with_plain_palette(dataset: Any) -> Any:
    """The dataset with tables that were stored as segments written out. Reference: DICOM PS3.3, C.7.9.2."""
    little = bool(dataset.file_meta.TransferSyntaxUID.is_little_endian)
    for hue in ("Red", "Green", "Blue"):
        packed = dataset.get(f"Segmented{hue}PaletteColorLookupTableData")
        if packed:
            eight = dataset[f"{hue}PaletteColorLookupTableDescriptor"].value[2] == 8
            number = np.dtype(np.uint8 if eight else "<u2" if little else ">u2")
            entries = _written_out(np.frombuffer(packed, number).astype(np.int64))
            setattr(dataset, f"{hue}PaletteColorLookupTableData", entries.astype(number).tobytes())
            del dataset[f"Segmented{hue}PaletteColorLookupTableData"]
    return dataset


def _written_out(words: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    parts: list[npt.NDArray[np.int64]] = []
    total, last = 0, 0
    for code, length, values in _segments(words):
        total += length
        if total > MOST_ENTRIES or not length or not len(values) or (code == 0 and len(values) != length):
            raise ImageError("damaged", "The DICOM file is damaged: a palette in it does not fit together.")
        part = values if code == 0 else np.rint(last + (values[0] - last) * np.arange(1, length + 1) / length)
        parts.append(part.astype(np.int64))
        last = int(parts[-1][-1])
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _segments(
    words: npt.NDArray[np.int64], at: int = 0, most: int = MOST_ENTRIES, nested: bool = False
) -> Iterator[tuple[int, int, npt.NDArray[np.int64]]]:
    """Code (0 discrete, 1 linear), length and numbers of each segment, and of those that indirect segments point at."""
    for _ in range(most):
        if at + 2 > len(words):
            return
        code, length = int(words[at]), int(words[at + 1])
        if code in (0, 1):
            count = length if code == 0 else 1
            yield code, length, words[at + 2 : at + 2 + count]
            at += 2 + count
        elif code == 2 and not nested and at + 4 <= len(words):
            start = int(words[at + 2]) | int(words[at + 3]) << 16
            yield from _segments(words, start // 2, min(length, most), nested=True)
            at += 4
        else:
            raise ImageError("damaged", "The DICOM file is damaged: a palette in it does not fit together.")
