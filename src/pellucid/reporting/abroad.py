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
    values = [s.auc[0] for s in record.sources]
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
    if not record.known or record.auc is None:
        return f"{own}On images from elsewhere: unknown."
    return (
        f"{own}When a source is left out: {elsewhere(record)}, for a quick model that has {number(record.auc[0])} on "
        "images like these."
    )


TOPICS: dict[Level, str] = {"problem": "Loss elsewhere", "caution": "Unknown elsewhere", "good": "Other sources"}


def on_other_sources(record: AbroadRecord) -> tuple[Level, str]:
    """How grave the loss on other sources is, and a sentence with a remedy."""
    if not record.known or record.auc is None or record.accuracy is None:
        reason = UNKNOWN[record.unknown or "no-sources"]
        return "caution", f"How good the model is on images from elsewhere is unknown. {reason} So {TEST_ELSEWHERE}."
    accuracies = [s.accuracy[0] for s in record.sources]
    text = (
        f"A quick model on fixed features has AUC {number(record.auc[0])} and balanced accuracy "
        f"{number(record.accuracy[0])} on images like these. With a source left out of its training it has AUC "
        f"{elsewhere(record)} and balanced accuracy {spread(accuracies)}. The worst is {described(record.worst)}: "
        f"{with_interval(*record.worst.accuracy)}."
    )
    if record.sure:
        remedy = f"Expect lower figures elsewhere: add images from other sources, and {TEST_ELSEWHERE}."
        return "problem", f"{text} {remedy}"
    return "good", f"{text} No loss is certain. Sources that the data do not hold may still differ: {TEST_ELSEWHERE}."


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
