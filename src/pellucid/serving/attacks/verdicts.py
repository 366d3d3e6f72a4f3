"""One attack, and how the answer to it is judged.

An attack that cannot be judged from outside, or not on the server at hand, says so by raising NotApplicable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .client import Reply, Target

MOST_SECONDS = 45.0


class NotApplicable(Exception):
    """The attack does not apply here."""


class Failed(Exception):
    """The server did not hold; the text says what was seen."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack of a row. `run` sends it and returns what was seen, or raises Failed or NotApplicable."""

    row: int
    title: str
    expected: str
    run: Callable[[Target], str]


def judged(reply: Reply, *statuses: int) -> Reply:
    """The reply, when its status is one of `statuses` and its form is right; raises Failed else.

    A refusal must be problem+json with a code and a sentence, in time, without a trace of the program's insides.
    """
    shown = f"{reply.status or 'closed'}{' ' + reply.code if reply.code else ''}"
    if reply.status not in statuses:
        raise Failed(shown)
    if reply.seconds > MOST_SECONDS:
        raise Failed(f"{shown} after {reply.seconds:.0f} s")
    if b"Traceback" in reply.body or b'File "' in reply.body:
        raise Failed(f"{shown} with a stack trace")
    if reply.status >= 400:
        document = reply.document
        if not reply.headers.get("content-type", "").startswith("application/problem+json"):
            raise Failed(f"{shown} that is not problem+json")
        if not isinstance(document, dict) or not document.get("code") or len(str(document.get("detail", ""))) < 10:
            raise Failed(f"{shown} without a code or a sentence")
        if reply.status in (429, 503) and "retry-after" not in reply.headers:
            raise Failed(f"{shown} without Retry-After")
    return reply


def seen(reply: Reply) -> str:
    """A reply in two words."""
    return f"{reply.status or 'closed'} {reply.code}".strip()


def sends(row: int, title: str, send: Callable[[Target], Reply], *statuses: int) -> Attack:
    """An attack that is judged by its status alone."""
    expected = " / ".join("closed" if s == 0 else str(s) for s in statuses)
    return Attack(row, title, expected, lambda target: seen(judged(send(target), *statuses)))


def uploads(row: int, title: str, make: Callable[[], bytes], *statuses: int, declared: str = "image/png") -> Attack:
    """An attack that uploads one file."""
    return sends(row, title, lambda target: target.upload(make(), declared), *statuses)


def elsewhere(row: int, title: str, expected: str) -> Attack:
    """An attack that only pellucid's own tests can judge."""

    def run(_: Target) -> str:
        raise NotApplicable("cannot be judged from outside; pellucid's own tests do")

    return Attack(row, title, expected, run)


def card(target: Target) -> dict[str, Any]:
    """What the server says of its model."""
    return dict(judged(target.request("GET", "/v1/model"), 200).document)
