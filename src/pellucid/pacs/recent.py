"""Films that have just come, in memory: what was written to the spool need not be read and parsed again."""

from __future__ import annotations

import threading

from .source import FilmSource

MOST_BYTES = 64 * 2**20


class RecentFilms:
    """The latest films by UID, `most` bytes at most; older ones are read from the spool."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most, self._size = most, 0
        self._films: dict[str, tuple[bytes, FilmSource]] = {}
        self._lock = threading.Lock()

    def put(self, uid: str, data: bytes, source: FilmSource) -> None:
        """Keep a film in place of an earlier one with its UID, and of the oldest ones where there is no room."""
        with self._lock:
            self._pop(uid)
            if len(data) > self._most:
                return
            while self._size + len(data) > self._most:
                self._pop(next(iter(self._films)))
            self._films[uid] = data, source
            self._size += len(data)

    def take(self, uid: str) -> tuple[bytes, FilmSource] | None:
        """A film, which is kept no longer; None for one that is not here."""
        with self._lock:
            return self._pop(uid)

    def _pop(self, uid: str) -> tuple[bytes, FilmSource] | None:
        found = self._films.pop(uid, None)
        self._size -= len(found[0]) if found else 0
        return found
