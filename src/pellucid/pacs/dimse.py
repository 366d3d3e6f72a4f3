"""C-STORE and C-ECHO, as user (to the archive) and as provider (from modalities and the archive).

Reference: DICOM PS3.4, annex B (storage); PS3.7, 9.1.1 and 9.1.5; PS3.15, B.1 (TLS).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from .._optional import require
from ..errors import ResourceError
from .config import ArchiveStore, Listen
from .trouble import NotStored, Unreachable, is_permanent

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
VERIFICATION = "1.2.840.10008.1.1"
# What films may come in: uncompressed, RLE, lossless JPEG, JPEG-LS, JPEG 2000, JPEG of 8 and 12 bits.
FILM_SYNTAXES = (
    EXPLICIT, IMPLICIT, "1.2.840.10008.1.2.5",
    *(f"1.2.840.10008.1.2.4.{n}" for n in (70, 57, 80, 81, 90, 91, 50, 51)),
)  # fmt: skip
SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
WARNINGS = (0xB000, 0xB006, 0xB007)
SECONDS = 30
PDU = 2**20
"""Bytes of one fragment of a film; by default pynetdicom takes 16 kB, and a film comes in a hundred."""
IDLE = 0.01
"""Seconds between two looks at a quiet connection; pynetdicom looks a thousand times a second."""


class Offer(NamedTuple):
    """A SOP class and a transfer syntax, and whether the archive takes them."""

    sop_class: str
    syntax: str
    accepted: bool


def _library() -> Any:
    pynetdicom = require("pynetdicom", "pacs")
    # Its log quotes names and addresses of what it receives.
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    return pynetdicom


@contextmanager
def association(store: ArchiveStore, wanted: list[tuple[str, str]]) -> Iterator[Any]:
    """An association with the archive for (SOP class, transfer syntax) pairs. Raises Unreachable."""
    ae = _library().AE(ae_title=store.calling)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = store.timeout
    for sop_class, syntax in wanted:
        ae.add_requested_context(sop_class, syntax)
    tls = None if store.tls is None else (store.tls.context(server=False), store.host)
    link = ae.associate(store.host, store.port, ae_title=store.ae_title, tls_args=tls)
    if not link.is_established:
        raise Unreachable("association-rejected" if link.is_rejected else "no-association")
    try:
        yield link
    finally:
        if link.is_established:
            link.release()


def send(link: Any, made: Dataset) -> None:
    """Store one object over an association. Raises NotStored, or Unreachable when the connection is lost."""
    if not link.is_established:
        raise Unreachable("connection")
    syntax = str(made.file_meta.TransferSyntaxUID)
    accepted = {(str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in link.accepted_contexts}
    sop_class = str(made.SOPClassUID)
    if (sop_class, syntax) not in accepted:
        if not any((sop_class, plain) in accepted for plain in (EXPLICIT, IMPLICIT)):
            raise NotStored("class-not-accepted", permanent=True)
        if syntax != EXPLICIT:  # an archive that takes captures, but not as JPEG-LS
            made.decompress(generate_instance_uid=False)
        # pynetdicom encodes what is explicit for a peer that takes only implicit VR; the file header must not say so.
    status = link.send_c_store(made).get("Status")
    if status is None:
        raise Unreachable("connection")
    if status != SUCCESS and status not in WARNINGS:
        raise NotStored(f"status-{status:04x}", permanent=is_permanent(status))


def echo(store: ArchiveStore, sop_classes: list[str], syntaxes: list[str]) -> list[Offer]:
    """C-ECHO, and which SOP classes and transfer syntaxes the archive takes. Raises Unreachable."""
    with association(store, [(VERIFICATION, EXPLICIT)]) as link:
        status = link.send_c_echo().get("Status")
        if status != SUCCESS:
            raise Unreachable("no-echo")
    wanted = [(c, s) for c in sop_classes for s in syntaxes]
    with association(store, wanted) as link:
        accepted = {(str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in link.accepted_contexts}
    return [Offer(c, s, (c, s) in accepted) for c, s in wanted]


class _Checkpoint:
    """The event at which a connection's thread halts before each look for a message; it rests there until one comes."""

    def __init__(self, link: Any) -> None:
        self._event, self._messages = link._reactor_checkpoint, link.dimse.msg_queue

    def wait(self, timeout: float | None = None) -> bool:
        passed = bool(self._event.wait(timeout))
        with self._messages.not_empty:
            if not self._messages.queue:
                self._messages.not_empty.wait(IDLE)
        return passed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._event, name)


def _settle(event: Any) -> None:
    """Let a connection read in large pieces, and rest while nothing comes.

    pynetdicom reads 4 kB at a time. After each piece its thread waits for the interpreter lock, which the thread that
    answers films may hold for milliseconds: five hundred times for one film.
    """
    provider = event.assoc.dul
    provider._run_loop_delay = IDLE
    provider.socket.recv = lambda count: _received(provider.socket, count)
    event.assoc._reactor_checkpoint = _Checkpoint(event.assoc)


def _received(link: Any, count: int) -> bytearray:
    """`count` bytes of a connection; fewer where the other side closes it."""
    data, size = bytearray(min(count, PDU + 6)), 0
    while size < count:
        if size == len(data):  # a PDU that is longer than was agreed grows as it comes, not as it claims
            data += bytes(min(count - size, PDU))
        with memoryview(data) as view:
            read = link.socket.recv_into(view[size:])
        if not read:
            break
        size += read
    del data[size:]
    return data


def listen(config: Listen, on_store: Callable[[str, str, Callable[[], bytes]], bool]) -> Any:
    """Start the C-STORE provider; returns the server, whose `shutdown` ends it.

    `on_store(sop_class, uid, read)` says whether the object is safe; `read` gives its bytes as a file. Objects of every
    class are taken, as a sender whose object is refused would try for ever. Raises ResourceError for a port in use.
    """
    library = _library()
    ae = library.AE(ae_title=config.ae_title)
    ae.require_called_aet = True
    ae.require_calling_aet = list(config.callers)
    ae.maximum_associations = config.associations
    ae.maximum_pdu_size = PDU
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = SECONDS
    ae.add_supported_context(VERIFICATION)
    for context in library.AllStoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax, list(FILM_SYNTAXES))

    def store(event: Any) -> int:
        request = event.request
        safe = on_store(
            str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID), lambda: event.encoded_dataset()
        )
        return SUCCESS if safe else OUT_OF_RESOURCES

    tls = None if config.tls is None else config.tls.context(server=True)
    handlers = [(library.evt.EVT_C_STORE, store), (library.evt.EVT_CONN_OPEN, _settle)]
    try:
        return ae.start_server((config.address, config.port), block=False, evt_handlers=handlers, ssl_context=tls)
    except OSError as error:
        where = f"{config.address}:{config.port}"
        raise ResourceError(f"The node cannot listen at {where} ({error.strerror}); is another one running?") from None
