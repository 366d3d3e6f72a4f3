"""Keeps an association's own thread from taking the reply that a sender waits for.

Before pynetdicom sends a message it halts that thread, and goes by whether the thread was about to halt. On a busy
machine it may have gone past that point: it then takes the reply, and the sender waits in vain until its time is up.
"""

from __future__ import annotations

import threading
from typing import Any

PAUSE = 0.05
"""Seconds between two looks whether a thread that is to halt still lives."""


class Halt:
    """The event at which an association's thread halts; `clear` returns when the thread has halted or ended."""

    def __init__(self, link: Any) -> None:
        self._link = link
        self._changed = threading.Condition()
        self._open, self._halted = True, False

    def is_set(self) -> bool:
        """Whether the thread may continue."""
        return self._open

    def set(self) -> None:
        """Let the thread continue."""
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Halt the thread."""
        with self._changed:
            self._open = False
            while not self._halted and self._link.is_alive() and threading.current_thread() is not self._link:
                self._changed.wait(PAUSE)

    def wait(self, timeout: float | None = None) -> bool:
        """Where the thread halts; whether it may continue."""
        with self._changed:
            self._halted = True
            self._changed.notify_all()
            going = self._changed.wait_for(self.is_set, timeout)
            self._halted = False
        return going
