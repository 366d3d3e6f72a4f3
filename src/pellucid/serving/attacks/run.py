"""The hostile list as data: what is sent, and what must come of it. The tests and `doctor --attack` share it.

Rows have the numbers of docs/reference/http.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...errors import InputError
from .client import Target
from .costly import COSTLY
from .pictures import PICTURES
from .requests import REQUESTS
from .verdicts import Attack, Failed, NotApplicable

ATTACKS: tuple[Attack, ...] = tuple(sorted((*REQUESTS, *PICTURES, *COSTLY), key=lambda attack: attack.row))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attack ended; `held` is None when it was skipped."""

    row: int
    title: str
    expected: str
    seen: str
    held: bool | None

    def as_document(self) -> dict[str, Any]:
        """As JSON prints it."""
        return {"row": self.row, "title": self.title, "expected": self.expected, "seen": self.seen, "held": self.held}


def run_attacks(url: str, api_key: str | None = None) -> list[Outcome]:
    """Send every attack to a server, one after the other, and see after each that it still answers.

    Raises InputError when there is no pellucid server at `url`.
    """
    target = Target(url, api_key)
    if "models" not in (target.request("GET", "/v1/models").document or {}):
        raise InputError(f"{url} is not a pellucid server, or needs another `api_key=`.")
    return [outcome_of(attack, target) for attack in ATTACKS]


def outcome_of(attack: Attack, target: Target) -> Outcome:
    """Run one attack and judge it."""
    held: bool | None = True
    try:
        seen = attack.run(target)
        if target.request("GET", "/health").status != 200:
            held, seen = False, f"{seen}, and /health does not answer any more"
    except NotApplicable as reason:
        held, seen = None, str(reason)
    except (Failed, InputError) as reason:
        held, seen = False, str(reason)
    return Outcome(attack.row, attack.title, attack.expected, seen, held)
