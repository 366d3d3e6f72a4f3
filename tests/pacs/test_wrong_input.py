"""What a hospital's IT may give wrongly to `pellucid pacs ...`: one sentence that says what to do, and nothing lost."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest
from tests.pacs import films
from tests.pacs.archives import free_port
from tests.pacs.conftest import Called
from tests.pacs.nodes import configured, liar, listening
from tests.pacs.test_tls import signed

from pellucid.errors import InputError
from pellucid.pacs.config import TlsFiles, read_config
from pellucid.pacs.ledger import Ledger
from pellucid.pacs.spool import FilmSpool

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::ResourceWarning")
STORE = '[store]\nstow = "http://127.0.0.1:1"\n'
LISTEN = '[listen]\nport = 11112\ncallers = ["XRAY1"]\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (STORE, "films come from nowhere: add [listen] or [poll]"),
        (LISTEN, "store is missing"),
        (f"prot = 1\n{LISTEN}{STORE}", "there is no key prot; known are state, kinds, codes, sr, listen"),
        (f"{LISTEN}adress = 'x'\n{STORE}", "there is no key listen.adress; did you mean address?"),
        (f"{LISTEN}[listen.tls]\ncert = 'x'\n{STORE}", "there is no key listen.tls.cert"),
        (LISTEN.replace("11112", "99999") + STORE, "listen.port: input should be less than or equal to 65535"),
        (LISTEN.replace("11112", "'dicom'") + STORE, "listen.port: input should be a valid integer"),
        (LISTEN.replace('["XRAY1"]', '"XRAY1"') + STORE, "listen.callers: input should be a valid tuple"),
        (LISTEN.replace("XRAY1", "A" * 17) + STORE, f"listen.callers.0: '{'A' * 17}' is no AE title: 1 to 16"),
        (LISTEN.replace("XRAY1", " ") + STORE, "listen.callers.0: ' ' is no AE title"),
        (LISTEN.replace("XRAY1", "RÖ") + STORE, "is no AE title: 1 to 16 ASCII characters"),
        (f"{LISTEN}{STORE}host = 'a'\n", "store: give one of stow and host"),
        (LISTEN + STORE.replace("http://127.0.0.1:1", "archive:8042"), "archive:8042 is not an address"),
        (f"kinds = 'sr,pdf'\n{LISTEN}{STORE}", "There is no kind of result named 'pdf'"),
        (f"{LISTEN}{STORE}[limits]\nattempts = 0\n", "limits.attempts: input should be greater than or equal to 1"),
        (f"{LISTEN}{STORE}[accept]\nviews = ['TOP']\n", "accept.views.0: input should be 'PA', 'AP', 'LATERAL'"),
        (f"{LISTEN}{STORE}= 1\n", "is not valid TOML"),
    ],
)
def test_a_wrong_configuration_is_told_by_its_key(cli: Called, tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "pacs.toml"
    path.write_text('state = "state"\n' + text, encoding="utf-8")
    code, out, err = cli("pacs", "status", "--config", path)
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())
    assert err.startswith("pellucid: ")


def test_a_configuration_that_is_not_there_is_named(cli: Called, tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        code, _, err = cli("pacs", "status", "--config", path)
        assert code == 2
        assert f"The configuration {path} cannot be read" in err.replace("\n", " ")


def test_titles_are_compared_without_their_padding(tmp_path: Path) -> None:
    path = tmp_path / "pacs.toml"
    path.write_text('state = "s"\n' + LISTEN.replace("XRAY1", " XRAY1 ") + STORE, encoding="utf-8")
    listen = read_config(path).listen
    assert listen is not None
    assert listen.callers == ("XRAY1",)


@pytest.mark.parametrize("command", ["status", "retry", "forget"])
def test_a_node_that_has_never_run_is_said_so(cli: Called, tmp_path: Path, command: str) -> None:
    configured(tmp_path, LISTEN + STORE)
    named = ("1.2",) if command == "forget" else ()
    code, _, err = cli("pacs", command, "--config", tmp_path / "pacs.toml", *named)
    assert code == 2
    assert "No node has run in" in err
    assert not (tmp_path / "state").exists()


@pytest.fixture
def node_folder(tmp_path: Path) -> Path:
    """The folder of a node that has left a dead film, and a waiting result."""
    config = configured(tmp_path, LISTEN + STORE)
    ledger, spool = Ledger(config.state, "b"), FilmSpool(config.state)
    for uid in ("1.2.1", "1.2.2"):
        spool.keep("dead", uid, b"film")
        ledger.begin(uid, "1.9")
        ledger.end_film(uid, "dead", "damaged", "It is cut off.")
    ledger.close()
    return tmp_path


def test_uids_that_are_not_known_are_named_and_the_others_dealt_with(cli: Called, node_folder: Path) -> None:
    config, dead = ("--config", node_folder / "pacs.toml"), node_folder / "state" / "dead"
    code, out, err = cli("pacs", "retry", *config, "1.2.1", "1.2.7")
    assert (code, out) == (1, "1 films and 0 results wait again.\n")
    assert err == "1.2.7: no dead letter; `pellucid pacs status --dead` lists them.\n"
    assert [p.name for p in dead.iterdir()] == ["1.2.2.dcm"]
    for wrong in ("../state", "x" * 70, "Phantom^Jane"):
        code, out, err = cli("pacs", "forget", *config, wrong)
        assert (code, out) == (1, "0 films and 0 results were forgotten.\n")
        assert f"{wrong}: not known here" in err.replace("\n", " ")
    code, out, _ = cli("pacs", "forget", *config, "1.9", "no-uid")
    assert (code, out) == (1, "2 films and 0 results were forgotten.\n")
    assert not [p for place in ("films", "dead") for p in (node_folder / "state" / place).iterdir()]
    assert cli("pacs", "forget", *config)[0] == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_a_state_folder_of_another_user_is_told(cli: Called, node_folder: Path) -> None:
    for folder in (node_folder, *node_folder.parents[:-1]):
        folder.chmod(folder.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        code, _, err = cli("pacs", "status", "--config", node_folder / "pacs.toml")
    finally:
        os.seteuid(0)
    assert code == 2
    assert "cannot be read (Permission denied): run this as the node's user." in " ".join(err.split())


def test_ports_that_cannot_be_had_are_told(cli: Called, run: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for text in (listening(port, STORE[8:]), listening(free_port(), STORE[8:], f"[health]\nport = {port}\n")):
            configured(tmp_path, text)
            code, _, err = cli("pacs", "serve", run, "--config", tmp_path / "pacs.toml")
            assert code == 2
            assert f"cannot listen at 127.0.0.1:{port} (Address already in use): something listens there" in err
    configured(tmp_path, listening(free_port(), STORE[8:]).replace("[store]", 'address = "192.0.2.7"\n[store]'))
    code, _, err = cli("pacs", "serve", run, "--config", tmp_path / "pacs.toml")
    assert code == 2
    assert "this machine has no such address" in err.replace("\n", " ")


def test_an_archive_that_cannot_be_reached_is_told_with_what_to_do(cli: Called, tmp_path: Path) -> None:
    def asked(store: str) -> str:
        configured(tmp_path, f"{LISTEN}[store]\ntimeout = 5\n{store}\n")
        code, out, err = cli("pacs", "echo", "--config", tmp_path / "pacs.toml")
        assert (code, out) == (2, "")
        return " ".join(err.split())

    port = free_port()
    assert "(refused): nothing listens there: check host and port" in asked(f'stow = "http://127.0.0.1:{port}/x"')
    assert "(refused): nothing listens there" in asked(f'host = "127.0.0.1"\nport = {port}')
    assert "(unknown-host): there is no such host" in asked('host = "archive.invalid"')
    with liar() as root:  # it answers GET with 501: no DICOMweb
        assert "(http-501)" in asked(f'stow = "{root}/dicom-web"')
        there = root.rpartition(":")[2]
        assert "(no-association): it breaks the association off" in asked(f'host = "127.0.0.1"\nport = {there}')
        assert "(tls): TLS fails" in asked(f'stow = "https://127.0.0.1:{there}"')


def test_certificates_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    signed(tmp_path, "ca")
    signed(tmp_path, "node", "ca")
    signed(tmp_path, "other", "ca")
    (tmp_path / "text.pem").write_text("nothing", encoding="utf-8")
    key = serialization.load_pem_private_key((tmp_path / "node.key").read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"secret")
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (tmp_path / "locked.key").write_bytes(key.private_bytes(*form, locked))
    for files, said in (
        ({"ca": "none.pem"}, r"none\.pem cannot be read \(No such file or directory\)"),
        ({"ca": "text.pem"}, r"text\.pem holds no certificates"),
        ({"certificate": "node.pem", "key": "other.key"}, r"node\.pem and .*other\.key are not a certificate and its"),
        ({"certificate": "node.pem"}, r"node\.pem \(there is no `key`\)"),
        ({"certificate": "node.pem", "key": "locked.key"}, r"locked\.key is encrypted"),
    ):
        with pytest.raises(InputError, match=said):
            TlsFiles(**{name: tmp_path / file for name, file in files.items()}).context(server=True)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--kinds", "sr,pdf"), "There is no kind of result named 'pdf'"),
        (("--kinds", ","), "names nothing: give some of sr"),
        (("--sr", "basic"), "There is no class of report named 'basic'"),
        (("--codes", "none.toml"), "The codes file none.toml cannot be read"),
    ],
)
def test_write_tells_what_it_does_not_know(
    cli: Called, run: Path, tmp_path: Path, more: tuple[str, ...], said: str
) -> None:
    film = films.save(films.film(0, 128), tmp_path / "0.dcm")
    code, _, err = cli("pacs", "write", run, film, "--out", tmp_path / "out", *more)
    assert code == 2
    assert said in " ".join(err.split())
    assert not (tmp_path / "out").exists()


def test_write_takes_what_it_can(cli: Called, run: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    (mixed / "empty").mkdir()
    (mixed / "list.csv").write_text("a,b\n", encoding="utf-8")
    (mixed / "nothing.dcm").write_bytes(b"")
    films.save(films.film(0, 128), mixed / "good.dcm")
    films.save(films.film(1, 128, StudyInstanceUID=None), mixed / "no-study.dcm")
    code, out, err = cli("pacs", "write", run, mixed, "--out", tmp_path / "out", "--kinds", "sr")
    assert code == 1
    assert re.search(r"out: sr 1, region 1\.", out.replace("\n", ""))
    said = " ".join(err.split())
    assert "no-study.dcm: The DICOM object has no StudyInstanceUID, and results cannot be filed without it." in said
    assert "list.csv: The file is not a DICOM object" in said
    assert "nothing.dcm: The file is" in said
    for empty in (mixed / "empty", tmp_path / "none"):
        code, _, err = cli("pacs", "write", run, empty, "--out", tmp_path / "out")
        assert code == 2
        assert "There is no file" in err


def test_an_output_folder_that_is_a_file_is_told_before_anything_is_read(
    cli: Called, run: Path, tmp_path: Path
) -> None:
    film = films.save(films.film(0, 128), tmp_path / "0.dcm")
    code, _, err = cli("pacs", "write", run, film, "--out", film)
    assert code == 2
    assert "is a file: name a folder as --out." in " ".join(err.split())
    assert films.read(film).SOPInstanceUID == films.film(0, 128).SOPInstanceUID
