"""What must be said first of a training: that it has learned nothing, that its loss grew, that its test was sealed."""

from __future__ import annotations

from ..bundle.run import SealedTest, TrainingRecord
from .words import count, number, with_interval


def not_learned(training: TrainingRecord | None) -> str | None:
    """The sentence for a training that is not shown to have learned anything, with what to try; None for another."""
    if training is None or training.learning is None or training.learning.learned:
        return None
    learning = training.learning
    area = with_interval(learning.area, learning.low, learning.high)
    rate = "a lower rate" if training.grown is None else f"a lower rate (`train.learning_rate`; {_grew(training)})"
    return (
        f"Not learned: the validation ROC-AUC is {area} on {count(learning.images, 'image')}, and 0.5 is guessing. "
        f"Try the recipe default or phantom, more images, or {rate}."
    )


def loss_grew(training: TrainingRecord | None) -> str | None:
    """The sentence for a training whose loss grew tenfold; None for another."""
    if training is None or training.grown is None:
        return None
    return f"Unstable training: {_grew(training)}. Lower `train.learning_rate`."


def _grew(training: TrainingRecord) -> str:
    grown = training.grown
    assert grown is not None
    return (
        f"the loss grew more than tenfold, to {number(grown.loss)} in epoch {grown.epoch}, at {grown.learning_rate:g}"
    )


def first_words(training: TrainingRecord | None) -> list[str]:
    """What a reader must know of a training before any figure."""
    return [said for said in (not_learned(training) or loss_grew(training),) if said]


def seal_in_words(sealed: SealedTest) -> str:
    """How often the sealed test images were used, and by what."""
    uses = "; ".join(
        f"{o.time[:16].replace('T', ' ')} by {o.by}" + ("" if o.images == sealed.images else f" ({o.images:,} images)")
        for o in sealed.openings
    )
    return (
        f"Sealed test: no decision of the training used the {count(sealed.images, 'test image')}. "
        f"They were opened {count(len(sealed.openings), 'time')}: {uses}. Checksum {sealed.checksum[:12]}."
    )
