"""How films come in by C-STORE: in fragments of any size, whole or not at all."""

from __future__ import annotations

import io
import random
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom import AE
from tests.pacs import films
from tests.pacs.archives import free_port
from tests.pacs.nodes import collected, configured, liar, listening, running, send, until

from pellucid.pacs.encoding import to_bytes
from pellucid.pacs.objects import file_header, version_name
from pellucid.pacs.origin import IMPLEMENTATION
from pellucid.pacs.receiving import _DataPdu, _received, stored_reply
from pellucid.pacs.recent import RecentFilms
from pellucid.pacs.source import read_source
from pellucid.pacs.spool import FilmSpool

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::ResourceWarning")
_collected = pytest.fixture(autouse=True)(collected)


def pdu_of(*fragments: tuple[int, bytes]) -> bytes:
    return b"".join(struct.pack(">IB", len(value) + 1, context) + value for context, value in fragments)


def test_fragments_are_what_pynetdicom_finds() -> None:
    from pynetdicom.pdu import P_DATA_TF

    data = pdu_of((1, b"\3command"), (1, b"\0" + bytes(range(256))), (3, b"\2end"))
    theirs = P_DATA_TF()
    theirs.decode(b"\4\0" + struct.pack(">I", len(data)) + data)
    expected = theirs.to_primitive().presentation_data_value_list
    found = _DataPdu(memoryview(data)).to_primitive().presentation_data_value_list
    assert [(context, bytes(value)) for context, value in found] == expected


@pytest.mark.parametrize("status", [0x0000, 0xA700, 0x0117])
@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34"])
def test_a_reply_has_the_bytes_that_pynetdicom_gives_it(status: int, uid: str) -> None:
    from pynetdicom.dimse_messages import C_STORE_RSP
    from pynetdicom.dimse_primitives import C_ECHO, C_STORE

    said = C_STORE()
    said.MessageID = said.MessageIDBeingRespondedTo = 7
    said.AffectedSOPClassUID, said.AffectedSOPInstanceUID, said.Status = "1.2.840.10008.5.1.4.1.1.1.1", uid, status
    message = C_STORE_RSP()
    message.primitive_to_message(said)
    (expected,) = message.encode_msg(1, 16382)
    found = stored_reply(said)
    assert found is not None
    assert expected.presentation_data_value_list == [(1, b"\3" + found)]
    said.ErrorComment = "why"
    assert stored_reply(said) is None
    assert stored_reply(C_ECHO()) is None


def test_a_header_has_the_bytes_that_pydicom_gives_it() -> None:
    film = films.film(1, 32, films.LOOKS[0])
    film.file_meta.ImplementationClassUID, film.file_meta.ImplementationVersionName = IMPLEMENTATION, version_name()
    buffer = io.BytesIO()
    film.save_as(buffer, enforce_file_format=True)
    meta = film.file_meta
    uids = (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID)
    header = file_header(*map(str, uids))
    assert buffer.getvalue()[: len(header)] == header


SHORT = pdu_of((1, b"\0x"))[:-1]


@pytest.mark.parametrize("cut", [b"\0\0\0", b"\0\0\0\1\1", b"\0\0\0\0\1\2", b"\0\0\0\x09\1\2", SHORT])
def test_broken_fragments_are_errors(cut: bytes) -> None:
    with pytest.raises(ValueError, match="fragment"):
        _DataPdu(memoryview(pdu_of((1, b"\0whole")) + cut))


def test_what_is_received_is_what_was_sent() -> None:
    ours, theirs = socket.socketpair()
    data = random.Random(1).randbytes(3 * 2**20)
    sender = threading.Thread(target=lambda: (theirs.sendall(data), theirs.close()))
    sender.start()
    assert _received(ours, 5) + _received(ours, 2**21) == data[: 2**21 + 5]
    assert _received(ours, 2**22) == data[2**21 + 5 :]  # the other side has closed
    assert _received(ours, 6) == b""
    sender.join()
    ours.close()


@pytest.mark.parametrize("pdu", [4096, 0])
def test_a_film_comes_whole_in_fragments_of_any_size(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pdu: int
) -> None:
    monkeypatch.setattr("pellucid.pacs.dimse.PDU", pdu)
    port = free_port()
    made = films.film(8, 256)  # a lateral film: left out, after it was read
    kept: list[bytes] = []
    with liar() as root:
        config = configured(tmp_path, listening(port, f'stow = "{root}"'))
        with running(run, config) as (node, _):
            monkeypatch.setattr(node._spool, "keep", lambda place, uid, data: kept.append(data))
            until(lambda: send(port, made) == 0)
            until(lambda: node.journal.counts["films_left_out"] == 1)
    assert dcmread(io.BytesIO(kept[0])).PixelData == made.PixelData


def test_a_broken_pdu_ends_its_association_and_stops_nothing(run: Path, tmp_path: Path) -> None:
    port = free_port()
    with liar() as root:
        config = configured(tmp_path, listening(port, f'stow = "{root}"'))
        with running(run, config) as (node, _):
            until(lambda: send(port, films.film(8, 128)) == 0)
            ae = AE(ae_title="XRAY1")
            ae.add_requested_context(films.DX)
            for broken in (pdu_of((1, b"\3x"))[:-1], b""):
                link = ae.associate("127.0.0.1", port, ae_title="PELLUCID")
                assert link.acceptor.implementation_class_uid == IMPLEMENTATION
                link.dul.socket.send(b"\4\0" + struct.pack(">I", len(broken) or 99) + broken)
                if not broken:  # the modality is switched off in the middle of a film
                    link.dul.socket.close()
                until(lambda link=link: not link.is_established)
            assert send(port, films.film(17, 128)) == 0
            assert node.journal.counts["films_received"] == 2


def test_a_film_under_no_uid_is_refused_and_not_silently_dropped(run: Path, tmp_path: Path) -> None:
    port = free_port()
    with liar() as root:
        config = configured(tmp_path, listening(port, f'stow = "{root}"'))
        with running(run, config) as (node, _):
            film = films.film(0, 128)
            film.SOPInstanceUID = "1.2.x"
            until(lambda: send(port, film) == 0x0117)
            assert node.journal.counts["films_refused"] == 1
    assert not list((config.state / "films").iterdir())


def test_a_film_that_comes_twice_at_once_is_kept_whole(tmp_path: Path) -> None:
    spool, data = FilmSpool(tmp_path), random.Random(2).randbytes(2**20)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: spool.keep("films", "1.2.3", data), range(24)))
    assert spool.path("films", "1.2.3").read_bytes() == data
    assert len(list((tmp_path / "films").iterdir())) == 1


def test_recent_films_are_bounded() -> None:
    data = to_bytes(films.film(0, 128))
    source = read_source(data)
    recent = RecentFilms(3 * len(data))
    for n in range(5):
        recent.put(str(n), data, source)
    recent.put("4", data, source)
    assert [recent.take(str(n)) is not None for n in (0, 1, 2, 3, 4, 4)] == [False, False, True, True, True, False]
    recent.put("large", bytes(4 * len(data)), source)
    assert recent.take("large") is None
    assert recent._size == 0


def test_a_sender_that_falls_silent_within_a_film_does_not_keep_its_place(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pellucid.pacs.dimse.SECONDS", 1)
    port = free_port()
    with liar() as root:
        text = listening(port, f'stow = "{root}"').replace("[listen]", "[listen]\nassociations = 1")
        with running(run, configured(tmp_path, text)) as (node, _):
            ae = AE(ae_title="XRAY1")
            ae.add_requested_context(films.DX)
            until(lambda: send(port, films.film(8, 128)) == 0)
            link = ae.associate("127.0.0.1", port, ae_title="PELLUCID")
            link.dul.socket.send(b"\4\0" + struct.pack(">I", 99) + b"a part of it")
            assert send(port, films.film(17, 128)) is None
            until(lambda: send(port, films.film(17, 128)) == 0, 15)
            link.abort()
            assert node.journal.counts["films_received"] == 2
