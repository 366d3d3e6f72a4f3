"""What hiding a shortcut while training did, for the report and the model card."""

from __future__ import annotations

from ..data.labelling import counted
from ..evaluation.hidden import HiddenDocument, HiddenKind

WORDS: dict[HiddenKind, str] = {
    "as-they-are": "images as they are",
    "agrees": "images on which the sign agrees with the class",
    "against": "images on which it does not",
    "covered": "all images, the sign covered",
    "put-in": "all images, the sign of another one put in",
}


def hidden_sentence(found: HiddenDocument) -> str:
    """What was hidden, where it was found, and how it is known which images show it."""
    known = {
        "planted": " Which images show the sign is known: it was planted.",
        "found": " An image shows the sign where the earlier model finds it.",
        "": "",
    }
    shown = ""
    if found.earlier:
        shown = f", found in {found.showing:,} of {counted(found.training_images, 'training image')}"
    return (
        f"While training, this was covered, and exchanged between images of all classes: {', '.join(found.hidden)}"
        f"{shown}.{known[found.truth]}"
    )


def row_words(what: HiddenKind) -> str:
    """Which images a row of figures is of."""
    return WORDS[what]
