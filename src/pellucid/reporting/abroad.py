"""What the report and the terminal say about images from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from ..data.finding import Level
from ..evaluation.kept_out import AbroadRecord, SourceLeftOut
from ..evaluation.result import Metric
from .words import count, number, with_interval

UNKNOWN = {
    "regression": "It is not estimated for a score.",
    "no-weights": "Without pretrained weights there are no fixed features to estimate it with.",
    "few-images": "A class has too few images, or groups, to leave some out.",
    "no-sources": "File names, sizes, compression and looks do not tell apart sources that could be left out.",
}
TEST_ELSEWHERE = "test on labelled images from elsewhere before relying on the model"


def elsewhere(record: AbroadRecord | None) -> str:
    """The range of the AUC with a source left out, `0.94 to 0.97`; "unknown" without one; "" for an old run."""
    if record is None:
        return ""
    values = [s.auc[0] for s in record.best.sources]
    if not values:
        return "unknown"
    return spread(values)


def spread(values: Sequence[float]) -> str:
    """The least and the greatest value: `0.94 to 0.97`."""
    low, high = number(min(values)), number(max(values))
    return low if low == high else f"{low} to {high}"


def headline(record: AbroadRecord | None, home: Metric | None) -> str:
    """Both figures in one line: on images like these, and with a source left out; "" for an old run.

    `home` is the ROC-AUC of the model on its own test images, None where it was not measured.
    """
    if record is None:
        return ""
    own = "" if home is None else f"On images like these: ROC-AUC {with_interval(home.value, home.low, home.high)}. "
    best = record.best
    if not best.known or best.auc is None:
        return f"{own}On images from elsewhere: unknown."
    who = "a quick model" if best is record else "the whole recipe"
    return f"{own}When a source is left out: {elsewhere(record)} ({who}; {number(best.auc[0])} at home)."


TOPICS: dict[Level, str] = {"problem": "Loss elsewhere", "caution": "Unknown elsewhere", "good": "Other sources"}


def on_other_sources(record: AbroadRecord) -> tuple[Level, str]:
    """How grave the loss on other sources is, and a sentence with a remedy."""
    best = record.best
    if not best.known or best.auc is None or best.accuracy is None:
        reason = UNKNOWN[best.unknown or "no-sources"]
        return "caution", f"How good the model is on images from elsewhere is unknown. {reason} So {TEST_ELSEWHERE}."
    who = "A quick model on fixed features" if best is record else "The model"
    without = "it has" if best is record else "the whole recipe has"
    accuracies = [s.accuracy[0] for s in best.sources]
    text = (
        f"{who} has AUC {number(best.auc[0])} and balanced accuracy {number(best.accuracy[0])} on images like these. "
        f"With a source left out of its training {without} AUC {elsewhere(record)} and balanced accuracy "
        f"{spread(accuracies)}. The worst is {described(best.worst)}: {with_interval(*best.worst.accuracy)}."
    )
    if best.sure:
        remedy = f"Expect lower figures elsewhere: add images from other sources, and {TEST_ELSEWHERE}."
        return "problem", f"{text} {remedy}"
    return "good", f"{text} No loss is certain. Sources that the data do not hold may still differ: {TEST_ELSEWHERE}."


def calibration_elsewhere(record: AbroadRecord | None) -> str:
    """What calibration at home is worth elsewhere, by the sources left out; "" where nothing was measured."""
    best = record.best if record is not None else None
    errors = [s.kept.error for s in best.sources if s.kept is not None] if best is not None else []
    if not errors:
        return ""
    who = "a quick model" if best is record else "the recipe"
    return (
        "Fitted at home, a calibration is worth less elsewhere: on sources that were left out the calibration error of "
        f"{who} is {spread([e[1] for e in errors])}, against {spread([e[0] for e in errors])} at home."
    )


def described(source: SourceLeftOut) -> str:
    """A source in words: `597 images named IM-#-#`."""
    images = count(source.images, "image")
    words = {
        "name": f"{images} named {source.value}",
        "size": f"{images} of {source.value} pixels",
        "compression": f"{images} with the compression {source.value}",
        "look": f"the {images} that look most unlike the others of their class",
    }
    measure = MEASURES.get(source.kind)
    return words[source.kind] if measure is None else f"the {images} with {source.value} {measure}"


MEASURES = {
    "brightness": "brightness",
    "contrast": "contrast",
    "detail": "sharpness",
    "border": "brightness of the border",
    "colour": "colour cast",
    "bytes": "file size per pixel",
    "pixels": "number of pixels",
    "shape": "width over height",
}
