"""The kinds of results, each one row: what it is called, where it is filed, and what it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..bundle.manifest import Manifest
from ..errors import InputError, UnknownNameError


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of result. `group` is the name by which it is asked for, `map` whether it needs a map of evidence."""

    name: str
    group: str
    title: str
    series: int
    map: bool = True


KINDS = (
    Kind("sr", "sr", "report", 9001, map=False),
    Kind("region", "sr", "evidence region", 9007),
    Kind("sc", "sc", "heat map", 9002),
    Kind("seg", "seg", "evidence", 9004),
    Kind("map", "map", "heat map values", 9003),
    Kind("gsps", "gsps", "evidence outline", 9005),
    Kind("ko", "ko", "flagged films", 9006, map=False),
)
GROUPS = tuple(dict.fromkeys(kind.group for kind in KINDS))
OF_A_STUDY = ("ko",)
"""Kinds that are about the films of a study together, not about one."""


def find_kind(name: str) -> Kind:
    """The row of a kind."""
    return next(kind for kind in KINDS if kind.name == name)


def parse_kinds(text: str) -> tuple[str, ...]:
    """The groups named in `sr,sc`, in the order of the table; UnknownNameError for another name."""
    asked = [part.strip().lower() for part in text.split(",") if part.strip()]
    for name in asked:
        if name not in GROUPS:
            raise UnknownNameError("kind of result", name, GROUPS, f"Use {', '.join(GROUPS)}.")
    if not asked:
        raise InputError(f"`kinds=` names nothing: give some of {', '.join(GROUPS)}.")
    return tuple(name for name in GROUPS if name in asked)


def check_kinds(kinds: Sequence[str], manifest: Manifest) -> None:
    """Raise InputError where a kind needs a map and the bundle gives none."""
    if manifest.layer is not None:
        return
    needing = [name for name in kinds if all(kind.map for kind in KINDS if kind.group == name)]
    if needing:
        raise InputError(
            f"{manifest.name} is a black box without maps, which {', '.join(needing)} would show. Ask for `kinds=sr`."
        )
