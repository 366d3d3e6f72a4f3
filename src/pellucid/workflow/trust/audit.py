"""Measure how far a model's explanations can be relied on, over a set of images: `pellucid audit RUN --explanations`.

A few images at a time go through every method and every check: when a budget ends, all results rest on the same, fewer
images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...bundle.bundle import Bundle, load_chosen
from ...bundle.manifest import Manifest
from ...bundle.run import RunFolder
from ...bundle.runtimes import USUAL_ENGINE, EngineChoice, audit_name
from ...data.dataset import Dataset, Sample, Split
from ...errors import DataError, InputError
from ...explanation.catalogue import METHODS, Method, find_method, settings_of
from ...explanation.faithfulness import CurveSettings
from ...explanation.trust import TrustCard
from ...files import write_whole
from ...progress import Progress, Silent
from ..evaluation import foreign_split, own_split
from ..scales import cheap_methods
from ..sealing import open_again
from .budget import Limit, Spending, parse_limit
from .card import card_of
from .measures import Effort, TrustMeasurements
from .settled import is_settled

DOCUMENT = "trust.json"
CHUNK = 4
MOST_IMAGES = 100
NO_LIMIT, USUAL = Limit(), CurveSettings()
QUICK_STEPS, QUICK_STAGES, QUICK_RANDOM = 4, (0.0, 1.0), 8
"""Of a quick card: points on a curve, shares of layers that are randomised, images for the curves of random maps."""


def audit_explanations(
    run: Path,
    data: Path | None = None,
    *,
    split: Split = "test",
    methods: Sequence[str] = (),
    images: int = MOST_IMAGES,
    budget: str | None = None,
    replacement: str = "blur",
    seed: int = 0,
    quick: bool = False,
    out: Path | None = None,
    choice: EngineChoice = USUAL_ENGINE,
    progress: Progress | None = None,
) -> tuple[TrustCard, Path]:
    """The trust card of a run's explanations, written as `trust.json` and `trust.html`; and the folder they are in.

    Measured on up to `images` images, evenly by class, of the run's own `split` or of `data`. `methods` are names, or
    `all`; by default those that take one pass. A `quick` card is of the usual method unless others are named, has fewer
    points on each curve, and ends when the intervals that decide are narrow enough. `budget` is passes or a time, as in
    `20000` or `5min`. The folder is `out`, by default `audit/` of the run. Raises InputError and its kinds for names,
    data or a budget that cannot be.
    """
    limit = parse_limit(budget)
    bundle = load_chosen(run, choice)
    dataset = own_split(RunFolder(run), bundle, split) if data is None else foreign_split(bundle, data, split)
    open_again(RunFolder(run), dataset, "audit explanations", own_test=data is None and split == "test")
    chosen = chosen_methods(methods or ([bundle.usual_method] if quick else []), bundle.manifest)
    curves = CurveSettings(replacement=replacement, seed=seed)
    if quick:
        curves = replace(curves, steps=QUICK_STEPS, rule="simpson")
    card = measure_trust(
        bundle,
        dataset,
        {m.name: settings_of(m) for m in chosen},
        images=images,
        limit=limit,
        curves=curves,
        quick=quick,
        data=str(data or f"{split} split of the run"),
        progress=progress,
    )
    folder = out or run / audit_name(bundle.runtime)
    write_card(card, folder)
    return card, folder


def write_card(card: TrustCard, folder: Path) -> None:
    """Write `trust.json` and the page `trust.html` into a folder, which is made if need be."""
    from ...reporting.trust import write_trust_page

    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / DOCUMENT, card.model_dump_json(indent=2) + "\n")
    write_trust_page(card, folder)


def chosen_methods(names: Sequence[str], manifest: Manifest) -> list[Method]:
    """Catalogue rows by name, `all` meaning all; with no names, the cheap ones that can explain the model.

    A model that gives no evidence is explained by occlusion and LIME instead.
    """
    if not names:
        cheap = [m for m in cheap_methods() if m.lacking(manifest) is None]
        return cheap or [find_method("occlusion"), find_method("lime")]
    if "all" in names:
        return list(METHODS)
    return [find_method(name) for name in dict.fromkeys(names)]


def measure_trust(
    bundle: Bundle,
    dataset: Dataset,
    methods: Mapping[str, Any],
    *,
    images: int,
    limit: Limit = NO_LIMIT,
    curves: CurveSettings = USUAL,
    quick: bool = False,
    data: str = "",
    progress: Progress | None = None,
) -> TrustCard:
    """Measure methods (name to settings) on up to `images` images of a dataset whose classes are the bundle's.

    A `quick` measurement randomises fewer layers, and ends when the intervals that decide are narrow enough.
    """
    if images < 1:
        raise InputError(f"At least one image is needed to measure explanations, not {images}.")
    chosen = choose_samples(dataset, images, curves.seed)
    effort = Effort(QUICK_STAGES, random=QUICK_RANDOM) if quick else Effort()
    if limit != NO_LIMIT:  # what is spent must be known after each few images
        effort = replace(effort, at_once=1)
    audit = TrustMeasurements(bundle, dataset, methods, curves, effort)
    spending = Spending(limit)
    reached = settled = False
    with (progress or Silent()).bar("Measuring explanations") as advance:
        for start in range(0, len(chosen), CHUNK):
            some = chosen[start : start + CHUNK]
            if not spending.allows(start, len(some)):
                reached = True
                break
            audit.measure(some)
            spending.passes = audit.classifier.passes
            advance(min(start + CHUNK, len(chosen)), len(chosen))
            settled = quick and start + CHUNK < len(chosen) and is_settled(audit)
            if settled:
                break
    if not audit.samples:
        raise DataError(f"None of the {len(chosen)} images chosen from {dataset.root} can be read.")
    audit.finish()
    return card_of(audit, spending, reached, len(chosen), data, settled)


def choose_samples(dataset: Dataset, images: int, seed: int) -> list[Sample]:
    """Up to `images` samples, in turn from each class, those with masks or boxes first; the rest is up to the seed."""
    order = np.random.default_rng(seed).permutation(len(dataset.samples))
    mixed = sorted((dataset.samples[i] for i in order), key=lambda s: s.mask is None and not s.boxes)
    by_class = [[s for s in mixed if s.label == c] for c in range(len(dataset.classes))]
    turns = [own[i] for i in range(len(mixed)) for own in by_class if i < len(own)]
    return turns[:images]
