"""Which of two classes is the positive one, by their names."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

# fmt: off
NEGATIVE_WORDS = frozenset((
    "0", "absence", "absent", "accept", "accepted", "alive", "authentic", "background", "benign", "blank", "bonafide",
    "clean", "clear", "conforming", "control", "controls", "correct", "ctrl", "empty", "false", "fine", "flawless",
    "free", "genuine", "good", "ham", "healthy", "intact", "live", "neg", "negative", "no", "non", "none", "normal",
    "not", "nothing", "ok", "okay", "original", "pass", "passed", "perfect", "pristine", "real", "regular", "safe",
    "sane", "sober", "sound", "standard", "typical", "unaffected", "undamaged", "uninfected", "valid", "well",
    "without", "gesund", "gut", "sain", "sano", "normale", "sin", "sans", "ohne", "kein", "keine",
))
POSITIVE_WORDS = frozenset((
    "1", "abnormal", "abnormality", "accident", "affected", "anomalous", "anomaly", "attack", "bad", "broken",
    "burnt", "cancer", "corroded", "corrosion", "covid", "crack", "cracked", "cracks", "damage", "damaged", "dead",
    "defect", "defective", "defects", "deepfake", "disease", "diseased", "error", "fail", "failed", "failure", "fake",
    "fault", "faulty", "fire", "flood", "forged", "fracture", "fractured", "fraud", "glaucoma", "hazard", "hole",
    "ill", "impure", "infected", "infection", "injured", "invalid", "leak", "lesion", "malignant", "melanoma", "ng",
    "nok", "nsfw", "parasitized", "pneumonia", "pos", "positive", "pothole", "present", "reject", "rejected", "rot",
    "rotten", "rust", "scratch", "sick", "smoke", "spam", "spoof", "stale", "stroke", "tampered", "tb", "true",
    "tuberculosis", "tumor", "tumour", "unsafe", "violence", "weapon", "wildfire", "with", "wrong", "yes",
))
NEGATIONS = ("without", "non", "not", "no", "un")
# fmt: on

Ground = Literal["negation", "negative-word", "positive-word", "alphabet"]


def order_of_two(first: str, second: str) -> tuple[str, str, Ground]:
    """Two names in the order (negative, positive), and what decided: the alphabet where the names say nothing.

    A name that is the other one with no, non, not, un or without in front is the negative, except of a word such as
    normal or ok: not_ok is positive. After that the words of both names decide.
    """
    for name, other in ((first, second), (second, first)):
        if _negates(name, other):
            return (other, name, "negation") if _weight(other) > 0 else (name, other, "negation")
    weights = _weight(first), _weight(second)
    if weights[0] != weights[1]:
        negative, positive = (first, second) if weights[0] > weights[1] else (second, first)
        return negative, positive, "negative-word" if max(weights) > 0 else "positive-word"
    low, high = sorted((first, second))
    return low, high, "alphabet"


def _negates(name: str, other: str) -> bool:
    """Whether `name` is `other` with a negation in front (or `free` or `less` behind), whatever the endings."""
    whole, base = _letters(name), _letters(other)
    for negation in NEGATIONS:
        if whole.startswith(negation) and _same_word(whole.removeprefix(negation), base):
            return True
    return any(whole.endswith(end) and _same_word(whole.removesuffix(end), base) for end in ("free", "less"))


def _same_word(one: str, other: str) -> bool:
    """Whether two words are the same but for an ending: crack and cracked, tumor and tumors."""
    short, long = sorted((one, other), key=len)
    return len(short) >= 3 and (short == long or (long.startswith(short) and len(long) - len(short) <= 2))


def _letters(name: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFC", name).casefold() if c.isalnum())


def _weight(name: str) -> int:
    """How much a name says that it is the negative: 2 to -2, the extremes where the whole name is such a word."""
    name = re.sub(r"^([01])[.,]0+$", r"\1", name.strip())
    words = re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold())
    whole = len(words) == 1
    if any(w in NEGATIVE_WORDS for w in words):
        return 2 if whole else 1
    if any(w in POSITIVE_WORDS for w in words):
        return -2 if whole else -1
    return 0
