"""A figure with its interval, as it stands in the documents of an audit."""

from __future__ import annotations

import math

from ..data.areas import Area
from ..documents import FiniteDocument


class Estimate(FiniteDocument):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, area: Area) -> Estimate:
        return cls(value=area.value, low=area.low, high=area.high)

    @classmethod
    def where_defined(cls, area: Area) -> Estimate | None:
        """The same, or None for what is not a number."""
        return cls.of(area) if math.isfinite(area.value) else None

    def __str__(self) -> str:
        # Adding 0 turns -0.0, to which a small negative number is rounded, into 0.0.
        value, low, high = (round(v, 3) + 0.0 for v in (self.value, self.low, self.high))
        return f"{value:.3f} [{low:.3f}, {high:.3f}]"
