"""C-STORE and C-ECHO, as user (to the archive) and as provider (from modalities and the archive).

Reference: DICOM PS3.4, annex B (storage); PS3.7, 9.1.1 and 9.1.5; PS3.15, B.1 (TLS).
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .._optional import require
from ..errors import ResourceError
from .config import ArchiveStore, Listen
from .halting import Halt
from .objects import file_header, version_name
from .origin import IMPLEMENTATION
from .receiving import PDU, settle
from .trouble import DUPLICATE, NotStored, Unreachable, cannot_listen, is_permanent
from .web import connection_code

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
VERIFICATION = "1.2.840.10008.1.1"
# What films may come in: uncompressed, RLE, lossless JPEG, JPEG-LS, JPEG 2000, JPEG of 8 and 12 bits.
FILM_SYNTAXES = (
    EXPLICIT, IMPLICIT, "1.2.840.10008.1.2.5",
    *(f"1.2.840.10008.1.2.4.{n}" for n in (70, 57, 80, 81, 90, 91, 50, 51)),
)  # fmt: skip
SUCCESS = 0x0000
Arrival = Literal["safe", "full", "invalid"]
"""What became of an object that arrived: safe, no room for it, or under an invalid UID."""
ANSWERS: dict[Arrival, int] = {"safe": SUCCESS, "full": 0xA700, "invalid": 0x0117}
WARNINGS = (0xB000, 0xB006, 0xB007)
SECONDS = 30


class Offer(NamedTuple):
    """A SOP class and a transfer syntax, and whether the archive takes them."""

    sop_class: str
    syntax: str
    accepted: bool


def _library() -> Any:
    pynetdicom = require("pynetdicom", "pacs")
    # Its log quotes names and addresses of what it receives.
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    from pynetdicom import _config

    # Nor does it need to put together what is not logged.
    _config.LOG_HANDLER_LEVEL = "none"
    return pynetdicom


def _entity(ae_title: str) -> Any:
    """An application entity that says who it is as the files do that it writes."""
    made = _library().AE(ae_title=ae_title)
    made.implementation_class_uid, made.implementation_version_name = IMPLEMENTATION, version_name()
    return made


@contextmanager
def association(store: ArchiveStore, wanted: list[tuple[str, str]]) -> Iterator[Any]:
    """An association with the archive for (SOP class, transfer syntax) pairs. Raises Unreachable."""
    ae = _entity(store.calling)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = store.timeout
    for sop_class, syntax in wanted:
        ae.add_requested_context(sop_class, syntax)
    tls = None if store.tls is None else (store.tls.context(server=False), store.host)
    try:
        link = ae.associate(store.host, store.port, ae_title=store.ae_title, tls_args=tls)
    except OSError as error:  # pynetdicom tells all failures by the link but that of a name without an address
        raise Unreachable(connection_code(error)) from None
    if not link.is_established:
        raise Unreachable("association-rejected" if link.is_rejected else "no-association")
    link._reactor_checkpoint = Halt(link)
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
    if status not in (SUCCESS, DUPLICATE, *WARNINGS):
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


def reach(store: ArchiveStore) -> str:
    """Why no connection with the archive can be made, as a code; "" where one can."""
    try:
        with socket.create_connection((store.host or "", store.port), store.timeout) as link:
            if store.tls is not None:
                with store.tls.context(server=False).wrap_socket(link, server_hostname=store.host):
                    pass
    except OSError as error:
        return connection_code(error)
    return ""


class _Unhurried:
    """TLS for a server that leaves each handshake to the connection's own thread.

    pynetdicom shakes hands in the thread that accepts connections: one that said nothing would keep all others waiting.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    def wrap_socket(self, link: socket.socket, *, server_side: bool) -> ssl.SSLSocket:
        return self._context.wrap_socket(link, server_side=server_side, do_handshake_on_connect=False)


def listen(config: Listen, on_store: Callable[[str, str, Callable[[], bytes]], Arrival]) -> Any:
    """Start the C-STORE provider; returns the server, whose `shutdown` ends it.

    `on_store(sop_class, uid, read)` says what became of an object; `read` gives its bytes as a file. Objects of every
    class are taken, as a sender whose object is refused would try for ever. Raises ResourceError for a port in use.
    """
    library = _library()
    ae = _entity(config.ae_title)
    ae.require_called_aet = True
    ae.require_calling_aet = list(config.callers)
    ae.maximum_associations = config.associations
    ae.maximum_pdu_size = PDU
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = SECONDS
    ae.add_supported_context(VERIFICATION)
    supported = {
        str(c.abstract_syntax): library.build_context(c.abstract_syntax, list(FILM_SYNTAXES))
        for c in library.AllStoragePresentationContexts
    }

    def offer(event: Any) -> None:
        """What is asked for and known: of everything that is known, pynetdicom would make a copy each time (13 ms)."""
        asked = event.assoc.requestor.primitive.presentation_context_definition_list
        known = {str(c.abstract_syntax): supported.get(str(c.abstract_syntax)) for c in asked}
        event.assoc.acceptor.supported_contexts += [context for context in known.values() if context is not None]

    def store(event: Any) -> int:
        request = event.request
        uids = str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)

        def read() -> bytes:
            return bytes(request.DataSet.behind(file_header(*uids, str(event.context.transfer_syntax))))

        return ANSWERS[on_store(*uids, read)]

    tls = None if config.tls is None else _Unhurried(config.tls.context(server=True))
    events = library.evt
    handlers = [(events.EVT_C_STORE, store), (events.EVT_CONN_OPEN, settle), (events.EVT_REQUESTED, offer)]
    try:
        return ae.start_server((config.address, config.port), block=False, evt_handlers=handlers, ssl_context=tls)
    except OSError as error:
        raise ResourceError(f"The node {cannot_listen(config.address, config.port, error)}") from None
