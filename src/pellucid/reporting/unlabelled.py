"""What is said of new images without labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..evaluation.unlabelled import ShareEstimate, Unlabelled
from .words import count, number, percent, with_interval

LABEL = "label some 100 of these images and run `pellucid evaluate`, then `pellucid adapt`"
VERDICTS = {
    "use": "Use: the accuracy is estimated to be about that at home, and the classes come in a similar mix.",
    "new threshold": f"Use with a new threshold, as the classes come in another mix: {LABEL}.",
    "do not use": f"Do not use before it is tested: {LABEL}.",
}


def sentences(found: Unlabelled, classes: Sequence[str]) -> list[str]:
    """What was measured and what to do, one sentence or two a line."""
    lines = [_accuracy(found), f"Accuracy at home, on validation images: {number(found.home_accuracy)}."]
    lines.append(f"Estimated class mix: {_mix(found.mix, classes, found.home_mix)} by expectation maximisation; ")
    lines[-1] += f"{_mix(found.mix_by_answers, classes)} from the answers alone."
    if found.moved:
        lines[-1] += " The images themselves differ as well, so that neither may hold."
    if found.outside is not None:
        lines.append(f"Unusual images: {percent(found.outside)} of the new ones.")
    if found.apart is None:
        lines.append("Whether the images themselves differ from those at home is unknown: the run's are not there.")
    else:
        told = with_interval(found.apart.value, found.apart.low, found.apart.high)
        differ = "they differ" if found.moved else "no clear difference"
        lines.append(f"Told from the images at home by their features with AUC {told}: {differ}.")
    if found.agreement is not None:
        of = found.agreement
        lost = with_interval(of.lost, of.low, of.high)
        shares = f"{percent(of.new)} of the new images, and on {percent(of.home)} at home"
        lines.append(f"A second head agrees on {shares}; agreement lost: {lost}.")
    return [*lines, VERDICTS[found.verdict]]


def _accuracy(found: Unlabelled) -> str:
    line = found.line
    known = "no source was kept out of this training" if line is None else (
        f"{count(line.sources, 'source')} that {'was' if line.sources == 1 else 'were'} kept out of a training lost "
        f"{number(line.slope)} of accuracy for each part of agreement lost, give or take {number(line.deviation)}"
    )  # fmt: skip
    if found.estimate is None:
        return f"The accuracy cannot be estimated ({known}); the figures above may be far too good."
    of = found.estimate
    return f"Estimated accuracy: {with_interval(of.value, of.low, of.high)} ({known})."


def _mix(mix: Iterable[ShareEstimate], classes: Sequence[str], home: Sequence[float] = ()) -> str:
    shares = [
        f"{name} {with_interval(*(round(v, 3) for v in (e.value, e.low, e.high)))}"
        for name, e in zip(classes, mix, strict=True)
    ]
    if home:
        shares = [f"{said} (at home {number(share)})" for said, share in zip(shares, home, strict=True)]
    return ", ".join(shares)


def as_document(found: Unlabelled) -> dict[str, Any]:
    """The same as JSON values."""
    apart, agreement, line = found.apart, found.agreement, found.line
    return {
        "images": found.images,
        "home_accuracy": found.home_accuracy,
        "estimate": None if found.estimate is None else _row(found.estimate),
        "accuracy": [_row(e) for e in found.accuracy],
        "mix": [_row(e) for e in found.mix],
        "mix_by_answers": [_row(e) for e in found.mix_by_answers],
        "home_mix": [float(v) for v in found.home_mix],
        "mix_moved": found.mix_moved,
        "apart": None if apart is None else [apart.value, apart.low, apart.high],
        "moved": found.moved,
        "agreement": None
        if agreement is None
        else {"home": agreement.home, "new": agreement.new, "lost": [agreement.lost, agreement.low, agreement.high]},
        "kept_out": None
        if line is None
        else {"sources": line.sources, "slope": line.slope, "deviation": line.deviation, "farthest": line.farthest},
        "outside": found.outside,
        "verdict": found.verdict,
    }


def _row(e: ShareEstimate) -> dict[str, Any]:
    return {"name": e.name, "value": e.value, "low": e.low, "high": e.high}
