"""TLS on both sides: films come and results go only by certificates that one authority signed."""

from __future__ import annotations

import datetime
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pynetdicom import AE, evt
from tests.pacs import films
from tests.pacs.archives import free_port
from tests.pacs.nodes import collected, configured, listening, running, send, until

from pellucid.errors import InputError, ResourceError
from pellucid.pacs.care import ask_archive
from pellucid.pacs.config import TlsFiles

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::ResourceWarning")


_collected = pytest.fixture(autouse=True)(collected)
NOW = datetime.datetime.now(datetime.timezone.utc)


def signed(folder: Path, name: str, by: str | None = None, start: datetime.datetime = NOW) -> None:
    """`folder/name.pem` and `folder/name.key`: an authority, or a certificate for localhost signed by one."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, issuer_key = subject, key
    if by is not None:
        authority = x509.load_pem_x509_certificate((folder / f"{by}.pem").read_bytes())
        loaded = serialization.load_pem_private_key((folder / f"{by}.key").read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        issuer, issuer_key = authority.subject, loaded
    local = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - datetime.timedelta(days=1))
        .not_valid_after(start + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        .add_extension(local, critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / f"{name}.key").write_bytes(text)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    signed(folder, "ca")
    signed(folder, "stranger-ca")
    for name, by in (("node", "ca"), ("xray", "ca"), ("pacs", "ca"), ("stranger", "stranger-ca")):
        signed(folder, name, by)
    return folder


@pytest.mark.parametrize("server", [True, False])
def test_a_certificate_outside_its_dates_is_told_at_the_start(tmp_path: Path, server: bool) -> None:
    signed(tmp_path, "ca")
    for name, days in (("good", 0), ("old", -30), ("early", 30)):
        signed(tmp_path, name, "ca", NOW + datetime.timedelta(days=days))
    files = {
        n: TlsFiles(ca=tmp_path / "ca.pem", certificate=tmp_path / f"{n}.pem", key=tmp_path / f"{n}.key")
        for n in ("good", "old", "early")
    }
    assert files["good"].context(server=server).minimum_version == ssl.TLSVersion.TLSv1_2
    with pytest.raises(InputError, match=r"old\.pem has expired: renew it"):
        files["old"].context(server=server)
    with pytest.raises(InputError, match=r"early\.pem is not valid yet"):
        files["early"].context(server=server)


def client(folder: Path, name: str) -> tuple[ssl.SSLContext, str]:
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context, "localhost"


def tls(section: str, folder: Path, name: str) -> str:
    files = {"ca": "ca.pem", "certificate": f"{name}.pem", "key": f"{name}.key"}
    return f"[{section}.tls]\n" + "".join(f'{k} = "{folder / v}"\n' for k, v in files.items())


def test_films_and_results_go_by_tls_with_certificates_on_both_sides(
    run: Path, certificates: Path, tmp_path: Path
) -> None:
    stored: list[str] = []

    def keep(event: evt.Event) -> int:
        stored.append(str(event.request.AffectedSOPInstanceUID))
        return 0

    ae = AE(ae_title="PACS")
    for uid in ("1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.1.1"):
        ae.add_supported_context(uid)
    server_tls = TlsFiles(
        ca=certificates / "ca.pem", certificate=certificates / "pacs.pem", key=certificates / "pacs.key"
    ).context(server=True)
    handlers = [(evt.EVT_C_STORE, keep), (evt.EVT_C_ECHO, lambda event: 0)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=server_tls)
    port, archive = free_port(), server.socket.getsockname()[1]
    store = f'host = "localhost"\nport = {archive}\nae_title = "PACS"\ntimeout = 5'
    more = tls("store", certificates, "node") + tls("listen", certificates, "node")
    config = configured(tmp_path, listening(port, store, more))
    try:
        with running(run, config) as (node, _):
            until(lambda: send(port, films.film(0, 128), tls=client(certificates, "xray")) == 0)
            assert send(port, films.film(1, 128), tls=client(certificates, "stranger")) is None
            assert send(port, films.film(1, 128)) is None
            until(lambda: node.journal.counts["results_stored"] == 2)
        assert len(stored) == 2
        assert node.journal.counts["films_received"] == 1
        ask_archive(config)
        wrong = configured(tmp_path / "wrong", listening(port, store, tls("store", certificates, "stranger")))
        with pytest.raises(ResourceError, match="does not answer"):
            ask_archive(wrong)
    finally:
        server.shutdown()


def test_a_connection_that_says_nothing_keeps_no_other_waiting(run: Path, certificates: Path, tmp_path: Path) -> None:
    port = free_port()
    config = configured(tmp_path, listening(port, 'stow = "http://127.0.0.1:1"', tls("listen", certificates, "node")))
    with running(run, config):
        until(lambda: send(port, films.film(0, 128), tls=client(certificates, "xray")) == 0)
        with socket.create_connection(("127.0.0.1", port)):
            assert send(port, films.film(1, 128), tls=client(certificates, "xray")) == 0
