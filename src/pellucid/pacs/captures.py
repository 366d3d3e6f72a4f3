"""The secondary capture: the overlay as every viewer shows it, with its title and its warning in the picture.

Reference: DICOM PS3.3, A.8.1 (secondary capture image).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ..explanation.attribution import Attribution
from ..preprocessing import Uint8Array
from ..reporting.overlay import COLOURS, grey_blends, verdict
from .codes import RESEARCH, printable
from .content import code_sequence
from .encoding import EXPLICIT_LITTLE_ENDIAN, fill
from .findings import Findings
from .objects import JPEG_LS_LOSSLESS, begin, instance, with_header
from .origin import ResultOrigin
from .reports import dcm

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
LONGEST = 1024
"""The longest side of the picture without its bands, in pixels."""

# The sentence on the map is of whole per cent; more pixels than these would not change it.
ENOUGH = 128
# Strengths of a blend: one step, and a grey value of 8 bits, make a number of 16 bits.
STEPS = 255
NARROWEST = 320
"""The narrowest picture, in pixels, whose bands hold a text."""
STRIP = 64
"""Rows that are drawn at a time."""
SOURCE_PURPOSE = dcm("121322", "Source image for image processing operation")


def secondary_capture(findings: Findings, origin: ResultOrigin) -> Dataset:
    """The film with its map as a colour picture of 8 bits, uncompressed."""
    attribution = findings.attribution
    if attribution is None:
        raise ValueError("a capture shows a map")
    source = findings.source
    made = begin(findings, origin, "sc", sop_class=SECONDARY_CAPTURE, modality="OT")
    picture = drawn(findings, origin)
    lossy = str(source.header.get("LossyImageCompression")) == "01"
    target = attribution.target.replace("\\", "/")
    fill(
        made,
        ImageType="DERIVED\\SECONDARY",
        ConversionType="WSD",
        DateOfSecondaryCapture=f"{findings.when:%Y%m%d}",
        TimeOfSecondaryCapture=f"{findings.when:%H%M%S}",
        PatientOrientation=source.header.get("PatientOrientation") or "",
        BurnedInAnnotation="YES",
        RecognizableVisualFeatures="NO",
        LossyImageCompression="01" if lossy else "00",
        DerivationDescription=f"pellucid: {attribution.method} overlay for {target}. {RESEARCH}."[:1024],
        ImageComments=RESEARCH,
    )
    if lossy:
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if source.header.get(keyword):
                setattr(made, keyword, source.header.get(keyword))
    reference = instance(source.sop_class, source.uid)
    reference.PurposeOfReferenceCodeSequence = code_sequence(SOURCE_PURPOSE)
    made.SourceImageSequence = [reference]
    _set_pixels(made, picture)
    return made


class ColourPicture(NamedTuple):
    """A picture as the bytes (rows, columns, 3) of its pixels, which are written as they are."""

    rows: int
    columns: int
    data: bytes


def _set_pixels(made: Dataset, picture: ColourPicture) -> None:
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PlanarConfiguration = 3, "RGB", 0
    made.Rows, made.Columns = picture.rows, picture.columns
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.PixelData = picture.data if len(picture.data) % 2 == 0 else picture.data + b"\0"
    made["PixelData"].VR = "OB"


def compressed(made: Dataset) -> Dataset:
    """The capture as JPEG-LS, without loss: a fifth of the size. Raises MissingDependencyError without pyjpegls."""
    from copy import copy

    from pydicom.dataset import Dataset

    from .._optional import require

    require("jpeg_ls", "pacs")
    small = Dataset()
    for element in made:
        small[element.tag] = copy(element)
    with_header(small, EXPLICIT_LITTLE_ENDIAN)
    small.compress(JPEG_LS_LOSSLESS, encoding_plugin="pyjpegls", generate_instance_uid=False)
    return small


def drawn(findings: Findings, origin: ResultOrigin) -> ColourPicture:
    """The overlay, at most LONGEST pixels long, with bands of text above and below it."""
    attribution, prediction = findings.attribution, findings.prediction
    if attribution is None:
        raise ValueError("a capture shows a map")
    height, width, middle = _middle(findings.picture, attribution, findings.limit)
    band = max(24, height // 20)
    withheld = prediction.label != prediction.predicted
    share = "" if prediction.confidence is None or withheld else f" {prediction.confidence:.0%}"
    unusual = " - UNUSUAL IMAGE" if findings.unusual else ""
    texts = (
        (f"AI: {prediction.label}{share}{unusual}", (255, 255, 255)),
        (verdict(_thinned(attribution), prediction), (255, 255, 255)),
        (f"{RESEARCH}. {attribution.method}, {origin.name}", (255, 220, 0)),
    )
    first, second, last = (_line(printable(text, 400), width, band, colour).tobytes() for text, colour in texts)
    return ColourPicture(height + 3 * band, width, b"".join((first, second, *middle, last)))


def _middle(picture: Uint8Array, attribution: Attribution, limit: float) -> tuple[int, int, Iterable[bytes]]:
    """Height, width and pixels of what lies between the bands."""
    height, width = picture.shape[:2]
    if width >= NARROWEST and max(height, width) <= LONGEST:
        return height, width, _strips(picture, attribution, limit)
    image = overlaid(picture, attribution, limit)
    if max(height, width) > LONGEST:
        image = _shrunk(image)
    wide = np.zeros((len(image), max(image.shape[1], NARROWEST), 3), np.uint8)
    wide[:, : image.shape[1]] = image
    return *wide.shape[:2], (wide.tobytes(),)


@lru_cache(maxsize=64)
def _line(text: str, width: int, height: int, colour: tuple[int, int, int]) -> Uint8Array:
    """One band (height, width, 3) of text: smaller where it would not fit, and in two lines where it would be tiny."""
    strip = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(strip)
    size = _fitting(draw, (text,), width, height * 0.55)
    lines = (text,) if size >= height * 0.35 else _halves(text)
    if len(lines) == 2:
        size = _fitting(draw, lines, width, height * 0.4)
    for n, line in enumerate(lines):
        draw.text((6, height * (2 * n + 1) / (2 * len(lines))), line, colour, _font(max(8, size)), anchor="lm")
    return np.asarray(strip)


def _fitting(draw: ImageDraw.ImageDraw, lines: Sequence[str], width: int, size: float) -> float:
    """The font size, `size` at most, at which each line fits into the width."""
    needed = max(draw.textlength(line, font=_font(size)) for line in lines)
    return size if needed <= width - 12 else size * (width - 12) / needed


def _halves(text: str) -> tuple[str, ...]:
    """A text in two lines, parted at the space nearest to its middle."""
    spaces = [n for n, letter in enumerate(text) if letter == " "]
    if not spaces:
        return (text,)
    middle = min(spaces, key=lambda n: abs(2 * n - len(text)))
    return text[:middle], text[middle + 1 :]


@lru_cache(maxsize=16)
def _font(size: float) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which holds Latin, Greek and Cyrillic letters; it comes with matplotlib."""
    import matplotlib

    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf", size)


def _thinned(attribution: Attribution) -> Attribution:
    step = max(1, min(attribution.values.shape) // ENOUGH)
    return replace(attribution, values=attribution.values[::step, ::step])


def overlaid(picture: Uint8Array, attribution: Attribution, limit: float) -> Uint8Array:
    """The map over a grey film (H, W, 3), drawn in full from `limit` on: `overlay.overlay` by a table of all blends."""
    strips = _strips(picture, attribution, limit)
    return np.frombuffer(b"".join(strips), np.uint8).reshape(*attribution.values.shape, 3)


def _strips(picture: Uint8Array, attribution: Attribution, limit: float) -> Iterator[bytes]:
    """The same in strips, whose arrays stay in the processor's cache: new memory costs more than the arithmetic."""
    values = attribution.values
    height, width = values.shape
    factor = np.float32(STEPS / limit if limit > 0 else 0)
    strength, blend = np.empty((STRIP, width), np.float32), np.empty((STRIP, width), np.uint16)
    table = _packed_blends()
    for start in range(0, height, STRIP):
        rows = slice(start, min(start + STRIP, height))
        count = rows.stop - rows.start
        part, number = strength[:count], blend[:count]
        np.multiply(values[rows], factor, out=part)
        part += np.float32(0.5)
        # Cut off at both ends before the numbers become whole: below zero they would wrap around.
        np.clip(part, 0, STEPS, out=part)
        np.copyto(number, part, casting="unsafe")
        number <<= 8
        number |= picture[rows, :, 0]
        mixed = table.take(number, mode="clip").tobytes()
        strip = Image.frombytes("RGB", (width, count), mixed, "raw", "RGBX")
        yield strip.tobytes()


@lru_cache(maxsize=1)
def _packed_blends() -> npt.NDArray[np.uint32]:
    """The table of all blends by strength and grey value, each colour in one word, found faster than three bytes."""
    kept = np.rint(np.linspace(0, COLOURS - 1, STEPS + 1)).astype(int)
    blends = grey_blends()[kept].reshape(-1, 3)
    padded = np.zeros((len(blends), 4), np.uint8)
    padded[:, :3] = blends
    return padded.view(np.uint32)[:, 0].copy()


def _shrunk(pixels: Uint8Array) -> Uint8Array:
    image = Image.fromarray(pixels)
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.BOX)
    return np.asarray(image)
