"""`index.html` of an explanation folder: its pictures with what they say, to be looked through in a browser.

The page names the pictures beside it and nothing else; it reads without its script, which only switches colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ..errors import ResourceError
from ..explanation.record import ExplanationManifest, ExplanationRecord
from ..files import write_whole
from .html import page_environment, page_frame
from .overlay import is_diverging
from .words import number, percent, printable

PAGE = "index.html"
MARKS = {"good": "good", "caution": "caution", "problem": "problem", "unknown": "information"}
WORDS = {"good": "reliable", "caution": "use with care", "problem": "not reliable here", "unknown": "not checked"}


@dataclass(frozen=True, slots=True)
class GalleryMap:
    """One map in the gallery: `heading` tells it from the others of its image, `ends` are those of its colour bar."""

    record: ExplanationRecord
    heading: str
    ends: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class GalleryImage:
    """One image in the gallery, with its maps."""

    path: str
    first: ExplanationRecord
    confidence: str
    maps: tuple[GalleryMap, ...]
    sheet: str | None


def write_gallery(manifest: ExplanationManifest, folder: Path, *, name: str, medical: bool = False) -> Path:
    """Write `index.html` beside a manifest's pictures; ResourceError when it cannot be written."""
    target = folder / PAGE
    try:
        write_whole(target, render_gallery(manifest, name=name, medical=medical).encode("utf-8", "replace"))
    except OSError as error:
        message = f"{target} cannot be written ({error.strerror}). Choose another `out=`, or free space."
        raise ResourceError(message) from error
    return target


def render_gallery(manifest: ExplanationManifest, *, name: str, medical: bool = False) -> str:
    """A manifest's explanations as one HTML page with relative addresses."""
    entries = entries_of(manifest)
    environment = page_environment()
    environment.filters["address"] = quote
    return environment.get_template("gallery.html").render(
        manifest=manifest,
        name=printable(name),
        medical=medical,
        groups=_groups(entries),
        entries=entries,
        how=how_drawn(manifest),
        marks=MARKS,
        words=WORDS,
        **page_frame("gallery.css", colormap=manifest.colormap),
    )


def entries_of(manifest: ExplanationManifest) -> list[GalleryImage]:
    """The images of a manifest in its order, each with its maps."""
    by_path: dict[str, list[ExplanationRecord]] = {}
    for record in manifest.images:
        by_path.setdefault(record.path, []).append(record)
    return [_entry(path, records, manifest) for path, records in by_path.items()]


def _entry(path: str, records: Sequence[ExplanationRecord], manifest: ExplanationManifest) -> GalleryImage:
    first = records[0]
    methods, targets = {r.method for r in records}, {r.target for r in records}
    maps = []
    for record in records:
        about = [record.method if len(methods) > 1 else "", record.target if len(targets) > 1 else ""]
        heading = ": ".join(a for a in about if a) or f"{record.method}, evidence for {record.target}"
        maps.append(GalleryMap(record, heading, _ends(record, manifest)))
    score = "" if first.output is None else f"score {number(first.output)}"
    sure = score if first.confidence is None else percent(first.confidence)
    return GalleryImage(path, first, sure, tuple(maps), manifest.sheets.get(path))


def _ends(record: ExplanationRecord, manifest: ExplanationManifest) -> tuple[str, str] | None:
    """The values at both ends of the colour bar; None where nothing is drawn."""
    if record.limit <= 0 or (record.largest <= 0 and not manifest.signed):
        return None
    low = number(-record.limit) if manifest.signed and is_diverging(manifest.colormap) else "0"
    return low, number(record.limit)


def _groups(entries: Sequence[GalleryImage]) -> list[tuple[str, str, list[GalleryImage]]]:
    """The images by the class answered: (id, class, entries), in the order in which classes first occur."""
    labels = list(dict.fromkeys(e.first.label for e in entries))
    return [(f"class-{i}", label, [e for e in entries if e.first.label == label]) for i, label in enumerate(labels)]


def how_drawn(manifest: ExplanationManifest) -> str:
    """One sentence on the colours."""
    scale = (
        "Each map is drawn up to its own largest value: compare numbers, not brightness."
        if manifest.scale == "image"
        else "Maps are drawn on the model's own scale, one for each method: weak evidence looks weak."
    )
    sides = " Blue speaks against the class and red for it." if manifest.signed else ""
    ends = "The high end of the colours is the strongest evidence; without evidence the image is unchanged."
    return f"{scale}{sides} {ends}"
