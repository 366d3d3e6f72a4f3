"""Results to the archive, each object on its own, by STOW or C-STORE."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from .config import ArchiveStore
from .dimse import EXPLICIT, IMPLICIT, association, send
from .objects import JPEG_LS_LOSSLESS
from .trouble import Unreachable
from .web import WebClient

IDLE = 5.0
"""Seconds after which an association that is not used is released."""


class Sending(Protocol):
    """An open way to the archive."""

    def __call__(self, uid: str, parts: Sequence[bytes]) -> None:
        """Store one object, the parts of a DICOM file. Raises NotStored or Unreachable."""
        ...


class Sender:
    """Sends results as the configuration says. One thread uses it; close it in the end."""

    def __init__(self, store: ArchiveStore) -> None:
        self._store = store
        self._web = None if store.stow is None else WebClient(store.stow, store)
        self._open = ExitStack()
        self._link: Any = None
        self._classes: set[str] = set()
        self._used = 0.0

    @contextmanager
    def sending(self, sop_classes: Sequence[str]) -> Iterator[Sending]:
        """A way for objects of these SOP classes. Raises Unreachable."""
        if self._web is not None:
            web = self._web
            yield lambda uid, parts: web.store(parts, uid)
            return
        import pydicom

        link = self._associated(set(sop_classes))
        try:
            yield lambda uid, parts: send(link, pydicom.dcmread(io.BytesIO(b"".join(parts))))
        except Unreachable:
            self._release()
            raise
        self._used = time.monotonic()

    def _associated(self, sop_classes: set[str]) -> Any:
        """The association, which stays open from film to film; a new one for further classes."""
        if self._link is None or not self._link.is_established or sop_classes - self._classes:
            self._release()
            self._classes |= sop_classes
            syntaxes = (EXPLICIT, IMPLICIT, *((JPEG_LS_LOSSLESS,) if self._store.compress else ()))
            wanted = [(c, s) for c in sorted(self._classes) for s in syntaxes]
            self._link = self._open.enter_context(association(self._store, wanted))
        return self._link

    def _release(self) -> None:
        self._link = None
        self._open.close()

    def rest(self) -> None:
        """Release an association that nothing has been sent over lately."""
        if self._link is not None and time.monotonic() - self._used > IDLE:
            self._release()

    def close(self) -> None:
        """Close what is kept open."""
        self._release()
        if self._web is not None:
            self._web.close()
