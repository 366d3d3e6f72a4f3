"""Results to the archive, each object on its own, by STOW or C-STORE."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from .config import ArchiveStore
from .dimse import EXPLICIT, IMPLICIT, association, send
from .objects import JPEG_LS_LOSSLESS
from .web import WebClient


class Sending(Protocol):
    """An open way to the archive."""

    def __call__(self, uid: str, data: bytes) -> None:
        """Store one object, a DICOM file. Raises NotStored or Unreachable."""
        ...


class Sender:
    """Sends results as the configuration says."""

    def __init__(self, store: ArchiveStore) -> None:
        self._store = store
        self._web = None if store.stow is None else WebClient(store.stow, store)

    @contextmanager
    def sending(self, sop_classes: Sequence[str]) -> Iterator[Sending]:
        """A way for objects of these SOP classes. Raises Unreachable."""
        if self._web is not None:
            web = self._web
            yield lambda uid, data: web.store(data, uid)
            return
        import pydicom

        syntaxes = (EXPLICIT, IMPLICIT, *((JPEG_LS_LOSSLESS,) if self._store.compress else ()))
        with association(self._store, [(c, s) for c in dict.fromkeys(sop_classes) for s in syntaxes]) as link:
            yield lambda uid, data: send(link, pydicom.dcmread(io.BytesIO(data)))

    def close(self) -> None:
        """Close what is kept open."""
        if self._web is not None:
            self._web.close()
