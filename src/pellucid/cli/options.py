"""Options shared by several commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from ..classifier import Score
    from ..data.dataset import Split
    from ..reporting.overlay import Scale


def parse_merge(texts: Sequence[str]) -> dict[str, list[str]]:
    """`["ill=covid,pneumonia"]` as {"ill": ["covid", "pneumonia"]}. Raises InputError for another form."""
    merged: dict[str, list[str]] = {}
    for text in texts:
        name, _, listed = text.partition("=")
        members = [m.strip() for m in listed.split(",") if m.strip()]
        if not name.strip() or not members:
            raise InputError(f"--group {text!r}: write NAME=CLASS,CLASS, for example ill=covid,pneumonia.")
        merged.setdefault(name.strip(), []).extend(members)
    return merged


def parse_split(text: str) -> Split:
    """The split named by `--split`; UnknownNameError for another word."""
    from ..data.dataset import SPLITS
    from ..data.manifest import split_named

    name = split_named(text)
    if name is None:
        raise UnknownNameError("split", text, SPLITS)
    return name


def parse_scale(text: str) -> Scale:
    """The colour scale named by `--scale`; UnknownNameError for another word."""
    found: dict[str, Scale] = {"image": "image", "model": "model"}
    if text in found:
        return found[text]
    raise UnknownNameError("scale", text, ("image", "model"), "Use image or model.")


def parse_score(text: str | None) -> Score | None:
    """The score named by `--score`; UnknownNameError for another word."""
    found: dict[str, Score] = {"log-odds": "log-odds", "logit": "logit", "output": "output"}
    if text is None or text in found:
        return None if text is None else found[text]
    raise UnknownNameError("score", text, found, "Use log-odds, logit or output.")
