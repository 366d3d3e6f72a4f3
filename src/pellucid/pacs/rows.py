"""The rows of the ledger: films and results as they are taken in hand, and results as they enter."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Literal, NamedTuple

from .objects import InstanceReference

FilmState = Literal["waiting", "answered", "left-out", "dead"]
ResultState = Literal["waiting", "stored", "dead"]


@dataclass(frozen=True, slots=True)
class FilmRow:
    """A film that waits: when it was first seen (ISO 8601, UTC), and how often it was tried."""

    source: str
    study: str
    created: str
    tries: int

    @property
    def seen(self) -> datetime.datetime:
        return datetime.datetime.fromisoformat(self.created)


@dataclass(frozen=True, slots=True)
class ResultRow:
    """A result that waits for the archive."""

    uid: str
    source: str
    kind: str
    sop_class: str
    tries: int


class ResultEntry(NamedTuple):
    """A result as it enters the ledger; one that waits is due in `pause` seconds."""

    kind: str
    reference: InstanceReference
    state: ResultState = "waiting"
    code: str = ""
    tries: int = 0
    pause: float = 0
