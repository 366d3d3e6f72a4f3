"""What an explanation costs, in forward passes: the same number on every machine."""

from __future__ import annotations

from dataclasses import dataclass

BACKWARD = 3
"""Forward passes that one pass down to the pixels and back costs."""

LAYERED = 2
"""Forward passes that one pass costs which goes back to the first of several layers, at most."""

MOST_QUICK = 8
"""A method that needs more forward passes than this is slow: see `Cost.slow`."""

USUAL_SIZE = (224, 224)


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one map of one image.

    `passes` is the number of forward passes through the whole network, the prediction included; `at_most` says that
    the method may stop earlier. With `tail_per_channel` the layers behind the explained one run once more for each of
    its channels.
    """

    passes: int
    at_most: bool = False
    tail_per_channel: bool = False

    @property
    def slow(self) -> bool:
        """Whether it takes too long to run by default. This is the only rule for it in the program."""
        return self.passes > MOST_QUICK or self.tail_per_channel
