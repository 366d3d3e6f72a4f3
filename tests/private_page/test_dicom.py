"""DICOM films in the page's own reader, against Python's."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.image_files import encoded
from tests.private_page.harness import in_node, needs_node

from pellucid.images import read_image

pydicom = pytest.importorskip("pydicom")
from pydicom.dataset import Dataset, FileDataset  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402
from pydicom.uid import (  # noqa: E402
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)
from tests.pacs.films import LOOKS, film  # noqa: E402
from tests.test_dicom import dataset, lookup_table, written  # noqa: E402

pytestmark = needs_node

RANDOM = np.random.default_rng(3)
EIGHT = RANDOM.integers(0, 256, (9, 13), np.uint8)
TWELVE = RANDOM.integers(0, 4096, (17, 22), dtype=np.uint16)
SIXTEEN = RANDOM.integers(0, 65536, (17, 22), dtype=np.uint16)
SIGNED = RANDOM.integers(-2048, 2048, (17, 22), dtype=np.int16)
COLOUR = RANDOM.integers(0, 256, (9, 13, 3), np.uint8)
CURVE = (1023 * np.sqrt(np.arange(3000) / 2999)).astype(np.uint16)
WINDOW = {"WindowCenter": 1800, "WindowWidth": 900}

CODE = """
import { readDicom } from "./dicom.js";
import { recognised } from "./formats.js";

globalThis.harness = async ({ files, limits }) => Object.fromEntries(Object.entries(files).map(([name, text]) => {
  const bytes = new Uint8Array(Buffer.from(text, "base64"));
  try {
    const format = recognised(bytes);
    const { width, height, warnings, rows } = readDicom(bytes, limits);
    const bands = [rows(0, 4), rows(4, height - 4)].map((band) => Buffer.from(band.buffer));
    return [name, { format, size: [height, width], warnings, rgba: Buffer.concat(bands).toString("base64") }];
  } catch (error) {
    return [name, { code: error.code ?? String(error) }];
  }
}));
"""


def in_the_page(files: dict[str, bytes], folder: Path, pixels: int = 10**8) -> dict[str, dict[str, Any]]:
    given = {name: base64.b64encode(data).decode() for name, data in files.items()}
    found: dict[str, dict[str, Any]] = in_node(folder, CODE, {"files": given, "limits": {"pixels": pixels}})
    return found


def moved(values: np.ndarray, high: int, stored: int) -> FileDataset:
    """Values of `stored` bits that end at bit `high` of 16, with other bits set around them."""
    words = (values.astype(np.uint16) & (2**stored - 1)) << (high - stored + 1)
    around = np.uint16(0xFFFF) ^ np.uint16((2**stored - 1) << (high - stored + 1))
    made = dataset(words | around, stored)
    made.HighBit = high
    made.PixelRepresentation = int(values.dtype.kind == "i")
    return made


def enhanced() -> FileDataset:
    made, group, window, values = dataset(TWELVE, 12), Dataset(), Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth = 700, 2000
    values.RescaleSlope, values.RescaleIntercept = 2, -100
    group.FrameVOILUTSequence, group.PixelValueTransformationSequence = [window], [values]
    made.SharedFunctionalGroupsSequence = [group]
    return made


def nested(length: bool) -> FileDataset:
    """A film with sequences in it that have nothing to do with its pixels."""
    inner, outer = Dataset(), Dataset()
    inner.CodeValue, outer.PurposeOfReferenceCodeSequence = "1", [inner, Dataset()]
    made = dataset(TWELVE, 12, **WINDOW)
    made.SourceImageSequence = [outer, outer]
    if not length:
        made["SourceImageSequence"].is_undefined_length = True
        for item in made.SourceImageSequence:
            item.is_undefined_length_sequence_item = True
    return made


def presented() -> FileDataset:
    table = lookup_table(0, 10, np.linspace(1023, 0, 256).astype(np.uint16))
    return dataset(TWELVE, 12, PresentationLUTSequence=[table], **WINDOW)


def films() -> dict[str, bytes]:
    found = {f"{bits} bits, {kind}": dataset(pixels, bits, syntax)
             for kind, syntax in (("implicit", ImplicitVRLittleEndian), ("big", ExplicitVRBigEndian))
             for bits, pixels in ((8, EIGHT), (12, TWELVE), (16, SIXTEEN))}  # fmt: skip
    found |= {
        "8 bits": dataset(EIGHT),
        "7 bits": dataset(EIGHT >> 1, 7),
        "16 bits, dark": dataset(TWELVE, 16),
        "16 bits, one grey": dataset(TWELVE + 9000, 16),
        "16 bits, signed": dataset(SIGNED, 16),
        "white is least": dataset(TWELVE, 12, PhotometricInterpretation="MONOCHROME1"),
        "window": dataset(TWELVE, 12, **WINDOW),
        "several windows": dataset(TWELVE, 12, WindowCenter=[1800, 3], WindowWidth=[900, 4]),
        "window, white is least": dataset(TWELVE, 12, PhotometricInterpretation="MONOCHROME1", **WINDOW),
        "shape over photometric": dataset(TWELVE, 12, PresentationLUTShape="INVERSE", **WINDOW),
        "exact": dataset(TWELVE, 12, VOILUTFunction="LINEAR_EXACT", **WINDOW),
        "sigmoid": dataset(TWELVE, 12, VOILUTFunction="SIGMOID", **WINDOW),
        "step": dataset(TWELVE, 12, WindowCenter=1800.5, WindowWidth=1),
        "impossible window": dataset(TWELVE, 12, WindowCenter=5, WindowWidth=0),
        "empty window": dataset(TWELVE, 12, WindowCenter="", WindowWidth=""),
        "rescaled": dataset(TWELVE, 12, RescaleSlope="1.5", RescaleIntercept="-1024", WindowCenter=0, WindowWidth=1500),
        "negative slope": dataset(SIGNED, 12, RescaleSlope=-2, RescaleIntercept=7),
        "table": dataset(TWELVE, 12, VOILUTSequence=[lookup_table(500, 10, CURVE)], WindowCenter=9, WindowWidth=9),
        "modality table": dataset(
            TWELVE, 12, ModalityLUTSequence=[lookup_table(0, 16, np.arange(4096)[::-1] * 16)], **WINDOW
        ),
        "presentation table": presented(),
        "high bit": moved(TWELVE, 15, 12),
        "high bit 13, signed": moved(SIGNED, 13, 12),
        "enhanced": enhanced(),
        "sequences": nested(True),
        "sequences without length": nested(False),
        "colours": dataset(COLOUR),
        "colours in planes": dataset(np.moveaxis(COLOUR, 2, 0).reshape(COLOUR.shape), PlanarConfiguration=1),
    }
    files = {name: written(made) for name, made in found.items()}
    files["no preamble"] = files["window"][132:]
    start = files["8 bits, implicit"].find(b"\x08\0\x16\0") if b"\x08\0\x16\0" in files["8 bits, implicit"] else None
    return files | ({"no meta": files["8 bits, implicit"][start:]} if start else {})


def test_films_are_shown_as_in_python(tmp_path: Path) -> None:
    files = films()
    for name, found in in_the_page(files, tmp_path).items():
        image = read_image(files[name])
        assert found.get("format") == "DICOM", (name, found)
        assert tuple(found["size"]) == image.size, name
        rgba = np.frombuffer(base64.b64decode(found["rgba"]), np.uint8).reshape(*image.size, 4)
        np.testing.assert_array_equal(rgba[..., :3], image.pixels, err_msg=name)
        assert (rgba[..., 3] == 255).all()
        assert tuple(found["warnings"]) == image.warnings[: len(found["warnings"])], name
        assert not [said for said in image.warnings[len(found["warnings"]) :] if "DICOM" in said], name


def test_phantom_films_of_an_archive(tmp_path: Path) -> None:
    files = {str(n): written(film(n, 64)) for n in range(len(LOOKS))}
    unread = {str(n) for n, look in enumerate(LOOKS) if look.syntax in (RLELossless, JPEGLSLossless)}
    for name, found in in_the_page(files, tmp_path).items():
        if name in unread:
            assert found == {"code": "dicom-compressed"}
            continue
        image = read_image(files[name])
        rgba = np.frombuffer(base64.b64decode(found["rgba"]), np.uint8).reshape(*image.size, 4)
        np.testing.assert_array_equal(rgba[..., :3], image.pixels, err_msg=name)


def compressed(frame: bytes, pixels: np.ndarray, syntax: str, **more: Any) -> bytes:
    made = dataset(pixels, syntax=syntax, **more)
    made.PixelData = encapsulate([frame])
    made["PixelData"].is_undefined_length = True
    return written(made)


def test_what_is_not_read_is_refused_by_a_code(tmp_path: Path) -> None:
    whole = written(dataset(TWELVE, 12, **WINDOW))
    bomb = dataset(EIGHT)
    bomb.Rows = bomb.Columns = 60000
    frames = dataset(EIGHT, NumberOfFrames=2)
    wanted = {
        "frames": (written(frames), "dicom-frames"),
        "palette": (written(dataset(EIGHT, PhotometricInterpretation="PALETTE COLOR")), "dicom-kind"),
        "JPEG 2000": (compressed(b"\xff\x4f\xff\x51" + bytes(40), EIGHT, JPEG2000Lossless), "dicom-compressed"),
        "colour JPEG": (compressed(encoded(COLOUR, "JPEG"), COLOUR, JPEGBaseline8Bit), "dicom-kind"),
        "JPEG of another size": (compressed(encoded(EIGHT[:5], "JPEG"), EIGHT, JPEGBaseline8Bit), "damaged"),
        "no JPEG": (compressed(b"\xff\xd8\xff" + bytes(40), EIGHT, JPEGBaseline8Bit), "damaged"),
        "large": (written(bomb), "too-large"),
        "more bits than stored": (written(dataset(EIGHT, 8, HighBit=12)), "damaged"),
        "a number that is none": (written(dataset(TWELVE, 12)).replace(b"US\x02\0\x0c\0", b"US\x02\0\0\0"), "damaged"),
    }
    assert b"US\x02\0\x0c\0" in whole
    found = in_the_page({name: data for name, (data, _) in wanted.items()}, tmp_path, 10**7)
    assert {name: answer.get("code") for name, answer in found.items()} == {n: code for n, (_, code) in wanted.items()}


def test_no_cut_or_changed_byte_is_anything_but_a_refusal(tmp_path: Path) -> None:
    whole = written(nested(False))
    cut = {f"cut {n}": whole[:n] for n in range(0, len(whole) - 2, 7)}
    for n in range(140, len(whole) - 2 * TWELVE.size, 5):
        cut[f"changed {n}"] = whole[:n] + b"\xff" + whole[n + 1 :]
    codes = {answer.get("code", "") for answer in in_the_page(cut, tmp_path).values()}
    assert codes <= {"", "damaged", "empty", "not-an-image", "too-large", *(f"dicom-{n}" for n in NAMES)}
    assert "damaged" in codes


NAMES = ("compressed", "frames", "kind", "no-picture")
