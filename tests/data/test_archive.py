import errno
import io
import os
import random
import shutil
import stat
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pellucid.data import archive as module
from pellucid.data.archive import CHUNK, unpack
from pellucid.errors import InputError, ResourceError

LIMIT = 10**7


def archive_of(folder: Path, entries: dict[str, bytes], **options: Any) -> Path:
    path = folder / "a.zip"
    with zipfile.ZipFile(path, "w", **options) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, data in entries.items():
            file.writestr(name, data)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unpacks_what_unzip_would(tmp_path: Path, method: int) -> None:
    noise = random.Random(0).randbytes(CHUNK + 10)
    entries = {"a/x.png": b"x" * 100, "b/\u60a3 1.png": b"", "back\\slash.txt": b"1", "deep/er/y.bin": noise}
    path = archive_of(tmp_path, entries, compression=method)
    with zipfile.ZipFile(path, "a") as file:
        file.mkdir("empty") if hasattr(file, "mkdir") else file.writestr("empty/", b"")
    out = tmp_path / "out"
    out.mkdir()
    assert unpack(path, out, limit=LIMIT) == (4, sum(map(len, entries.values())), ())
    found = {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert found == {name.replace("\\", "/"): data for name, data in entries.items()}


@pytest.mark.parametrize(
    "name", ["../out.txt", "a/../../out.txt", "/etc/out.txt", "..\\out.txt", "C:\\out.txt", "c:out.txt", ".."]
)
def test_nothing_is_written_when_one_entry_leads_outside(tmp_path: Path, name: str) -> None:
    path = archive_of(tmp_path, {"good.txt": b"1"})
    with zipfile.ZipFile(path, "a") as file:
        info = zipfile.ZipInfo("x")
        info.filename = name
        file.writestr(info, b"evil")
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    with pytest.raises(InputError, match="not to be trusted, and nothing was unpacked"):
        unpack(path, out, limit=LIMIT)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.zip", "deep", "out"]


def test_links_and_devices_are_left_out_and_nothing_is_written_through_them(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, kind, data in [("l", stat.S_IFLNK, str(tmp_path)), ("p", stat.S_IFIFO, ""), ("r", stat.S_IFREG, "r")]:
            info = zipfile.ZipInfo(name)
            info.external_attr = (kind | 0o4777) << 16
            file.writestr(info, data)
        file.writestr("l/evil.txt", "evil")
    out = tmp_path / "out"
    out.mkdir()
    files, size, skipped = unpack(path, out, limit=LIMIT)
    assert (files, size, [s.path for s in skipped]) == (2, 5, ["l", "p"])
    assert not (tmp_path / "evil.txt").exists()
    assert not any(p.is_symlink() for p in out.rglob("*"))
    assert not (out / "r").stat().st_mode & (stat.S_ISUID | stat.S_IXUSR)


def test_names_that_cannot_be_written_are_told_and_the_rest_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("twice", "twice", "file", "file/below", "x" * 300, "good"):
            file.writestr(name, name[:2])
    out = tmp_path / "out"
    out.mkdir()
    files, _, skipped = unpack(path, out, limit=LIMIT)
    assert (files, [s.path[:9] for s in skipped]) == (3, ["twice", "file/belo"[:9], "x" * 9])
    assert [s.reason for s in skipped][2] == f"cannot be written ({os.strerror(errno.ENAMETOOLONG)})"


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = archive_of(tmp_path, {f"{i}": b"\0" * 10**6 for i in range(11)}, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 20_000
    with pytest.raises(ResourceError, match=r"unpacks to 11 MB, more than `limit=` allows \(10 MB\)"):
        unpack(path, tmp_path, limit=LIMIT)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_a_bomb_that_states_a_small_size_is_cut_off(tmp_path: Path) -> None:
    path = archive_of(tmp_path, {"bomb": b"\0" * (50 << 20)}, compression=zipfile.ZIP_DEFLATED)
    data = path.read_bytes()
    stated = struct.pack("<L", 50 << 20)
    assert data.count(stated) == 2
    path.write_bytes(data.replace(stated, struct.pack("<L", 1000)))
    with pytest.raises(InputError, match="damaged at 'bomb'"):
        unpack(path, tmp_path, limit=LIMIT)
    assert (tmp_path / "bomb").stat().st_size <= 1000


def test_overlapping_entries_count_as_often_as_they_are_named(tmp_path: Path) -> None:
    """David Fifield's better zip bomb: many names, one block of data."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("0", b"\0" * 10**6)
        for i in range(1, 30):
            info = zipfile.ZipInfo(str(i))
            for key in ("header_offset", "CRC", "compress_size", "file_size", "compress_type"):
                setattr(info, key, getattr(file.filelist[0], key))
            file.filelist.append(info)
        file._didModify = True
    with pytest.raises(ResourceError, match="unpacks to 30 MB"):
        unpack(path, tmp_path, limit=LIMIT)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no zip archive, or damaged"),
        (b"PK\x03\x04" + b"\0" * 50, "no zip archive, or damaged"),
        (b"\n <!DOCTYPE html><title>Log in</title>", "but a web page"),
    ],
)
def test_what_is_no_archive_is_told_from_a_web_page(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    with pytest.raises(InputError, match=words):
        unpack(path, tmp_path, limit=LIMIT)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_inside_is_told_with_the_entry(tmp_path: Path, method: int) -> None:
    path = archive_of(tmp_path, {"x.bin": random.Random(1).randbytes(5000)}, compression=method)
    data = bytearray(path.read_bytes())
    data[2000:2100] = bytes(100)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"damaged at 'x\.bin'"):
        unpack(path, tmp_path, limit=LIMIT)


def test_a_password_is_told(tmp_path: Path) -> None:
    path = archive_of(tmp_path, {"x": b"1"})
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="password"):
        unpack(path, tmp_path, limit=LIMIT)


def test_no_room_is_told_before_and_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive_of(tmp_path, {"a/x": b"1" * 5000})
    used = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "disk_usage", lambda folder: used._replace(free=4999))
        with pytest.raises(ResourceError, match="make room, or choose another folder"):
            unpack(path, tmp_path, limit=LIMIT)
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full here")
    with full.open("wb", buffering=0) as file, pytest.raises(ResourceError, match="The disk is full"):
        module.write_part(file, b"1")


def test_any_bytes_unpack_or_are_refused(tmp_path: Path) -> None:
    """Flipped and cut archives never raise anything else, nor write outside."""
    draw = random.Random(2)
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("a/x.txt", "b.txt", "c/d/e.txt"):
            file.writestr(name, name * 20)
    whole = held.getvalue()
    for turn in range(400):
        data = bytearray(whole[: draw.randrange(len(whole)) if turn % 4 == 0 else None])
        for _ in range(draw.randrange(1, 6)):
            data[draw.randrange(len(data))] = draw.randrange(256) if len(data) else 0
        place = tmp_path / "in" / str(turn)
        place.mkdir(parents=True)
        path = tmp_path / "a.zip"
        path.write_bytes(data)
        try:
            unpack(path, place, limit=LIMIT)
        except (InputError, ResourceError):
            continue
    assert {p.name for p in tmp_path.iterdir()} == {"in", "a.zip"}
    assert {p.parent.name for p in (tmp_path / "in").iterdir()} == {"in"}
