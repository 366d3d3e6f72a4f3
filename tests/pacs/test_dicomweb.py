"""An archive as a source of batches: a real Orthanc, and services that keep to the standard in ways that surprise."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.pacs import films
from tests.pacs.archives import Orthanc, missing
from tests.pacs.conftest import Called
from tests.pacs.test_tls import signed
from tests.workflow.batch.rows import rows_of

from pellucid.errors import ImageError, InputError, ResourceError
from pellucid.images import Limits
from pellucid.pacs import dicomweb
from pellucid.pacs.config import TlsFiles, basic_authorization
from pellucid.pacs.dicomweb import find_access, parse_place
from pellucid.pacs.encoding import to_bytes
from pellucid.workflow.batch.reading import Reader
from pellucid.workflow.batch.run import predict_archive
from pellucid.workflow.batch.sources import Item, list_items

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

with_orthanc = pytest.mark.skipif(bool(missing()), reason=missing())
SECRETS: dict[str, Any] = {
    "RegisteredUsers": {"reader": "open sesame"},
    "AuthenticationEnabled": True,
    "authorization": basic_authorization("reader", "open sesame"),
}


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's netrc and nobody's variables."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NETRC", raising=False)
    for name in ("USER", "PASSWORD", "TOKEN", "CERTIFICATE", "KEY", "CA", "TIMEOUT"):
        monkeypatch.delenv(f"PELLUCID_DICOMWEB_{name}", raising=False)
    monkeypatch.setattr(dicomweb, "PAUSE", 0.0)
    monkeypatch.setattr("pellucid.workflow.batch.reading.PAUSE", 0.0)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    made = Orthanc(tmp_path_factory.mktemp("orthanc")).start()
    yield made
    made.stop()


def listed(source: str, say: Callable[[str], None] | None = None) -> list[str]:
    return [item.path for item in list_items([source], None, say)]


@with_orthanc
def test_films_of_an_archive_are_answered_as_files_are(run: Path, archive: Orthanc, tmp_path: Path) -> None:
    archive.clear()
    for n in range(6):
        archive.add(films.save(films.film(n, 128), tmp_path / "films" / f"{n}.dcm"))
    archive.add(films.save(films.film(9, 128, Manufacturer="pellucid"), tmp_path / "own.dcm"))
    source = f"dicomweb://127.0.0.1:{archive.http}/dicom-web"
    said: list[str] = []
    urls = listed(source, said.append)
    assert said == ["Passed over 1 object that pellucid wrote."]
    assert urls == sorted(urls)
    one = films.film(2, 128)
    where = f"{source}/studies/{one.StudyInstanceUID}"
    assert listed(where) == [url for url in urls if str(one.StudyInstanceUID) in url]
    assert listed(f"{where}/series/{one.SeriesInstanceUID}") == listed(where)
    assert listed(listed(where)[0]) == listed(where)
    by_id = f"{source}?PatientID=PH0003"
    assert [url.rpartition("/")[2] for url in listed(by_id)] == [str(films.film(3, 128).SOPInstanceUID)]
    assert len(listed(f"{source}?00080060=CR")) == sum(films.LOOKS[n].modality == "CR" for n in range(6))
    predict_archive(run, [source], tmp_path / "web")
    predict_archive(run, [str(tmp_path / "films")], tmp_path / "local")
    web, local = (
        sorted((row["class"], row["p_opacity"]) for row in rows_of(tmp_path / name)) for name in ("web", "local")
    )
    assert len(web) == 6
    assert web == local


@with_orthanc
def test_a_batch_goes_on_when_the_archive_is_back(run: Path, tmp_path: Path) -> None:
    with started(tmp_path / "a") as archive:
        for n in range(6):
            archive.add(films.save(films.film(n, 128), tmp_path / f"{n}.dcm"))
        source = f"dicomweb://127.0.0.1:{archive.http}/dicom-web"
        original = Reader.read
        reads = iter(range(100))

        def failing(self: Reader, item: Any) -> bytes:
            if next(reads) == 3:
                archive.stop()
            return original(self, item)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Reader, "read", failing)
            with pytest.raises(ResourceError, match="could not be read in 4 attempts") as caught:
                predict_archive(run, [source], tmp_path / "out", part_size=1)
        assert "resume" in str(caught.value)
        archive.start()
        summary = predict_archive(run, [source], tmp_path / "out", part_size=1, resume=True)
    assert len(rows_of(tmp_path / "out")) == 6
    assert summary.skipped == 0


@contextmanager
def started(folder: Path, **settings: Any) -> Iterator[Orthanc]:
    made = Orthanc(folder, **settings)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@with_orthanc
def test_credentials_come_from_netrc_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with started(tmp_path / "a", **SECRETS) as archive:
        archive.add(films.save(films.film(0, 64), tmp_path / "0.dcm"))
        source = f"dicomweb://127.0.0.1:{archive.http}/dicom-web"
        with pytest.raises(ResourceError, match=r"asks for other credentials \(http-401\): put a line for 127.0.0.1"):
            listed(source)
        netrc = tmp_path / "home" / ".netrc"
        netrc.parent.mkdir()
        netrc.write_text('machine 127.0.0.1 login reader password "open sesame"\n')
        netrc.chmod(0o600)
        (url,) = listed(source)
        netrc.unlink()
        monkeypatch.setenv("PELLUCID_DICOMWEB_USER", "reader")
        with pytest.raises(InputError, match="PELLUCID_DICOMWEB_PASSWORD is not"):
            listed(source)
        monkeypatch.setenv("PELLUCID_DICOMWEB_PASSWORD", "open sesame")
        assert listed(source) == [url]
        assert "sesame" not in repr(find_access(parse_place(source)))
        monkeypatch.setenv("PELLUCID_DICOMWEB_PASSWORD", "wrong")
        (item,) = list_items([url])
        with Reader() as reader, pytest.raises(ResourceError, match="other credentials"):
            reader.read(item)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("dicomweb://user:secret@host/x", "put it into ~/.netrc"),
        ("dicomweb:///x", "names no host"),
        ("dicomweb://host:port/x", "names no host"),
        ("dicomweb://host/x/studies", "is not complete"),
        ("dicomweb://host/x/studies/abc", "is not complete"),
        ("dicomweb://host/x?limit=5", "limit is not for a search"),
    ],
)
def test_urls_that_cannot_be_used_are_named(url: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        listed(url)
    assert "secret" not in str(caught.value)


def test_urls_are_taken_apart() -> None:
    place = parse_place("dicomwebs://host/a/b/studies/1.2/series/3.4?Modality=DX")
    assert (place.root, place.uids, place.query) == ("https://host/a/b", ("1.2", "3.4"), (("Modality", "DX"),))
    assert place.item("1", "2", "3") == "dicomwebs://host/a/b/studies/1/series/2/instances/3"
    assert parse_place("dicomweb://[::1]:80").root == "http://[::1]:80"


class Service:
    """A DICOMweb service of `films`, with the habits in `habits`."""

    def __init__(self, *made: Any, **habits: Any) -> None:
        self.films, self.habits, self.asked = made, habits, list[str]()

    def answer(self, path: str, query: dict[str, list[str]], accept: str) -> tuple[int, bytes, str]:
        self.asked.append(path)
        if self.habits.pop("busy", 0):
            return 503, b"", ""
        parts = [part for part in path.split("/") if part]
        if parts[-1] == "studies":
            found = [{"0020000D": {"vr": "UI", "Value": [str(f.StudyInstanceUID)]}} for f in self.films]
            return self._page(found, query)
        if parts[-1] == "instances":
            chosen = [f for f in self.films if f.StudyInstanceUID == parts[1]]
            return self._page([self._row(f) for f in chosen], query)
        if self.habits.get("refused", 200) != 200:
            return self.habits["refused"], b"", ""
        if self.habits.get("no_star") and "transfer-syntax=*" in accept:
            return 406, b"", ""
        (film,) = [f for f in self.films if f.SOPInstanceUID == parts[-1]]
        body = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + to_bytes(film) + b"\r\n--x--"
        return 200, body, 'multipart/related; type="application/dicom"; boundary=x'

    def _row(self, film: Any) -> dict[str, Any]:
        tags = {"00080016": film.SOPClassUID, "00080018": film.SOPInstanceUID, "0020000E": film.SeriesInstanceUID}
        return {t: {"vr": "UI", "Value": [str(v)]} for t, v in {**tags, "00080060": film.Modality}.items()}

    def _page(self, rows: list[dict[str, Any]], query: dict[str, list[str]]) -> tuple[int, bytes, str]:
        start = 0 if self.habits.get("no_offset") else int(query["offset"][0])
        page = rows[start : start + min(int(query["limit"][0]), self.habits.get("most", 1000))]
        return (200, json.dumps(page).encode(), "application/dicom+json") if page else (204, b"", "")


@contextmanager
def serving(service: Service, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            status, body, kind = service.answer(parts.path, parse_qs(parts.query), self.headers.get("Accept", ""))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        host = "127.0.0.1" if tls is None else "localhost"
        yield f"dicomweb{'s' if tls else ''}://{host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("habits", [{"most": 2}, {"no_offset": True}, {"busy": 1}, {}])
def test_every_page_is_read_once(habits: dict[str, Any]) -> None:
    made = [films.film(n, 64) for n in range(5)]
    with serving(Service(*made, **habits)) as root:
        found = listed(root)
    assert sorted(url.rpartition("/")[2] for url in found) == sorted(str(f.SOPInstanceUID) for f in made)


def test_what_holds_no_picture_and_what_was_not_searched_for_is_left_out() -> None:
    study = {"StudyInstanceUID": "1.2.3"}
    report = films.film(1, 64, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33", **study)
    therapy = films.film(2, 64, SOPClassUID="1.2.840.10008.5.1.4.1.1.481.1", **study)
    plan = films.film(3, 64, SOPClassUID="1.2.840.10008.5.1.4.1.1.481.5", **study)
    film, other = films.film(0, 64, **study), films.film(5, 64, **study)
    with serving(Service(report, therapy, plan, film, other)) as root:
        found = {url.rpartition("/")[2] for url in listed(root)}
        assert found == {str(f.SOPInstanceUID) for f in (therapy, film, other)}
        # This service passes over attributes that it is asked for.
        only = {url.rpartition("/")[2] for url in listed(f"{root}?Modality=CR")}
    assert only == {str(other.SOPInstanceUID)}


def test_a_film_is_fetched_whatever_the_service_offers_and_within_limits() -> None:
    film = films.film(0, 256)
    with serving(Service(film, no_star=True)) as root:
        (item,) = list_items([root])
        with Reader() as reader:
            assert reader.read(item) == to_bytes(film)
        with Reader(Limits(file_bytes=50_000)) as reader, pytest.raises(ImageError) as caught:
            reader.read(item)
    assert caught.value.code == "too-large"


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_tls_needs_the_right_certificates_on_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, by in (("ca", None), ("stranger", None), ("pacs", "ca"), ("reader", "ca")):
        signed(tmp_path, name, by)
    files = TlsFiles(ca=tmp_path / "ca.pem", certificate=tmp_path / "pacs.pem", key=tmp_path / "pacs.key")
    with serving(Service(films.film(0, 64)), files.context(server=True)) as root:
        for ca in (None, "stranger"):
            if ca is not None:
                monkeypatch.setenv("PELLUCID_DICOMWEB_CA", str(tmp_path / f"{ca}.pem"))
            with pytest.raises(ResourceError, match=r"certificate of https://localhost.* is not trusted"):
                listed(root)
        monkeypatch.setenv("PELLUCID_DICOMWEB_CA", str(tmp_path / "ca.pem"))
        with pytest.raises(ResourceError, match="does not answer"):
            listed(root)
        monkeypatch.setenv("PELLUCID_DICOMWEB_CERTIFICATE", str(tmp_path / "reader.pem"))
        monkeypatch.setenv("PELLUCID_DICOMWEB_KEY", str(tmp_path / "reader.key"))
        (item,) = list_items([root])
        with Reader() as reader:
            assert reader.read(item)


@pytest.mark.parametrize(
    ("refused", "cell", "said"),
    [
        (403, "", "No permission"),
        (404, "", "no file"),
        (200, "/studies/1.2", "names no object"),
        (200, "/studies/x", "not complete"),
    ],
)
def test_one_film_that_cannot_be_had_stops_no_batch(refused: int, cell: str, said: str) -> None:
    film = films.film(0, 64)
    with serving(Service(film, refused=refused)) as root:
        (item,) = list_items([root])
        with Reader() as reader, pytest.raises(ImageError, match=said):
            reader.read(Item(f"{root}{cell}") if cell else item)


def test_an_archive_that_is_none_is_named() -> None:
    with serving(Service()) as root, pytest.raises(InputError, match="no images"):
        listed(root)
    with pytest.raises(ResourceError, match="does not answer"):
        listed(root)


def test_a_url_needs_the_folder_of_a_batch(run: Path, cli: Called) -> None:
    code, _, err = cli("predict", run, "dicomweb://host/x?PatientID=PH1")
    assert code == 2
    assert "dicomweb://host/x is a URL: add --out" in err
