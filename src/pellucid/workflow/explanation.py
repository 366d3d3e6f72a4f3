"""Explain image files into a folder: pictures, and a manifest that says what they show and how to make them again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._version import __version__
from ..bundle.bundle import Bundle
from ..classifier import Score
from ..data.dataset import Skipped
from ..errors import ImageError, InputError
from ..explanation.attribution import Attribution
from ..explanation.catalogue import find_method
from ..explanation.explain import Explained
from ..explanation.record import ExplanationManifest, ExplanationRecord
from ..files import write_whole
from ..images import Image, read_image
from ..progress import Progress, Silent
from ..reporting.overlay import DIVERGING, SEQUENTIAL, colour_table, display_limit, verdict
from ..reporting.pictures import explanation_pictures, save_explanation, with_colour_bar

MANIFEST = "manifest.json"
BATCH = 8


@dataclass(frozen=True, slots=True)
class Drawing:
    """How maps are drawn: opacity 0..1, a matplotlib colour map, and whether evidence against is shown too."""

    alpha: float = 0.45
    colormap: str | None = None
    signed: bool = False


@dataclass(frozen=True, slots=True)
class ToExplain:
    """One file to explain; `shown` is the path that the manifest and titles carry."""

    file: Path
    shown: str
    true_label: str | None = None


def explain_files(
    bundle: Bundle,
    items: Sequence[ToExplain],
    out: Path,
    *,
    method: str = "grad-cam",
    target: str | None = None,
    score: Score | None = None,
    settings: Any = None,
    drawing: Drawing = Drawing(),
    progress: Progress | None = None,
) -> ExplanationManifest:
    """Write for each file its attention map, coloured map, overlay and a titled sheet into `out`, and `manifest.json`.

    Files that cannot be read are listed in the manifest and left out. Raises UnknownNameError for a method, class or
    colour map that does not exist, before anything is written.
    """
    find_method(method)
    colormap = drawing.colormap or (DIVERGING if drawing.signed else SEQUENTIAL)
    colour_table(colormap)
    records: list[ExplanationRecord] = []
    skipped: list[Skipped] = []
    names = _stems([item.shown for item in items])
    with (progress or Silent()).bar("Explaining") as advance:
        for start in range(0, len(items), BATCH):
            chunk = list(_readable(items[start : start + BATCH], names[start : start + BATCH], skipped))
            if chunk:
                answers = bundle.explain_images(
                    [bundle.read(i.file) for i, _, _ in chunk],
                    method=method,
                    target=target,
                    score=score,
                    settings=settings,
                )
                records += [
                    _record(bundle, item, image, answer, drawing, out, stem)
                    for (item, stem, image), answer in zip(chunk, answers, strict=True)
                ]
            advance(min(start + BATCH, len(items)), len(items))
    manifest = ExplanationManifest(
        pellucid_version=__version__,
        model=bundle.manifest.files,
        colormap=colormap,
        alpha=drawing.alpha,
        scale="image",
        images=tuple(records),
        skipped=tuple((s.path, s.reason) for s in skipped),
    )
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / MANIFEST, manifest.model_dump_json(indent=2))
    return manifest


def _readable(
    items: Sequence[ToExplain], stems: Sequence[str], skipped: list[Skipped]
) -> Iterator[tuple[ToExplain, str, Image]]:
    for item, stem in zip(items, stems, strict=True):
        try:
            yield item, stem, read_image(item.file)
        except ImageError as error:
            skipped.append(Skipped(item.shown, error.reason))


def _record(
    bundle: Bundle, item: ToExplain, image: Image, answer: Explained, drawing: Drawing, out: Path, stem: str
) -> ExplanationRecord:
    """Draw one explained image and say what was drawn."""
    prediction = bundle.answer(answer, path=item.shown, warnings=image.warnings)
    attribution = answer.attributions[0]
    limit = display_limit(attribution, signed=drawing.signed)
    colormap, signed = drawing.colormap, drawing.signed
    pictures = explanation_pictures(
        image.pixels, attribution, limit=limit, alpha=drawing.alpha, colormap=colormap, signed=signed
    )
    title = _title(prediction.label, prediction.confidence, attribution)
    pictures["sheet"] = with_colour_bar(
        pictures["overlay"], attribution, limit=limit, title=title, colormap=colormap, signed=signed
    )
    return ExplanationRecord(
        path=item.shown,
        label=prediction.label,
        true_label=item.true_label,
        confidence=prediction.confidence,
        probabilities=prediction.probabilities,
        target=attribution.target,
        method=attribution.method,
        score=attribution.score,
        unit=attribution.unit,
        layer=attribution.layer,
        settings=attribution.settings,
        smallest=float(attribution.values.min()),
        largest=float(attribution.values.max()),
        limit=limit,
        verdict=verdict(attribution, prediction),
        warnings=prediction.warnings,
        files=save_explanation(out, stem, pictures),
    )


def _title(label: str, confidence: float | None, attribution: Attribution) -> str:
    sure = "" if confidence is None else f", {100 * confidence:.1f} %"
    return f"Predicted {label}{sure}. Evidence for {attribution.target}"


def _stems(paths: Sequence[str]) -> list[str]:
    """File-name stems for pictures: readable, safe on every system, and different for different paths."""
    stems: list[str] = []
    used: set[str] = set()
    for path in paths:
        base = re.sub(r"[^\w.-]+", "_", Path(path).stem)[:80].strip("._") or "image"
        stem, number = base, 2
        while stem.lower() in used:
            stem, number = f"{base}-{number}", number + 1
        used.add(stem.lower())
        stems.append(stem)
    return stems


def check_folder(out: Path) -> None:
    """Raise InputError when `out` holds something else than explanations: pictures are written over their namesakes."""
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / MANIFEST).is_file())):
        raise InputError(f"{out} is there already and holds no explanations of ours. Choose another --out.")
