"""How an image comes in: forms, raw bodies, JSON; and that no body costs more than it should."""

from __future__ import annotations

import base64
import io
import json
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from python_multipart.multipart import MultipartParser
from tests.serving.running import Running, running

from pellucid.errors import ImageError
from pellucid.serving.archives import Archive
from pellucid.serving.attacks.client import BOUNDARY
from pellucid.serving.attacks.files import encoded, film, plain_jpeg, plain_png, png_with, tiff
from pellucid.serving.forms import FormReader
from pellucid.serving.json_bodies import SMALL, LargeJson, from_base64
from pellucid.serving.problems import Problem
from pellucid.serving.spools import Spool
from pellucid.serving.text_bombs import refuse_text_bombs
from pellucid.serving.uploads import declared_as

JSON = {"Content-Type": "application/json"}
FORM = f"multipart/form-data; boundary={BOUNDARY}"


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    "wrap", [lambda t: t, lambda t: "data:image/png;base64," + t, lambda t: t[:76] + "\r\n" + t[76:]]
)
def test_an_image_in_json_is_that_image(server: Running, large: bool, wrap: object) -> None:
    data = encoded(np.random.default_rng(0).integers(0, 256, (300, 300), np.uint8), "PNG") if large else plain_png()
    text = wrap(base64.b64encode(data).decode())  # type: ignore[operator]
    assert (len(text) > SMALL) is large
    body = json.dumps({"image": text}).replace("/", "\\/").encode()  # as PHP writes it
    for path in ("/v1/predict", "/v1/explain", "/predict"):
        reply = server.target().request("POST", path, body, JSON)
        assert reply.status == 200, reply.document
        assert reply.document["probabilities"] == server.target().upload(data).document["probabilities"]


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"image": "%%%"}, "malformed"),
        ({"image": ""}, "empty"),
        ({"image": base64.b64encode(b"only words").decode()}, "not-an-image"),
        ({"image": base64.b64encode(plain_png()).decode()[:-401]}, "malformed"),
        ({"image": 7}, "malformed"),
        ({"image": "\ud800"}, "malformed"),
        ({"image": "aaaa", "url": "http://example.org/"}, "malformed"),
        ({"image": "a" * 100_000, "url": "http://example.org/"}, "malformed"),
        ({"picture": "aaaa"}, "malformed"),
        ([1], "malformed"),
    ],
)
def test_json_without_a_usable_image_is_refused(server: Running, document: object, code: str) -> None:
    reply = server.target().request("POST", "/v1/predict", json.dumps(document).encode(), JSON)
    assert (reply.code, reply.status) == (code, {"empty": 422, "not-an-image": 415}.get(code, 400))


def test_raw_bytes_of_no_declared_type_are_an_image(server: Running) -> None:
    target = server.target()
    for kind in ("application/octet-stream", "binary/octet-stream", "image/x-unheard-of"):
        reply = target.request("POST", "/v1/predict", plain_jpeg(), {"Content-Type": kind})
        assert reply.status == 200, kind
    assert target.request("POST", "/v1/predict", b"words", {"Content-Type": "application/octet-stream"}).status == 415
    assert target.request("POST", "/v1/predict", plain_jpeg(), {"Content-Type": "text/html"}).status == 415


@pytest.mark.parametrize(
    ("declared", "name", "warned"),
    [
        ("image/png", b"x.png", True),
        ("", b"photo.png", True),
        ("application/octet-stream", b"photo.PNG", True),
        ("text/plain", b"x.jpg", True),
        ("image/jpeg", b"x.png", False),
        ("image/pjpeg", b"x", False),
        ("", b"x.jpeg", False),
        ("", b"x.exe", False),
        ("", b"x", False),
    ],
)
def test_a_jpeg_under_another_name_is_taken_with_a_warning(
    server: Running, declared: str, name: bytes, warned: bool
) -> None:
    reply = server.target().upload(plain_jpeg(), declared, name)
    assert reply.status == 200
    remarks = [w for w in reply.document["warnings"] if "sent as" in w]
    assert len(remarks) == warned
    assert all("holds JPEG" in r for r in remarks)


def test_tiff_is_read_where_the_operator_allows_it(served_bundle: object, server: Running) -> None:
    assert server.target().upload(tiff(), "image/tiff").code == "unsupported-format"
    with running({"small": served_bundle}, allow_tiff=True) as allowing:  # type: ignore[dict-item]
        reply = allowing.target().upload(tiff(), "image/tiff")
        expected = allowing.target().upload(plain_png()).document["probabilities"]
    assert reply.document["probabilities"] == pytest.approx(expected, abs=1e-6)
    assert reply.document["warnings"] == []


def peer_parts(body: bytes, boundary: bytes) -> list[tuple[bytes, bytes]]:
    """Headers and data of each part by the parser itself, the body in one piece."""
    parts: list[list[bytes]] = []
    callbacks = {
        "on_part_begin": lambda: parts.append([b"", b""]),
        "on_header_value": lambda d, a, b: parts[-1].__setitem__(0, parts[-1][0] + d[a:b]),
        "on_part_data": lambda d, a, b: parts[-1].__setitem__(1, parts[-1][1] + d[a:b]),
    }
    parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]
    parser.write(body)
    parser.finalize()
    return [(head, data) for head, data in parts]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from([b"\r\n", b"--", b"--b", b"\r\n--", b"x", b"\0", b"\n"])).map(b"".join),
        min_size=1,
        max_size=5,
    ),
    st.integers(1, 40),
)
def test_a_form_in_pieces_is_the_form_in_one(contents: list[bytes], step: int) -> None:
    boundary = b"bound"
    heads = [b'Content-Disposition: form-data; name="file"; filename="%d.png"' % i for i in range(len(contents))]
    parts = [b"--bound\r\n" + h + b"\r\n\r\n" + c + b"\r\n" for h, c in zip(heads, contents, strict=True)]
    body = b"".join(parts) + b"--bound--\r\n"
    spool = Spool()
    for reader in (
        FormReader("multipart/form-data; boundary=bound"),
        FormReader("multipart/form-data; boundary=bound", spool=spool),
    ):
        for at in range(0, len(body), step):
            reader.feed(body[at : at + step])
        found = reader.parts()
        assert [p.length for p in found] == [len(c) for c in contents]
        assert {p.suffix for p in found} == {".png"}
    # Everything goes to the spool in the end; `settle` writes it there.
    assert spool.size == sum(map(len, contents))
    in_memory = FormReader("multipart/form-data; boundary=bound")
    in_memory.feed(body)
    assert [(b"".join(p.chunks)) for p in in_memory.parts()] == [d for _, d in peer_parts(body, boundary)] == contents


def test_declared_formats() -> None:
    assert declared_as("image/png", ".jpg") == "PNG"
    assert declared_as("", ".jpg") == declared_as("application/octet-stream", ".jfif") == "JPEG"
    assert declared_as("text/html") == "another type"
    assert declared_as("") == declared_as("", ".docx") == ""


def broken_text(size: int = 4 * 2**20) -> bytes:
    """A compressed text that unpacks to 4 MB before its checksum turns out wrong."""
    return b"Comment\0\0" + zlib.compress(bytes(size))[:-4] + b"\1\2\3\4"


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_many_broken_texts_are_refused_as_soon_as_a_long_one(kind: bytes) -> None:
    text = broken_text()
    if kind == b"iTXt":
        text = b"Comment\0\1\0en\0title\0" + text[len(b"Comment\0\0") :]
    data = png_with(*[(kind, text)] * 1500)
    began = time.thread_time()
    with pytest.raises(Problem) as caught:
        refuse_text_bombs(data)
    assert time.thread_time() - began < 2  # 6 GB took seconds
    assert caught.value.code == "too-large"


def test_texts_behind_the_picture_and_behind_a_thousand_chunks_count() -> None:
    bomb = (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(9 * 2**20)))
    plain = plain_png()
    length = struct.pack(">I", len(bomb[1]))
    chunk = length + bomb[0] + bomb[1] + struct.pack(">I", zlib.crc32(bomb[0] + bomb[1]))
    behind = plain[:-12] + chunk + plain[-12:]
    hidden = png_with(*[(b"tEXt", b"a\0b")] * 1200, bomb)
    for data in (behind, hidden):
        with pytest.raises(Problem):
            refuse_text_bombs(data)
    for harmless in (
        plain,
        png_with((b"zTXt", broken_text(1000))),
        png_with((b"zTXt", b"")),
        png_with((b"iTXt", b"\0")),
    ):
        refuse_text_bombs(harmless)


def refused(run: Callable[[], object]) -> bool:
    try:
        run()
    except (Problem, ValueError):
        return True
    return False


def tensor_of(body: bytes, most: int) -> np.ndarray:
    read = LargeJson(body)
    return read.numbers(read.document["inputs"][0]["data"], most)


def tensor_body(data: bytes, shape: list[int]) -> bytes:
    head = json.dumps({"id": "1", "inputs": [{"name": "image", "datatype": "FP32", "shape": shape}]}).encode()
    return head[:-3] + b', "data": ' + data + b"}]}"


@pytest.mark.parametrize("nested", [False, True])
def test_a_large_tensor_is_read_as_json_reads_it(nested: bool) -> None:
    values = np.random.default_rng(0).normal(size=(3, 100, 100)) * 10.0 ** np.random.default_rng(1).integers(-9, 9)
    text = json.dumps(values.tolist() if nested else values.ravel().tolist(), indent=1 if nested else None).encode()
    read = LargeJson(tensor_body(text, [1, 3, 100, 100]))
    document = read.document["inputs"][0]
    assert document["shape"] == [1, 3, 100, 100]
    np.testing.assert_array_equal(read.numbers(document["data"], values.size), values.astype(np.float32).ravel())
    assert refused(lambda: read.numbers(document["data"], values.size - 1))


@pytest.mark.parametrize("bad", [b"1 2", b"1,,2", b"[1]2", b"1[2]", b"[1][2]", b"01", b"1e", b"--1", b"true x"])
def test_numbers_that_are_none_are_refused(bad: bytes) -> None:
    text = b"[" + b"1.25," * 20_000 + bad + b"]"
    assert refused(lambda: tensor_of(tensor_body(text, [1]), 10**6))


def _documents() -> Iterator[tuple[str, bytes]]:
    size = 4 * 2**20
    yield "nested", b"[" * size + b"]" * size
    yield "objects", b"[" + b"{}," * (size // 3) + b"{}]"
    yield "keys", b"{" + b",".join(b'"%d":1' % i for i in range(size // 8)) + b"}"
    yield "nested data", tensor_body(b"[" * size, [1])
    yield "unended", tensor_body(b"[" + b"1," * size, [1])
    yield "a text without end", b'{"image": "' + b"a" * size
    yield "a text of escapes", b'{"image": "' + b'\\"' * size + b'"}'


@pytest.mark.parametrize(("name", "body"), list(_documents()), ids=lambda v: v if isinstance(v, str) else "")
def test_documents_made_to_cost_are_refused_quickly(name: str, body: bytes) -> None:
    began = time.thread_time()
    assert refused(lambda: tensor_of(body, 150_528))
    assert time.thread_time() - began < 1


@given(st.binary(max_size=300_000), st.booleans())
@settings(max_examples=20, deadline=None)
def test_base64_is_undone(data: bytes, wrapped: bool) -> None:
    text = base64.encodebytes(data) if wrapped else base64.b64encode(data)
    assert from_base64(text) == data


def listing(entries: int) -> bytes:
    """The directory of a ZIP without its files: 47 bytes an entry."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    count = min(entries, 0xFFFF)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, entries * len(entry), 0, 0)
    return entry * entries + end


def archive(data: bytes, most: int = 1000) -> Archive:
    spool = Spool()
    start = spool.add(b"before")
    return Archive(spool, spool.add(data), len(data), most) if start == 0 else archive(data, most)


def test_a_directory_of_a_million_entries_is_refused_before_it_is_read() -> None:
    began = time.thread_time()
    with pytest.raises(Problem) as caught:
        archive(listing(1_000_000))
    assert (caught.value.status, caught.value.code) == (413, "too-many-files")
    assert time.thread_time() - began < 1  # it took 31 s


def test_an_archive_with_a_file_managers_entries_is_read() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as made:
        for n in range(1000):
            made.writestr(f"{n}.png", b"x")
            made.writestr(f"__MACOSX/._{n}.png", b"y")
    files = archive(packed.getvalue())
    assert len(files) == 1000
    assert [f for f in files.files(100) if not isinstance(f, ImageError)] == [b"x"] * 1000
    with pytest.raises(Problem):
        archive(packed.getvalue(), most=999)


def test_each_route_has_its_own_limit(server: Running) -> None:
    target = server.target()
    feedback = target.request("POST", "/v1/feedback", b" " * (SMALL + 1), JSON)
    assert (feedback.status, feedback.code) == (413, "too-many-bytes")
    assert "32 kB" in feedback.document["detail"]
    large = encoded(np.random.default_rng(0).integers(0, 256, (800, 800, 3), np.uint8), "PNG")  # 1.9 of 2 MB
    body = json.dumps({"image": base64.b64encode(large).decode()}).encode()
    assert len(body) > 2 * 2**20
    assert target.request("POST", "/v1/predict", body, JSON).status == 200
    assert film().size < SMALL
