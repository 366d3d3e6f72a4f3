"""From measurements to the trust card: means with intervals, verdicts, ranks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..._version import __version__
from ...classifier import gives_score
from ...evaluation.intervals import Resampling, percentiles
from ...explanation.trust import (
    FEWEST,
    Agreement,
    Budget,
    CurveEntry,
    Located,
    MeanEstimate,
    MethodEntry,
    TrustCard,
    judged,
    ranked,
    summary,
)
from .budget import Spending
from .measures import LOCALISATION, Doubles, Measured, TrustMeasurements

RESAMPLES = 2000


def card_of(
    audit: TrustMeasurements, spending: Spending, reached: bool, wanted: int, data: str, settled: bool = False
) -> TrustCard:
    """The card of what was measured of `wanted` images; `reached`, `settled` say whether one of these ended it."""
    n = len(audit.samples)
    resampling = Resampling.of(n, [s.group for s in audit.samples], RESAMPLES, audit.curves.seed)
    bundle, counts = audit.bundle, np.bincount([s.label for s in audit.samples], minlength=len(audit.bundle.classes))
    entries = ranked([_entry(name, m, audit, resampling) for name, m in audit.measured.items()])
    names = list(audit.measured)
    order = [names.index(e.name) for e in entries]
    matrix = np.nan_to_num(_nanmean(np.concatenate(audit.agreements, axis=2)))[np.ix_(order, order)]
    return TrustCard(
        pellucid_version=__version__,
        name=bundle.manifest.name,
        model=bundle.manifest.files,
        data=data,
        images=n,
        of=wanted,
        classes={c: int(k) for c, k in zip(bundle.classes, counts, strict=True)},
        score="output" if gives_score(bundle.task) else "log-odds",
        layer=bundle.manifest.layer.name if bundle.manifest.layer else None,
        replacement=audit.curves.replacement,
        seed=audit.curves.seed,
        intervals=resampling.in_words().split(";")[0],
        layers=audit.layers,
        shares=tuple(_short(s) for s in audit.curves.shares),
        baselines={name: _curve_entry(m, resampling) for name, m in audit.baselines.items()},
        methods=tuple(entries),
        agreement=Agreement(
            methods=tuple(e.name for e in entries),
            correlation=tuple(tuple(_short(v) for v in row) for row in matrix),
        ),
        left_out=audit.left_out,
        budget=Budget(
            wanted=spending.limit.text,
            reached=reached,
            settled=settled,
            passes=audit.classifier.passes,
            seconds=round(spending.seconds, 2),
            sentence=_ended(spending, reached, settled, n, wanted),
        ),
        verdict=summary(entries),
        notes=tuple(_notes(audit)),
    )


def _ended(spending: Spending, reached: bool, settled: bool, n: int, wanted: int) -> str:
    """Why no more images were measured."""
    if reached:
        of = f"after {n} of {wanted} images; all results are based on these."
        return f"The budget of {spending.limit.text} was reached {of}"
    if settled:
        return f"{n} of {wanted} images were enough: every interval that decides lies on one side."
    return f"All {n} images were measured."


def _notes(audit: TrustMeasurements) -> Iterator[str]:
    if audit.skipped:
        yield f"{len(audit.skipped)} images could not be read and were skipped, the first: {audit.skipped[0]}"
    fall = np.concatenate(audit.baselines["centre"].deletion)
    change = float((fall[:, 0] - fall[:, -1]).mean())
    if change <= 0:
        yield (
            f"Hiding whole images ({audit.curves.replacement}) does not lower the score: the replacement "
            "is itself evidence here. Choose another one before you trust the curves."
        )


def _entry(name: str, measured: Measured, audit: TrustMeasurements, resampling: Resampling) -> MethodEntry:
    gap = measured.all("gap")
    against = {b: figure(gap - m.all("gap"), resampling) for b, m in audit.baselines.items()}
    randomised = {c: _short(abs(float(_nanmean(np.concatenate(v))))) for c, v in measured.randomised.items()}
    noise = figure(measured.all("noise"), resampling)
    seed = figure(measured.all("seed"), resampling) if "seed" in measured.values else None
    localised = int(np.isfinite(measured.all("pointing")).sum())
    places = {k: _located(measured, k, resampling) for k in LOCALISATION} if localised else {}
    level, verdict = judged(
        images=len(gap), against=against, randomisation=randomised, noise=noise, seed=seed, located=places
    )
    return MethodEntry(
        name=name,
        level=level,
        verdict=verdict,
        images=len(gap),
        silent=int(measured.all("silent").sum()),
        seconds=_short(measured.seconds / len(gap)),
        passes=_short(measured.passes / len(gap)),
        curves=_curve_entry(measured, resampling),
        against=against,
        beaten=tuple(b for b, f in against.items() if f.low is not None and f.low > 0),
        randomisation=randomised,
        noise=noise,
        seed=seed,
        localisation=places,
        localised=localised,
    )


def _located(measured: Measured, name: str, resampling: Resampling) -> Located:
    found, chance = measured.all(name), measured.all(f"{name} by chance")
    return Located(
        found=figure(found, resampling),
        chance=_short(float(_nanmean(chance))),
        over=figure(found - chance, resampling),
    )


def _curve_entry(measured: Measured, resampling: Resampling) -> CurveEntry:
    deletion, insertion = (np.concatenate(c).mean(axis=0) for c in (measured.deletion, measured.insertion))
    return CurveEntry(
        deletion=figure(measured.all("deletion_area"), resampling),
        insertion=figure(measured.all("insertion_area"), resampling),
        gap=figure(measured.all("gap"), resampling),
        deletion_curve=tuple(_short(v) for v in deletion),
        insertion_curve=tuple(_short(v) for v in insertion),
    )


def figure(values: Doubles, resampling: Resampling) -> MeanEstimate:
    """The mean of values (N,), of which some may be NaN, with its bootstrap interval; none below five images."""
    known = np.isfinite(values)
    if not known.any():
        return MeanEstimate(value=0.0)
    mean = float(values[known].mean())
    if known.sum() < FEWEST or resampling.units_among(known) < 2:
        return MeanEstimate(value=_short(mean))
    filled = np.where(known, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [(filled @ w) / (known.astype(np.float64) @ w) for w in resampling.weights()]
    low, high = percentiles(np.concatenate(means)[None])
    return MeanEstimate(value=_short(mean), low=_short(float(low[0])), high=_short(float(high[0])))


def _nanmean(values: Doubles) -> Any:
    """The mean over the last axis of what is known; 0 where nothing is."""
    known = np.isfinite(values)
    return np.where(known, values, 0).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1)


def _short(value: float) -> float:
    return float(f"{value:.5g}")
