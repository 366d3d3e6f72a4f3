"""What is sent to an archive that does not take what was made."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from tests.pacs import films
from tests.pacs.archives import free_port
from tests.pacs.nodes import collected, configured

from pellucid.bundle.bundle import Bundle
from pellucid.pacs.archive import Sender
from pellucid.pacs.captures import SECONDARY_CAPTURE, compressed, secondary_capture
from pellucid.pacs.encoding import to_bytes
from pellucid.pacs.findings import find
from pellucid.pacs.origin import SR_CLASSES, ResultOrigin
from pellucid.pacs.reports import report
from pellucid.pacs.source import read_source
from pellucid.pacs.trouble import NotStored
from pellucid.pacs.web import WebClient

_collected = pytest.fixture(autouse=True)(collected)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"])
def test_an_archive_of_few_syntaxes_gets_objects_as_it_takes_them(
    bundle: Bundle, origin: ResultOrigin, tmp_path: Path, syntax: str
) -> None:
    pytest.importorskip("jpeg_ls")
    data = to_bytes(films.film(6, 128))
    source = read_source(data)
    findings = find(bundle, data, source, source.time)  # type: ignore[arg-type]
    capture, answer = secondary_capture(findings, origin), report(findings, origin, {})
    stored: list[bytes] = []

    def store(event: Any) -> int:
        stored.append(event.encoded_dataset())
        return 0

    ae, port = AE(ae_title="PACS"), free_port()
    classes = [SECONDARY_CAPTURE, SR_CLASSES[origin.sr]]
    for sop_class in classes:
        ae.add_supported_context(sop_class, syntax)
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    text = f'[poll]\northanc = "http://127.0.0.1:1"\n[store]\nhost = "127.0.0.1"\nport = {port}\nae_title = "PACS"\n'
    sender = Sender(configured(tmp_path, text + "compress = true\n").store)
    try:
        with sender.sending(classes) as sending:
            sending(str(capture.SOPInstanceUID), [to_bytes(compressed(capture))])
            sending(str(answer.SOPInstanceUID), [to_bytes(answer)])
    finally:
        sender.close()
        server.shutdown()
    got, told = map(dcmread, map(io.BytesIO, stored))
    assert {got.file_meta.TransferSyntaxUID, told.file_meta.TransferSyntaxUID} == {syntax}
    assert got.SOPInstanceUID == capture.SOPInstanceUID
    np.testing.assert_array_equal(got.pixel_array, capture.pixel_array)
    assert told.to_json_dict() == dcmread(io.BytesIO(to_bytes(answer))).to_json_dict()


def test_an_object_that_the_archive_has_already_is_stored(
    origin: ResultOrigin, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = to_bytes(films.film(6, 128))
    source = read_source(data)
    answer = report(find(bundle, data, source, source.time), origin, {})  # type: ignore[arg-type]
    uid, port = str(answer.SOPInstanceUID), free_port()
    statuses = [0x0111, 0x0117, 0xA700]
    ae = AE(ae_title="PACS")
    ae.add_supported_context(SR_CLASSES[origin.sr])
    handlers = [(evt.EVT_C_STORE, lambda event: statuses.pop(0))]
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    text = '[poll]\northanc = "http://127.0.0.1:1"\n[store]\n'
    sender = Sender(configured(tmp_path, f'{text}host = "127.0.0.1"\nport = {port}\nae_title = "PACS"\n').store)
    try:
        with sender.sending([SR_CLASSES[origin.sr]]) as sending:
            sending(uid, [to_bytes(answer)])
            for permanent in (True, False):
                with pytest.raises(NotStored) as caught:
                    sending(uid, [to_bytes(answer)])
                assert caught.value.permanent == permanent
    finally:
        sender.close()
        server.shutdown()
    web = Sender(configured(tmp_path, text + 'stow = "http://127.0.0.1:1"\n').store)
    for reason, stored in ((0x0111, True), (0x0122, False)):
        item = {"00081155": {"Value": [uid]}, "00081197": {"Value": [reason]}}
        reply = json.dumps({"00081198": {"Value": [item]}}).encode()
        monkeypatch.setattr(WebClient, "request", lambda *_, reply=reply, **__: (409, "", reply))
        with web.sending([]) as sending:
            if stored:
                sending(uid, [to_bytes(answer)])
            else:
                with pytest.raises(NotStored, match="failure-0122"):
                    sending(uid, [to_bytes(answer)])


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_archive_s_reply_reaches_the_sender_on_a_busy_machine(
    origin: ResultOrigin, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = to_bytes(films.film(6, 128))
    source = read_source(data)
    answer = report(find(bundle, data, source, source.time), origin, {})  # type: ignore[arg-type]

    get_msg = DIMSEServiceProvider.get_msg

    def go_on(link: Association, paused: bool) -> None:
        if link.is_requestor and not paused:  # the association's own thread waits for the processor, no longer halted
            time.sleep(0.1)
        vars(link)["_paused"] = paused

    def late(provider: DIMSEServiceProvider, block: bool = False) -> Any:
        if block:  # and the sender does before it looks for the reply
            time.sleep(0.2)
        return get_msg(provider, block)

    monkeypatch.setattr(DIMSEServiceProvider, "get_msg", late)
    monkeypatch.setattr(Association, "_is_paused", property(lambda link: vars(link)["_paused"], go_on), raising=False)
    ae, port = AE(ae_title="PACS"), free_port()
    ae.add_supported_context(SR_CLASSES[origin.sr])
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda event: 0)])
    text = f'host = "127.0.0.1"\nport = {port}\nae_title = "PACS"\ntimeout = 1\n'
    sender = Sender(configured(tmp_path, '[poll]\northanc = "http://127.0.0.1:1"\n[store]\n' + text).store)
    try:
        with sender.sending([SR_CLASSES[origin.sr]]) as sending:
            for _ in range(3):
                sending(str(answer.SOPInstanceUID), [to_bytes(answer)])
    finally:
        sender.close()
        server.shutdown()
