"""A limit in forward passes or in time, kept by not beginning what would go beyond it."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

from ...errors import InputError

_SECONDS = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Limit:
    """A budget: `passes` or `seconds`, or neither for no limit; `text` is how it was written."""

    text: str | None = None
    passes: int | None = None
    seconds: float | None = None


def parse_limit(text: str | None) -> Limit:
    """`20000` or `20000 passes`, `90 s`, `5 min` or `1 h`. Raises InputError for anything else."""
    if text is None:
        return Limit()
    found = re.fullmatch(r"\s*([\d.,]+)\s*(passes|s|min|m|h|)\s*", text.casefold())
    amount = float(found[1].replace(",", "")) if found and re.fullmatch(r"[\d,]+\.?\d*", found[1]) else 0.0
    if not found or amount <= 0:
        raise InputError(f"`budget={text!r}`: write passes or a time, for example 20000, 90s or 5min.")
    unit = found[2]
    if unit in ("", "passes"):
        return Limit(f"{amount:,.0f} passes", passes=int(amount))
    return Limit(f"{amount:g} {'min' if unit == 'm' else unit}", seconds=amount * _SECONDS[unit])


@dataclass
class Spending:
    """What work of equal parts has cost. `passes` is set by whoever does it."""

    limit: Limit
    passes: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self.began

    def allows(self, done: int, more: int) -> bool:
        """Whether `more` parts, costing what the `done` ones did on average, stay within the limit."""
        if done == 0:
            return True
        growth = (done + more) / done
        within_passes = self.limit.passes is None or self.passes * growth <= self.limit.passes
        return within_passes and (self.limit.seconds is None or self.seconds * growth <= self.limit.seconds)
