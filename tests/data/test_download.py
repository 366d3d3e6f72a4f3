"""Downloads from a real HTTP server on the loopback interface, which stands for Kaggle and for the web."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pellucid.data import archive as archive_module
from pellucid.data import download as module
from pellucid.data.download import KAGGLE, RECORD, download_dataset
from pellucid.errors import InputError, MissingDependencyError, ResourceError


def zipped(entries: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return held.getvalue()


FILES = {"xray/train/normal/1.png": b"1" * 1000, "xray/train/ill/2.png": b"2" * 3000}
GOOD = zipped(FILES)
PAGE = b"<html>Please sign in</html>"


@dataclass
class Seen:
    """What the server was asked: (method, path, authorization, JSON)."""

    address: str = ""
    requests: list[tuple[str, str, str | None, Any]] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    """Answers as Kaggle does (RPC by POST, archives by redirection), by the name of the dataset or file."""

    seen: Seen

    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        authorization = self.headers.get("Authorization")
        self.seen.requests.append(("POST", self.path, authorization, asked))
        name, method = asked["datasetSlug"], self.path.rsplit("/", 1)[-1]
        problem = {
            "private": 403,
            "missing": 404,
            "busy": 429,
            "down": 500,
            "locked": 401 if not authorization else 200,
        }
        status = 401 if authorization == "Bearer expired" else problem.get(name, 200)
        if status != 200:
            body = json.dumps({"code": status, "message": "no"}).encode()
            self.answer(status, body, Content_Type="application/json")
        elif name == "portal":
            self.answer(200, PAGE, Content_Type="text/html")
        elif method == "GetDataset":
            body = json.dumps({"currentVersionNumber": 7, "licenseName": "CC0-1.0"}).encode()
            self.answer(200, body, Content_Type="application/json", X_Kaggle_HubVersion="99.0.0")
        else:
            self.answer(302, Location=f"{self.seen.address}/storage/{name}.zip?signature=secret")

    def do_GET(self) -> None:
        self.seen.requests.append(("GET", self.path, self.headers.get("Authorization"), None))
        name = self.path.partition("?")[0].rsplit("/", 1)[-1].removesuffix(".zip")
        if name == "broken":
            self.answer(200, GOOD[:200], length=len(GOOD))
        elif name == "hostile":
            self.answer(200, zipped({"ok.txt": b"1", "../../evil.txt": b"2"}))
        elif name == "bomb":
            self.answer(200, zipped({"bomb": bytes(20 * 10**6)}))
        elif name == "huge":
            self.answer(200, b"PK", length=10**15)
        elif name == "page":
            self.answer(200, PAGE, Content_Type="text/html")
        elif name == "endless":
            self.send_response(200)
            self.end_headers()
            while self.wfile.write(bytes(1 << 20)):
                pass
        elif name in ("file", "ftp", "loop"):
            there = {"file": "file:///etc/passwd", "ftp": "ftp://127.0.0.1/x.zip", "loop": self.path}
            self.answer(302, Location=there[name])
        elif name.isdigit():
            self.answer(int(name))
        else:
            self.answer(200, GOOD)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    seen = Seen()
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"seen": seen})) as running:
        running.handle_error = lambda *_: None  # type: ignore[method-assign]
        seen.address = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield seen
        running.shutdown()
        thread.join()


@pytest.fixture
def kaggle(server: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Seen:
    """kagglehub, with the loopback server for Kaggle and a home folder without credentials."""
    pytest.importorskip("kagglehub")
    from kagglesdk import kaggle_env

    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(home / ".kaggle"))
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, server.address)
    return server


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "deep" / "out"
    folder.mkdir(parents=True)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# ---- Kaggle


def test_a_public_dataset_needs_no_credentials(kaggle: Seen, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = download_dataset("kaggle:owner/public", out)
    found = contents(out)
    record = json.loads(found.pop(RECORD))
    assert found == FILES
    assert (done.files, done.bytes, done.version, done.licence) == (2, 4000, 7, "CC0-1.0")
    assert done.sha256 == record["archive_sha256"] == hashlib.sha256(GOOD).hexdigest()
    assert (record["source"], record["version"], record["licence"]) == ("kaggle:owner/public", 7, "CC0-1.0")
    posts = [(path.rsplit("/", 1)[-1], sent) for method, path, _, sent in kaggle.requests if method == "POST"]
    assert [name for name, _ in posts] == ["GetDataset", "DownloadDataset"]
    assert posts[1][1] | {"raw": None} == {
        "ownerSlug": "owner", "datasetSlug": "public", "datasetVersionNumber": 7, "raw": None,
    }  # fmt: skip
    assert {authorization for _, _, authorization, _ in kaggle.requests} == {None}
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("kaggle:a/b-1", ("a", "b-1", None)),
        ("kaggle:a/b/versions/12", ("a", "b", "12")),
        ("https://www.kaggle.com/datasets/paul.m/chest_x", ("paul.m", "chest_x", None)),
        ("http://kaggle.com/datasets/a/b/", ("a", "b", None)),
    ],
)
def test_names_and_pages_of_datasets(source: str, parts: tuple[str, str, str | None]) -> None:
    found = KAGGLE.fullmatch(source)
    assert found is not None
    assert found.groups() == parts


def test_a_version_can_be_chosen(kaggle: Seen, out: Path) -> None:
    assert download_dataset("kaggle:owner/public/versions/3", out).version == 3
    assert [
        sent["datasetVersionNumber"] for *_, sent in kaggle.requests if sent and "datasetVersionNumber" in sent
    ] == [3]


@pytest.mark.parametrize("where", ["KAGGLE_API_TOKEN", "access_token", "kaggle.json", "KAGGLE_USERNAME"])
def test_credentials_are_found_where_the_sentence_says(
    kaggle: Seen,
    out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    where: str,
) -> None:
    with pytest.raises(InputError, match="no Kaggle credentials were found") as refused:
        download_dataset("kaggle:owner/locked", out)
    assert where in str(refused.value)
    assert "https://www.kaggle.com/settings/api" in str(refused.value)
    folder = tmp_path / "home" / ".kaggle"
    folder.mkdir()
    if where == "access_token":
        (folder / "access_token").write_text("secret\n")
    elif where == "kaggle.json":
        (folder / "kaggle.json").write_text('{"username": "me", "key": "secret"}')
    elif where == "KAGGLE_USERNAME":
        monkeypatch.setenv("KAGGLE_USERNAME", "me")
        monkeypatch.setenv("KAGGLE_KEY", "secret")
    else:
        monkeypatch.setenv(where, "secret")
    kaggle.requests.clear()
    monkeypatch.setattr("kagglehub.clients.already_printed_version_warning", False)
    assert download_dataset("kaggle:owner/locked", out).files == 2
    told = capsys.readouterr()
    assert "outdated `kagglehub`" in told.err
    assert told.out == ""
    wanted = "Basic bWU6c2VjcmV0" if where in ("kaggle.json", "KAGGLE_USERNAME") else "Bearer secret"
    assert {authorization for method, _, authorization, _ in kaggle.requests if method == "POST"} == {wanted}


@pytest.mark.parametrize(
    ("name", "token", "kind", "words"),
    [
        ("missing", None, InputError, "Kaggle has no dataset owner/missing: check owner and name"),
        ("private", None, InputError, r"no Kaggle credentials were found.*kaggle\.com/datasets/owner/private.*token"),
        ("private", "good", InputError, "refuses owner/private to your account.*agree to its terms"),
        ("public", "expired", InputError, "does not accept the credentials.*expired, create a token"),
        ("busy", None, ResourceError, "asked too often"),
        ("down", None, ResourceError, r"an error of its own \(500\)"),
        ("portal", None, ResourceError, "network asks for a login"),
        ("broken", None, ResourceError, rf"broke off after \d+ of {len(GOOD)} bytes"),
        ("hostile", None, InputError, r"'../../evil\.txt'.*nothing was unpacked"),
        ("bomb", None, ResourceError, "unpacks to 20 MB, more than `limit=` allows"),
        ("huge", None, ResourceError, "more than `limit=` allows"),
        ("page", None, InputError, "a web page"),
    ],
)
def test_each_failure_of_kaggle_has_its_sentence(
    kaggle: Seen,
    out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    token: str | None,
    kind: type[Exception],
    words: str,
) -> None:
    if token:
        monkeypatch.setenv("KAGGLE_API_TOKEN", token)
    with pytest.raises(kind, match=words) as failure:
        download_dataset(f"kaggle:owner/{name}", out, limit=10**7)
    assert "secret" not in str(failure.value)
    assert set(contents(tmp_path)) <= {"deep/out/.archive.part"}


def test_no_network_and_unreadable_credentials(
    kaggle: Seen, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kagglesdk import kaggle_env

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, nobody)
        with pytest.raises(ResourceError, match="Kaggle cannot be reached: check the network"):
            download_dataset("kaggle:owner/public", out)
    (tmp_path / "home" / ".kaggle").mkdir()
    (tmp_path / "home" / ".kaggle" / "kaggle.json").write_text("{username: me}")
    with pytest.raises(InputError, match="Kaggle credentials cannot be read"):
        download_dataset("kaggle:owner/public", out)


def test_kagglehub_that_is_missing_or_unknown(kaggle: Seen, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import kagglehub.clients

    with monkeypatch.context() as patch:
        patch.delattr(kagglehub.clients, "build_kaggle_client")
        with pytest.raises(MissingDependencyError, match=r"kagglehub>=1\.0,<2"):
            download_dataset("kaggle:owner/public", out)
    monkeypatch.setitem(__import__("sys").modules, "kagglehub", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'pellucid\[kaggle\]'"):
        download_dataset("kaggle:owner/public", out)


# ---- the web


def test_an_archive_from_the_web(server: Seen, out: Path) -> None:
    done = download_dataset(f"{server.address}/a/good.zip?key=secret#part", out)
    found = contents(out)
    record = json.loads(found.pop(RECORD))
    assert found == FILES
    assert done.source == record["source"] == f"{server.address}/a/good.zip"
    assert (done.files, done.bytes, done.version, record["version"]) == (2, 4000, None, None)
    assert "secret" not in json.dumps(record)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("401", InputError, r"without a login \(401\)"),
        ("403", InputError, r"without a login \(403\)"),
        ("404", InputError, r"nothing at this address \(404\)"),
        ("503", ResourceError, r"an error of its own \(503\)"),
        ("loop", ResourceError, r"an error of its own \(302\)"),
        ("file", ResourceError, r"an error of its own \(302\)"),
        ("ftp", InputError, "leads on to ftp:// from http://"),
        ("broken", ResourceError, f"broke off after 200 of {len(GOOD)} bytes"),
        ("endless", ResourceError, "at least .* MB, more than `limit=` allows"),
        ("hostile", InputError, "nothing was unpacked"),
        ("page", InputError, "a web page"),
    ],
)
def test_each_failure_of_the_web_has_its_sentence(
    server: Seen, out: Path, tmp_path: Path, name: str, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        download_dataset(f"{server.address}/{name}.zip", out, limit=10**7)
    assert set(contents(tmp_path)) <= {"deep/out/.archive.part"}


@pytest.mark.parametrize(
    "source",
    ["kaggle:", "kaggle:a", "kaggle:a/b/c", "kaggle:../b c", "data.zip", "file:///a.zip", "ftp://a/b.zip", "https://",
     "https://[::1", "https://me:pw@host/a.zip", "https://host:x/a.zip", "http://ho st/a.zip", ""],
)  # fmt: skip
def test_what_is_no_source(out: Path, source: str) -> None:
    with pytest.raises(InputError, match=r"nothing to download|is not a web address"):
        download_dataset(source, out)


def test_no_network_and_no_room(server: Seen, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ResourceError, match=r"127\.0\.0\.1 cannot be reached"):
            download_dataset(f"http://127.0.0.1:{taken.getsockname()[1]}/a.zip", out)
    with pytest.raises(ResourceError, match=r"127\.0\.0\.1 cannot be reached"):
        download_dataset(server.address.replace("http:", "https:") + "/a.zip", out)
    used = archive_module.shutil.disk_usage(out)
    monkeypatch.setattr(archive_module.shutil, "disk_usage", lambda folder: used._replace(free=100))
    with pytest.raises(ResourceError, match="the disk has room for"):
        download_dataset(f"{server.address}/good.zip", out)


def test_a_server_that_falls_silent_is_left(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/a.zip"
        with pytest.raises(ResourceError, match="cannot be reached"):
            download_dataset(address, out)

        def speak_once() -> None:
            connection, _ = silent.accept()
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nPK")
            ended.wait(5)
            connection.close()

        # The first connection still waits to be accepted.
        silent.accept()[0].close()
        ended = threading.Event()
        thread = threading.Thread(target=speak_once)
        thread.start()
        with pytest.raises(ResourceError, match=r"broke off after [02] of 9,999 bytes"):
            download_dataset(address, out)
        ended.set()
        thread.join()


def test_a_certificate_that_cannot_be_trusted(
    kaggle: Seen, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kagglesdk import kaggle_env

    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl here to make a certificate")
    pem = str(tmp_path / "own.pem")
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -keyout {pem} -out {pem}.crt"
    subprocess.run(command.split(), check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{pem}.crt", pem)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.handle_error = lambda *_: None  # type: ignore[method-assign]
        running.socket = context.wrap_socket(running.socket, server_side=True)
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        address = f"https://127.0.0.1:{running.server_port}"
        monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, address)
        for source, host in ((f"{address}/a.zip", "127.0.0.1"), ("kaggle:owner/public", "Kaggle")):
            with pytest.raises(ResourceError, match=f"certificate of {re.escape(host)} cannot be trusted"):
                download_dataset(source, out)
        running.shutdown()
        thread.join()
