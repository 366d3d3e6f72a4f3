"""Explained images as the report shows them: the picture beside its heat map, small enough to travel in the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
import PIL.Image

from ..errors import BundleError
from ..explanation.record import ExplanationManifest, ExplanationRecord
from ..preprocessing import Uint8Array
from .overlay import is_diverging
from .pictures import smaller
from .sheets import Cell, comparison_sheet
from .words import number

PICTURE_SIDE = 360
_QUALITY = 82


@dataclass(frozen=True, slots=True)
class Case:
    """One explained image. `picture` and `heat` are data addresses; `scale` the ends of the colour bar, if it has one.

    `right` is None where the true class is not known, or no class is answered (`withheld`); `predicted` is the class
    that would be answered.
    """

    path: str
    label: str
    confidence: str
    true_label: str | None
    right: bool | None
    target: str
    verdict: str
    warnings: tuple[str, ...]
    picture: str
    heat: str
    scale: tuple[str, str] | None
    unit: str
    predicted: str = ""
    withheld: bool = False

    @property
    def size(self) -> int:
        """Characters that its pictures take in the page."""
        return len(self.picture) + len(self.heat)


@dataclass(frozen=True, slots=True)
class Cases:
    """What is shown of an explanation folder; `left_out` counts the explained images for which there was no room."""

    wrong: tuple[Case, ...]
    right: tuple[Case, ...]
    unknown: tuple[Case, ...]
    left_out: int
    withheld: tuple[Case, ...] = ()

    @property
    def all(self) -> tuple[Case, ...]:
        """Every case, mistakes first."""
        return (*self.wrong, *self.right, *self.withheld, *self.unknown)


def read_cases(manifest: ExplanationManifest, folder: Path, *, each: int = 24, room: int = 7_000_000) -> Cases:
    """The most confident mistakes, right and withheld answers, at most `each`, within `room` characters of pictures.

    Right answers go through the classes in turn. Raises BundleError when a picture is missing or damaged.
    """
    wrong = sorted((r for r in manifest.images if r.right is False), key=lambda r: -(r.confidence or 0))[:each]
    right = _in_turn((r for r in manifest.images if r.right), lambda r: r.label)[:each]
    withheld = _in_turn((r for r in manifest.images if r.withheld), lambda r: r.predicted)[:each]
    unknown = [r for r in manifest.images if r.right is None and not r.withheld][:each]
    shown: dict[str, list[Case]] = {kind: [] for kind in ("wrong", "right", "withheld", "unknown")}
    used = 0
    # By turns, so that no kind takes all the room.
    for record in _in_turn([*wrong, *right, *withheld, *unknown], _kind):
        case = _case(record, manifest, folder)
        used += case.size
        if used > room:
            break
        shown[_kind(record)].append(case)
    total = sum(map(len, shown.values()))
    return Cases(left_out=len(manifest.images) - total, **{kind: tuple(cases) for kind, cases in shown.items()})


def _kind(record: ExplanationRecord) -> str:
    if record.right is None:
        return "withheld" if record.withheld else "unknown"
    return "right" if record.right else "wrong"


def mistakes_sheet(manifest: ExplanationManifest, folder: Path, most: int = 8) -> Uint8Array | None:
    """The most confident mistakes with their heat maps on one sheet (H, W, 3); None without any."""
    wrong = sorted((r for r in manifest.images if r.right is False), key=lambda r: -(r.confidence or 0))[:most]
    if not wrong:
        return None
    cells = []
    for record in wrong:
        with PIL.Image.open(folder / record.files["overlay"]) as file:
            picture = np.asarray(file.convert("RGB"))
        cells.append(Cell(f"{record.label} {_sure(record)}".rstrip() + f", is {record.true_label}", picture))
    return comparison_sheet(f"The most confident mistakes, {manifest.images[0].method} for the answer", [cells])


def picture_address(path: Path, side: int = PICTURE_SIDE) -> str:
    """A picture file as a JPEG data address, its longer side at most `side` pixels."""
    try:
        with PIL.Image.open(path) as file:
            picture = smaller(file.convert("RGB"), side)
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        message = f"The picture {path} cannot be read ({error}). Explain the images again."
        raise BundleError(message) from error
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _in_turn(
    records: Iterable[ExplanationRecord], key: Callable[[ExplanationRecord], object]
) -> list[ExplanationRecord]:
    """The records reordered: the first of each kind, the second of each kind, and so on."""
    kinds: dict[object, list[ExplanationRecord]] = {}
    for record in records:
        kinds.setdefault(key(record), []).append(record)
    return [record for row in zip_longest(*kinds.values()) for record in row if record is not None]


def _case(record: ExplanationRecord, manifest: ExplanationManifest, folder: Path) -> Case:
    files = {name: folder / file for name, file in record.files.items()}
    outside = [file for file in files.values() if not file.resolve().is_relative_to(folder.resolve())]
    missing = [name for name in ("image", "overlay") if name not in files]
    if outside or missing:
        what = f"a picture outside the folder ({outside[0]})" if outside else f"no {' and no '.join(missing)} picture"
        raise BundleError(f"{folder / 'manifest.json'} names {what} for {record.path}. Explain the images again.")
    return Case(
        path=record.path,
        label=record.label,
        predicted=record.predicted or record.label,
        withheld=record.withheld,
        confidence=_sure(record),
        true_label=record.true_label,
        right=record.right,
        target=record.target,
        verdict=record.verdict,
        warnings=record.warnings,
        picture=picture_address(files["image"]),
        heat=picture_address(files["overlay"]),
        scale=_scale(record, manifest),
        unit=record.unit,
    )


def _sure(record: ExplanationRecord) -> str:
    """How sure the answer is, or the score of a model without probabilities; empty where an older run has neither."""
    if record.confidence is not None:
        return number(record.confidence)
    return "" if record.output is None else f"score {number(record.output)}"


def _scale(record: ExplanationRecord, manifest: ExplanationManifest) -> tuple[str, str] | None:
    """The values at the two ends of the colours; None when nothing speaks for the target."""
    if record.largest <= 0:
        return None
    if manifest.scale != "image":
        return ("0", number(record.limit))
    if record.smallest < 0 and is_diverging(manifest.colormap):
        size = max(record.largest, -record.smallest)
        return (number(-size), number(size))
    return ("0", number(record.largest))
