"""What the report and the terminal say about images from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from ..bundle.run import AbroadRecord, SourceLeftOut
from ..data.finding import Level
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


def on_other_sources(record: AbroadRecord) -> tuple[Level, str]:
    """How grave the loss on other sources is, and a sentence with a remedy."""
    if record.unknown or record.auc is None or record.accuracy is None:
        reason = UNKNOWN[record.unknown or "no-sources"]
        return "caution", f"How good the model is on images from elsewhere is unknown. {reason} So {TEST_ELSEWHERE}."
    worst = max(record.sources, key=lambda s: max(s.auc_loss[0], s.accuracy_loss[0]))
    accuracies = [s.accuracy[0] for s in record.sources]
    text = (
        f"A quick model on fixed features has AUC {number(record.auc[0])} and balanced accuracy "
        f"{number(record.accuracy[0])} on images like these. With a source left out of its training it has AUC "
        f"{elsewhere(record)} and balanced accuracy {spread(accuracies)}. The worst is {described(worst)}: "
        f"{with_interval(*worst.accuracy)}."
    )
    if worst.sure:
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
    return words[source.kind]
