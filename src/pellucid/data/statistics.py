"""What can be said of each image without looking at what it shows: one pass over the files, each decoded once.

The same pass takes the fingerprints, so that an audit reads a dataset a single time.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import PIL.Image

from ..errors import DataError, ImageError
from ..images.containers import jpeg_header
from ..images.formats import misnamed
from ..images.pictures import DecodedImage, open_picture, read_file
from ..preprocessing import FloatArray, Uint8Array
from .dataset import Dataset, OmittedFile
from .fingerprint import SIDE, Fingerprints, HalfArray, Progress, thumbnail

Family = Literal["file", "edge", "picture"]
Values = npt.NDArray[np.float64]

# Side of the average pictures, and the share of a picture's sides that a corner and its outermost rim take.
AVERAGE_SIDE = 96
CORNER, RIM = 1 / 6, 1 / 40
# Grey values whose standard deviation is below this are one flat tone.
FLAT = 1.0


@dataclass(frozen=True, slots=True)
class Measure:
    """One number that every image has, and its words.

    `more` and `less` finish the sentence "images of this class are ..."; `unit` follows a value. The family `file` says
    how the file was made, `edge` what lies at the edge of the picture, `picture` how the whole of it looks.
    """

    title: str
    family: Family
    more: str
    less: str
    unit: str = ""


def _corner(where: str) -> Measure:
    return Measure(
        f"Contrast in the {where} corner", "edge", f"busier in the {where} corner", f"plainer in the {where} corner"
    )


MEASURES: dict[str, Measure] = {
    "longer_side": Measure("Longer side", "file", "larger", "smaller", "px"),
    "aspect": Measure("Width over height", "file", "wider", "narrower"),
    "bytes_per_pixel": Measure("File size per pixel", "file", "heavier by the pixel", "lighter by the pixel", "bytes"),
    "jpeg_quality": Measure("JPEG quality", "file", "saved at a higher JPEG quality", "saved at a lower JPEG quality"),
    "border_brightness": Measure("Brightness of the border", "edge", "brighter at the border", "darker at the border"),
    "border_contrast": Measure("Contrast along the border", "edge", "busier at the border", "plainer at the border"),
    "corner_top_left": _corner("top left"),
    "corner_top_right": _corner("top right"),
    "corner_bottom_left": _corner("bottom left"),
    "corner_bottom_right": _corner("bottom right"),
    "brightness": Measure("Brightness", "picture", "brighter", "darker"),
    "contrast": Measure("Contrast", "picture", "richer in contrast", "poorer in contrast"),
    "colour": Measure("Colourfulness", "picture", "more colourful", "less colourful"),
    "sharpness": Measure("Sharpness", "picture", "sharper", "softer"),
}  # fmt: skip


class FileRemark(NamedTuple):
    """Something odd about one file: `extension`, `flat`, or a warning of its decoder, in words with its numbers."""

    code: str
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class ImageMeasurements:
    """What one pass over the files of a dataset found, in the order of the N images that could be read.

    `dataset` holds these N; `unreadable` the others. `values` has a row (N,) for each of MEASURES: sizes in pixels of
    the upright picture, brightness and contrast in grey values 0..255, NaN where a measure has no meaning. `formats`
    and `modes` are Pillow's names. `remarks` are on single files, by path. `means` and `deviations`
    (K, 96, 96) are the average grey picture of each class and its standard deviation, pixel by pixel; zero for a class
    without images.
    """

    dataset: Dataset
    unreadable: tuple[OmittedFile, ...]
    fingerprints: Fingerprints
    values: dict[str, Values]
    formats: tuple[str, ...]
    modes: tuple[str, ...]
    remarks: dict[str, tuple[FileRemark, ...]]
    means: FloatArray
    deviations: FloatArray


class _Look(NamedTuple):
    """What was found of one file."""

    content: str
    thumbnail: HalfArray
    small: Uint8Array
    values: tuple[float, ...]
    format: str
    mode: str
    remarks: tuple[FileRemark, ...]


def measure_images(
    dataset: Dataset, *, workers: int | None = None, progress: Progress | None = None
) -> ImageMeasurements:
    """Read every file of `dataset` once, in `workers` threads (default: one a core), and measure it.

    `progress` is called with (files done, files in all). Raises DataError when not one of the images can be read.
    """
    looks: list[_Look] = []
    kept: list[int] = []
    unreadable: list[OmittedFile] = []
    sums = np.zeros((2, len(dataset.classes), AVERAGE_SIDE, AVERAGE_SIDE))
    for number, found in enumerate(_each(dataset, workers)):
        sample = dataset.samples[number]
        if isinstance(found, str):
            unreadable.append(OmittedFile(sample.path, found))
        else:
            small = found.small.astype(np.float64)
            sums[0, sample.label] += small
            sums[1, sample.label] += small**2
            kept.append(number)
            looks.append(found._replace(small=np.zeros((0, 0), np.uint8)))
        if progress is not None:
            progress(number + 1, len(dataset))
    if not looks:
        first = unreadable[0]
        raise DataError(f"None of the {len(dataset):,} images can be read; the first, {first.path}: {first.reason}")
    return _gathered(dataset, kept, looks, unreadable, sums)


def _each(dataset: Dataset, workers: int | None) -> Iterator[_Look | str]:
    pool = ThreadPoolExecutor(workers or min(16, os.cpu_count() or 1))
    try:
        yield from pool.map(_look, [dataset.file(s) for s in dataset.samples])
    finally:
        pool.shutdown(cancel_futures=True)


def _gathered(
    dataset: Dataset, kept: Sequence[int], looks: Sequence[_Look], unreadable: Sequence[OmittedFile], sums: Values
) -> ImageMeasurements:
    chosen = set(kept)
    order = iter(range(len(dataset)))
    readable = dataset.where(lambda _: next(order) in chosen)
    paths = tuple(s.path for s in readable.samples)
    table = np.array([look.values for look in looks], np.float64)
    sizes = np.bincount(readable.labels, minlength=len(dataset.classes))[:, None, None]
    means = sums[0] / np.maximum(sizes, 1)
    variances = np.maximum(sums[1] / np.maximum(sizes, 1) - means**2, 0)
    return ImageMeasurements(
        dataset=readable,
        unreadable=tuple(unreadable),
        fingerprints=Fingerprints(
            paths, tuple(look.content for look in looks), np.stack([look.thumbnail for look in looks]), {}
        ),
        values={name: table[:, i] for i, name in enumerate(MEASURES)},
        formats=tuple(look.format for look in looks),
        modes=tuple(look.mode for look in looks),
        remarks={path: look.remarks for path, look in zip(paths, looks, strict=True) if look.remarks},
        means=means.astype(np.float32),
        deviations=np.sqrt(variances).astype(np.float32),
    )


def _look(path: Path) -> _Look | str:
    """One file; the reason when it cannot be read."""
    try:
        data = read_file(path)
        # As fingerprint.py decodes, so that near-duplicates are the same here and when splitting.
        picture = open_picture(data, at_least=(4 * SIDE, 4 * SIDE))
    except ImageError as error:
        return error.reason
    grey = picture.upright.convert("L")
    small = grey.resize((AVERAGE_SIDE, AVERAGE_SIDE), PIL.Image.Resampling.BOX)
    values = _numbers(picture, np.asarray(grey, np.int16), data)
    wrong_name = misnamed(path.suffix.lower(), picture.format)
    remarks = [FileRemark("extension", wrong_name)] if wrong_name else []
    # Warnings that differ only in their numbers are of one kind.
    remarks += [FileRemark(re.sub(r"\d+", "", warning), warning) for warning in picture.warnings]
    if values["contrast"] < FLAT:
        remarks.append(FileRemark("flat", "The picture is one flat tone."))
    return _Look(
        hashlib.sha256(data).hexdigest(),
        thumbnail(picture.pixels),
        np.asarray(small),
        tuple(values[name] for name in MEASURES),
        picture.format,
        picture.mode,
        tuple(remarks),
    )


def _numbers(picture: DecodedImage, grey: npt.NDArray[np.int16], data: bytes) -> dict[str, float]:
    """The measures of one picture, by name."""
    height, width = picture.size
    ring = np.concatenate([grey[0], grey[-1], grey[1:-1, 0], grey[1:-1, -1]])
    return {
        "longer_side": max(height, width),
        "aspect": width / height,
        "bytes_per_pixel": len(data) / (height * width),
        "jpeg_quality": jpeg_quality(data) if picture.format == "JPEG" else np.nan,
        "border_brightness": float(ring.mean()),
        "border_contrast": float(ring.std()),
        **{f"corner_{place}": float(cell.std()) for place, cell in _corners(grey).items()},
        "brightness": float(grey.mean()),
        "contrast": float(grey.std()),
        "colour": _colour(picture.upright),
        "sharpness": _sharpness(grey),
    }


def _corners(grey: npt.NDArray[np.int16]) -> dict[str, npt.NDArray[np.int16]]:
    """The four corners without the outermost rim, where a frame would fill all four."""
    (top, height), (left, width) = ((round(n * RIM), max(2, round(n * CORNER))) for n in grey.shape)
    inner = grey[top : grey.shape[0] - top, left : grey.shape[1] - left]
    return {
        "top_left": inner[:height, :width],
        "top_right": inner[:height, -width:],
        "bottom_left": inner[-height:, :width],
        "bottom_right": inner[-height:, -width:],
    }


def _colour(upright: PIL.Image.Image) -> float:
    """The mean difference, 0..255, between the strongest and the weakest channel, noise averaged away."""
    if upright.mode == "L":
        return 0.0
    channels = np.asarray(upright.resize((SIDE, SIDE), PIL.Image.Resampling.BOX), np.float32)
    return float((channels.max(axis=2) - channels.min(axis=2)).mean())


def _sharpness(grey: npt.NDArray[np.int16]) -> float:
    """Mean second difference over mean first difference of neighbours: free of contrast, less where blurred."""
    if min(grey.shape) < 3:
        return np.nan
    first = sum(float(np.abs(np.diff(grey, 1, axis)).mean()) for axis in (0, 1))
    second = sum(float(np.abs(np.diff(grey, 2, axis)).mean()) for axis in (0, 1))
    return second / first if first > 0.02 else np.nan


# The luminance table of ITU-T T.81, annex K, in the zigzag order in which files hold it.
LUMINANCE = np.array((
    16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40, 26, 24, 22, 22, 24, 49, 35, 37, 29, 40, 58, 51, 61,
    60, 57, 51, 56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87, 95, 98, 103, 104, 103, 62, 77, 113,
    121, 112, 100, 120, 92, 101, 103, 99,
))  # fmt: skip


def _scaled_tables() -> npt.NDArray[np.int64]:
    """The table of each quality 1 to 100, (100, 64), as libjpeg scales it (jpeg_quality_scaling in jcparam.c)."""
    quality = np.arange(1, 101)
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)[:, None]
    tables: npt.NDArray[np.int64] = np.clip((LUMINANCE * scale + 50) // 100, 1, 255)
    return tables


_TABLES = _scaled_tables()


def jpeg_quality(data: bytes) -> float:
    """The libjpeg quality, 1 to 100, whose luminance table is nearest to that of a JPEG file; NaN when it has none."""
    for segment in jpeg_header(data).kept:
        at = 4
        while segment[1] == 0xDB and at < len(segment):
            wide, number = divmod(segment[at], 16)
            table = np.frombuffer(segment[at + 1 : at + 1 + 64 * (1 + wide)], ">u2" if wide else "u1")
            if number == 0 and len(table) == 64:
                return float(1 + np.abs(_TABLES - table).sum(axis=1).argmin())
            at += 1 + 64 * (1 + wide)
    return np.nan
