"""How a connection of pynetdicom takes in films: in large pieces, each copied once, and at rest while nothing comes.

pynetdicom reads 4 kB at a time and copies each fragment of a film six times on its way into the message. After each
piece its thread waits for the interpreter lock, which the thread that answers films may hold for milliseconds.

Reference: DICOM PS3.8, 9.3.1 (PDUs) and 9.3.5 (P-DATA-TF).
"""

from __future__ import annotations

import contextlib
import io
import select
import struct
from collections.abc import Iterator
from typing import Any

PDU = 2**22
"""Bytes of one fragment of a film; by default pynetdicom takes 16 kB, and a film comes in a hundred pieces."""
IDLE, BUSY = 0.25, 0.005
"""Seconds between two looks at a quiet connection, and at one whose film is being stored; pynetdicom's are 0.001."""
_HEADER, _DATA = 6, 4
_LAST_OF_COMMAND, _C_STORE_REPLY, _NO_DATA = b"\x03", 0x8001, 0x0101
# Events of the state machine of PS3.8, 9.2, as pynetdicom names them.
_DATA_CAME, _CLOSED, _INVALID = "Evt10", "Evt17", "Evt19"


def settle(event: Any) -> None:
    """A connection was opened: let it read in large pieces, and rest while nothing comes.

    A side that falls silent within a PDU is given up: reading without a limit would keep its place for ever.
    """
    provider = event.assoc.dul
    provider.socket.socket.settimeout(event.assoc.network_timeout)
    provider._run_loop_delay = 0.001
    reader, checkpoint = _Reader(provider), _Checkpoint(event.assoc)
    provider.socket.recv = reader.receive
    provider._read_pdu_data = reader.read
    provider._is_transport_event = _Arrivals(provider, checkpoint).look
    event.assoc.dimse.send_msg = _Replies(event.assoc.dimse).send
    event.assoc._reactor_checkpoint = checkpoint


class _Checkpoint:
    """The event at which a connection's thread halts before each look for a message; it rests there until one comes."""

    def __init__(self, link: Any) -> None:
        self._event, self._messages = link._reactor_checkpoint, link.dimse.msg_queue
        self._resting = False
        self._primitives = link.dul.to_user_queue
        self._put, self._primitives.put = self._primitives.put, self._and_wake

    def wait(self, timeout: float | None = None) -> bool:
        passed = bool(self._event.wait(timeout))
        with self._messages.not_empty:
            if not self._something_came:
                self._resting = True
                self._messages.not_empty.wait(IDLE)
                self._resting = False
        return passed

    @property
    def _something_came(self) -> bool:
        return bool(self._messages.queue or self._primitives.queue)

    @property
    def quiet(self) -> bool:
        """Whether the thread has nothing to do, so that nothing is to be sent."""
        return self._resting and not self._something_came

    def _and_wake(self, item: Any) -> None:
        self._put(item)
        with self._messages.not_empty:
            self._messages.not_empty.notify_all()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._event, name)


class _Arrivals:
    """Waits for what comes or is to be sent, where pynetdicom looks and sleeps."""

    def __init__(self, provider: Any, checkpoint: _Checkpoint) -> None:
        self._provider, self._checkpoint = provider, checkpoint
        self._otherwise = provider._is_transport_event

    def look(self) -> bool:
        """Whether something came, which is then read."""
        leaving = self._provider.to_provider_queue
        if self._checkpoint.quiet and not leaving.queue:
            self._wait(IDLE)
        else:
            with leaving.not_empty:
                if not leaving.queue:
                    leaving.not_empty.wait(BUSY)
        return bool(self._otherwise())

    def _wait(self, seconds: float) -> None:
        link = self._provider.socket and self._provider.socket.socket
        if link and not (hasattr(link, "pending") and link.pending()):
            with contextlib.suppress(OSError, ValueError):  # a connection that is closed is found so by the look
                select.select([link], [], [], seconds)


class _Reader:
    """Reads PDUs: those with data itself, all others by pynetdicom, which is given the header that was read."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider
        self._otherwise = provider._read_pdu_data
        self._ahead = bytearray()

    def receive(self, count: int) -> bytearray:
        """`count` bytes; fewer where the other side closes the connection."""
        if self._ahead:
            found, self._ahead = self._ahead[:count], self._ahead[count:]
            return found
        return _received(self._provider.socket.socket, count)

    def read(self) -> None:
        """One PDU, as an event of pynetdicom's state machine."""
        try:
            header = self.receive(_HEADER)
            if len(header) < _HEADER or header[0] != _DATA:
                self._ahead = header
                self._otherwise()
                return
            length = int.from_bytes(header[2:], "big")
            data = self.receive(length)
        except OSError:
            self._provider.event_queue.put(_CLOSED)
            return
        if len(data) < length:
            self._provider.event_queue.put(_CLOSED)
            return
        try:
            pdu = _DataPdu(memoryview(data), self._provider.assoc.dimse)
        except ValueError:
            self._provider.event_queue.put(_INVALID)
            return
        self._provider.event_queue.put(_DATA_CAME)
        self._provider._recv_pdu.put(pdu)


class _DataPdu:
    """A P-DATA-TF PDU as its fragments (context, value), parts of what was read. Raises ValueError for a broken one."""

    def __init__(self, data: memoryview, messages: Any = None) -> None:
        self._fragments = list(_fragments(data))
        self._messages = messages

    def to_primitive(self) -> Any:
        """What the state machine gives to the message; one that begins collects its data in pieces."""
        from pynetdicom.dimse_messages import DIMSEMessage
        from pynetdicom.pdu_primitives import P_DATA

        if self._messages is not None and self._messages.message is None:
            self._messages.message = DIMSEMessage()
            self._messages.message.data_set = Fragments()
        made = P_DATA()
        made.presentation_data_value_list.extend(self._fragments)  # type: ignore[arg-type]
        return made


class _Replies:
    """Sends messages: replies to C-STORE as bytes (3 microseconds), all others by pynetdicom (0.3 ms).

    Reference: DICOM PS3.7, 9.3.1.2 (C-STORE-RSP), 6.3.1 (implicit VR little endian).
    """

    def __init__(self, messages: Any) -> None:
        self._messages, self._otherwise = messages, messages.send_msg

    def send(self, primitive: Any, context_id: int) -> None:
        """A message to the other side."""
        from pynetdicom.pdu_primitives import P_DATA

        command = stored_reply(primitive)
        room = self._messages.maximum_pdu_size
        if command is None or 0 < room < len(command) + 6:
            self._otherwise(primitive, context_id)
            return
        made = P_DATA()
        made.presentation_data_value_list.append((context_id, _LAST_OF_COMMAND + command))
        self._messages.dul.send_pdu(made)


def stored_reply(primitive: Any) -> bytes | None:
    """The command set of a reply to C-STORE; None for any other message, and for one with remarks."""
    if type(primitive).__name__ != "C_STORE" or primitive.MessageIDBeingRespondedTo is None:
        return None
    uids = primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID
    remarks = primitive.ErrorComment, primitive.OffendingElement
    if None in (*uids, primitive.Status) or any(remark is not None for remark in remarks):
        return None
    sop_class, uid = (str(text).encode("ascii", "ignore") for text in uids)
    short = struct.Struct("<HHIH").pack
    body = b"".join((
        _command(0x0002, sop_class),
        short(0, 0x0100, 2, _C_STORE_REPLY),
        short(0, 0x0120, 2, primitive.MessageIDBeingRespondedTo),
        short(0, 0x0800, 2, _NO_DATA),
        short(0, 0x0900, 2, primitive.Status),
        _command(0x1000, uid),
    ))  # fmt: skip
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _command(element: int, uid: bytes) -> bytes:
    """An element of a command set whose value is a UID."""
    uid += b"\0" * (len(uid) % 2)
    return struct.pack("<HHI", 0, element, len(uid)) + uid


class Fragments(io.BytesIO):
    """What is written, kept as it came until it is wanted: a film is then joined once, with its header before it."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[Any] = []

    def write(self, piece: Any) -> int:
        self._pieces.append(piece)
        return len(piece)

    def getvalue(self) -> bytes:
        return b"".join(self._pieces)

    def behind(self, header: bytes) -> bytes:
        """All of it after a header."""
        return b"".join((header, *self._pieces))


def _fragments(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Each has a length of four bytes, a context, and a value that begins with a control byte."""
    at = 0
    while at < len(data):
        if at + 6 > len(data):
            raise ValueError("a fragment without a value")
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 4 + length
        if length < 2 or end > len(data):
            raise ValueError("a fragment of another length than it states")
        yield data[at + 4], data[at + 5 : end]
        at = end


def _received(link: Any, count: int) -> bytearray:
    """`count` bytes of a socket; fewer where the other side closes it."""
    data, size = bytearray(min(count, PDU + _HEADER)), 0
    while size < count:
        if size == len(data):  # a PDU that is longer than was agreed grows as it comes, not as it claims
            data += bytes(min(count - size, PDU))
        with memoryview(data) as view:
            read = link.recv_into(view[size:])
        if not read:
            break
        size += read
    del data[size:]
    return data
