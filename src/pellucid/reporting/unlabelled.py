"""What is said of new images without labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..evaluation.unlabelled import Unlabelled
from .words import number, percent, with_interval

VERDICTS = {
    "use": "Use: the new images look like those at home, and so does their mix.",
    "new threshold": (
        "Use with a new threshold: the images look like those at home, but the classes come in another mix. Label some "
        "100 images and run `pellucid adapt`."
    ),
    "cannot be estimated": (
        "The accuracy cannot be estimated, and the figures above may be far too good: label some 100 of these images "
        "and run `pellucid evaluate`, then `pellucid adapt`."
    ),
}


def sentences(found: Unlabelled, classes: Sequence[str]) -> list[str]:
    """What was measured and what to do, one sentence or two a line."""
    mix = ", ".join(
        f"{name} {with_interval(e.value, e.low, e.high)} (at home {number(home)})"
        for name, e, home in zip(classes, found.mix, found.home_mix, strict=True)
    )
    lines = [f"Accuracy at home, on validation images: {number(found.home_accuracy)}.", f"Estimated class mix: {mix}."]
    if found.outside is not None:
        lines.append(f"Unusual images: {percent(found.outside)} of the new ones.")
    if found.apart is None:
        lines.append("Whether the images themselves differ from those at home is unknown: the run's are not there.")
    else:
        told = with_interval(found.apart.value, found.apart.low, found.apart.high)
        differ = "they differ" if found.moved else "no clear difference"
        lines.append(f"Told from the images at home by their features with AUC {told}: {differ}.")
    return [*lines, VERDICTS[found.verdict]]


def as_document(found: Unlabelled) -> dict[str, Any]:
    """The same as JSON values."""
    rows = [{"name": e.name, "value": e.value, "low": e.low, "high": e.high} for e in (*found.accuracy, *found.mix)]
    return {
        "images": found.images,
        "home_accuracy": found.home_accuracy,
        "accuracy": rows[: len(found.accuracy)],
        "mix": rows[len(found.accuracy) :],
        "home_mix": [float(v) for v in found.home_mix],
        "apart": None if found.apart is None else [found.apart.value, found.apart.low, found.apart.high],
        "outside": found.outside,
        "verdict": found.verdict,
    }
