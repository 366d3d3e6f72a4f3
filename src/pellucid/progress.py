"""How long work tells its caller how far it is, without knowing about terminals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int, int], None]


class Progress(Protocol):
    """Something that shows progress. `bar` counts up to a total; `say` is one line that stays."""

    def bar(self, description: str) -> AbstractContextManager[Advance]:
        """A context manager whose value is called as `advance(done, total)`."""
        ...

    def say(self, line: str) -> None: ...


class Silent:
    """Shows nothing."""

    @contextmanager
    def bar(self, description: str) -> Iterator[Advance]:
        yield lambda done, total: None

    def say(self, line: str) -> None:
        return None
