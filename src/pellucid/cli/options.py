"""Options that several commands read the same way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from ..data.dataset import Split


def parse_merge(texts: Sequence[str]) -> dict[str, list[str]]:
    """`["ill=covid,pneumonia"]` as {"ill": ["covid", "pneumonia"]}. Raises InputError for what is not of that form."""
    merged: dict[str, list[str]] = {}
    for text in texts:
        name, _, listed = text.partition("=")
        members = [m.strip() for m in listed.split(",") if m.strip()]
        if not name.strip() or not members:
            raise InputError(f"--group {text!r}: write NAME=CLASS,CLASS, for example ill=covid,pneumonia.")
        merged.setdefault(name.strip(), []).extend(members)
    return merged


def parse_split(text: str) -> Split:
    """The split that `--split` names, however it is spelt; UnknownNameError for another word."""
    from ..data.dataset import SPLITS
    from ..data.manifest import split_named

    name = split_named(text)
    if name is None:
        raise UnknownNameError("split", text, SPLITS)
    return name
