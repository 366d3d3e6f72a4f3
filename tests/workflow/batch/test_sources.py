from __future__ import annotations

import csv
import io
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.workflow.batch.conftest import picture

from pellucid.data.table import TableOptions
from pellucid.errors import ImageError, InputError, MissingDependencyError
from pellucid.images import Limits
from pellucid.workflow.batch.reading import Reader
from pellucid.workflow.batch.sources import Item, list_items


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, bytes]:
    """Six pictures in `folder`, by their names within it."""
    root = tmp_path / "folder"
    for i in range(6):
        picture(root / f"{'ab'[i % 2]}" / f"p{i}.png", i)
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*.png"))}


def read_all(*sources: object) -> dict[str, bytes]:
    items = list(list_items([str(s) for s in sources]))
    with Reader() as reader:
        return {item.path: reader.read(item) for item in items}


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("readme.txt", "no image")
        archive.writestr("__MACOSX/._p0.png", "litter")
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def tarred(path: Path, files: dict[str, bytes], mode: str) -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return path


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_members_with_a_dot_in_front_are_read(tmp_path: Path, pictures: dict[str, bytes], suffix: str) -> None:
    dotted = {f"./{name}": data for name, data in pictures.items()}
    dotted |= {"./.hidden/x.png": b"x", "./@eaDir/p0.png": b"x", "__MACOSX/a/p0.png": b"x"}
    path = tmp_path / f"archive{suffix}"
    made = zipped(path, dotted) if suffix == ".zip" else tarred(path, dotted, "w:gz" if suffix.endswith("gz") else "w")
    assert list(read_all(made).values()) == list(pictures.values())


def test_what_systems_and_pellucid_wrote_is_passed_over_and_links_are_followed(
    tmp_path: Path, pictures: dict[str, bytes]
) -> None:
    root = tmp_path / "folder"
    for name in ("@eaDir", "$RECYCLE.BIN", "lost+found", "runs/x/explanations"):
        (root / name).mkdir(parents=True)
        (root / name / "x.png").write_bytes(b"x")
    (root / "runs/x/run.json").write_text('{"recipe": "r", "versions": {}, "hardware": {}}')
    elsewhere = tmp_path / "elsewhere"
    picture(elsewhere / "far.png", 9)
    (root / "far").symlink_to(elsewhere, target_is_directory=True)
    (root / "a/round").symlink_to(root, target_is_directory=True)
    said: list[str] = []
    items = [item.path for item in list_items([str(root)], None, said.append)]
    assert items == [str(root / name) for name in sorted([*pictures, "far/far.png"])]
    assert said == [f"Passed over {root / 'runs/x'}: a run that pellucid wrote."]


LISTS = {
    "semicolons": "label;path\nx;b/p3.png\n",
    "backslashes": "path,label\nb\\p3.png,x\n",
    "a separator that is stated": "sep=;\npath;label\nb/p3.png;x\n",
    "names without a suffix": "image_id,dx\np3,x\n",
    "no header": "b/p3.png 1.0 mono\n",
    "one column": "b/p3.png\n",
    "a column to be named": "what,where\n1,p3\n",
}


@pytest.mark.parametrize("text", LISTS.values(), ids=LISTS.keys())
def test_lists_as_training_reads_them(tmp_path: Path, pictures: dict[str, bytes], text: str) -> None:
    source = tmp_path / "folder" / "list.csv"
    source.write_text(text)
    options = TableOptions("where" if "where" in text else None)
    (item,) = list_items([str(source)], options)
    assert item == Item(str(tmp_path / "folder/b/p3.png"))
    (tmp_path / "lists").mkdir()
    moved = source.rename(tmp_path / "lists" / "list.csv")
    options = TableOptions(options.path_column, images=tmp_path / "folder")
    (item,) = list_items([str(moved)], options)
    assert item == Item(str(tmp_path / "folder/b/p3.png"))


def test_a_folder_is_walked_in_order(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    root = tmp_path / "folder"
    (root / ".hidden").mkdir()
    (root / ".hidden" / "x.png").write_bytes(b"x")
    (root / "notes.txt").write_text("no image")
    found = read_all(root)
    assert found == {str(root / name): data for name, data in pictures.items()}
    assert list(found) == sorted(found)


def test_dicom_files_without_a_suffix_are_found_in_folders(tmp_path: Path) -> None:
    film = bytes(128) + b"DICM" + bytes(20)
    files = {"PAT1/ST1/IM0001": film, "1.2.840.99.1": film, "x.dcm": film, "LICENSE": b"text", "notes.txt": film}
    for name, data in {**files, "PAT1/DICOMDIR": film, "PAT1/.hidden": film, "empty": b""}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    found = [Path(item.path).relative_to(tmp_path).as_posix() for item in list_items([str(tmp_path)])]
    assert found == ["1.2.840.99.1", "x.dcm", "PAT1/ST1/IM0001"]


def test_globs_lists_and_files(tmp_path: Path, pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "folder"
    assert list(read_all(root / "**" / "p[12].png")) == [str(root / "a/p2.png"), str(root / "b/p1.png")]
    with (root / "list.csv").open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["Label", "Path"], ["x", "b/p3.png"], ["y", str(root / "a" / "p0.png")], ["z", ""]])
    assert list(read_all(root / "list.csv")) == [str(root / "b/p3.png"), str(root / "a/p0.png")]
    monkeypatch.chdir(root)
    assert list(read_all("a/p0.png", "b")) == [str(root / "a/p0.png"), *(str(root / f"b/p{i}.png") for i in (1, 3, 5))]


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz"])
def test_archives_give_the_bytes_of_their_members(tmp_path: Path, pictures: dict[str, bytes], suffix: str) -> None:
    path = tmp_path / f"archive{suffix}"
    mode = {".tar": "w", ".tar.xz": "w:xz"}.get(suffix, "w:gz")
    made = zipped(path, pictures) if suffix == ".zip" else tarred(path, pictures, mode)
    assert read_all(made) == {f"{made}/{name}": data for name, data in pictures.items()}
    with Reader() as reader:
        backwards = [reader.read(item) for item in reversed(list(list_items([str(made)])))]
    assert backwards == list(reversed(pictures.values()))


@pytest.mark.parametrize("layout", ["plain", "struct", "nameless"])
def test_parquet_gives_its_bytes(tmp_path: Path, pictures: dict[str, bytes], layout: str) -> None:
    names, data = list(pictures), list(pictures.values())
    columns = {
        "plain": {"label": ["x"] * 6, "file_name": names, "bytes": data},
        "struct": {"label": [0] * 6, "image": [{"bytes": b, "path": n} for n, b in pictures.items()]},
        "nameless": {"picture": data},
    }[layout]
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=4)
    found = read_all(tmp_path / "a.parquet")
    assert list(found.values()) == data
    expected = names if layout != "nameless" else [f"row-group-{i // 4}/{i % 4}" for i in range(6)]
    assert [path.removeprefix(f"{tmp_path}/a.parquet/") for path in found] == expected


def test_several_shards_of_different_kinds(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    shards = tmp_path / "shards"
    shards.mkdir()
    zipped(shards / "0.zip", pictures)
    tarred(shards / "1.tar", pictures, "w")
    (shards / "2.zip").write_bytes(b"PK no archive")
    items = list(list_items([f"{shards}/*"]))
    assert [i.kind for i in items] == ["zip"] * 6 + ["tar"] * 6 + ["file"]
    assert items[-1].path == str(shards / "2.zip")
    assert "damaged" in items[-1].problem


def test_urls_are_read_by_fsspec(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    for name, data in pictures.items():
        memory.pipe_file(f"/bucket/{name}", data)
    memory.pipe_file("/shards/x.zip", zipped(tmp_path / "x.zip", pictures).read_bytes())
    memory.pipe_file("/shards/x.tar.gz", tarred(tmp_path / "x.tgz", pictures, "w:gz").read_bytes())
    memory.pipe_file("/shards/list.csv", b"path\nmemory://bucket/a/p0.png\nnear.png\n")
    expected = list(pictures.values())
    try:
        assert list(read_all("memory://bucket").values()) == expected
        assert list(read_all("memory://bucket/*/p1.png").values()) == [pictures["b/p1.png"]]
        assert list(read_all("memory://bucket/a/p2.png").values()) == [pictures["a/p2.png"]]
        assert list(read_all("memory://shards/x.zip").values()) == expected
        assert list(read_all("memory://shards/x.tar.gz").values()) == expected
        memory.pipe_file("/shards/near.png", pictures["b/p3.png"])
        assert list(read_all("memory://shards/list.csv").values()) == [pictures["a/p0.png"], pictures["b/p3.png"]]
        with pytest.raises(InputError, match="memory://nowhere"):
            read_all("memory://nowhere")
    finally:
        memory.store.clear()
    assert list(read_all((tmp_path / "folder").as_uri()).values()) == expected
    with pytest.raises(InputError, match="nosuch"):
        read_all("nosuch://bucket/x.png")


def test_a_file_system_that_is_not_installed_says_what_to_install() -> None:
    pytest.importorskip("fsspec")
    try:
        import gcsfs  # noqa: F401
    except ImportError:
        with pytest.raises(MissingDependencyError, match="gcsfs"):
            list(list_items(["gs://bucket/x"]))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("nowhere", None, "no file, folder or match"),
        ("*.jpg", None, "no file, folder or match"),
        ("empty", "folder", "no images"),
        ("x.zip", b"PK no archive", "damaged"),
        ("x.tar", b"no archive", "damaged"),
        ("x.parquet", b"PAR1 no table", "damaged"),
        ("x.csv", b"label,size\na,1\n", "column of paths"),
        ("y.csv", b"path\n", "no images"),
    ],
)
def test_sources_of_which_nothing_can_be_read(tmp_path: Path, name: str, content: object, words: str) -> None:
    if content == "folder":
        (tmp_path / name).mkdir()
    elif isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        list(list_items([str(tmp_path / name)]))


def test_an_archive_of_documents_has_no_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images"):
        list(list_items([str(zipped(tmp_path / "x.zip", {}))]))
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="no column of image bytes"):
        list(list_items([str(tmp_path / "x.parquet")]))


def test_bad_members_raise_and_leave_the_others_readable(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    path = zipped(tmp_path / "x.zip", pictures)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("a/p2.png")
    data[info.header_offset + 60] ^= 0xFF
    path.write_bytes(bytes(data))
    good = 0
    with Reader() as reader:
        for item in list_items([str(path)]):
            if item.path.endswith("p2.png"):
                with pytest.raises(ImageError, match="damaged"):
                    reader.read(item)
            else:
                good += reader.read(item) in pictures.values()
    assert good == 5


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {"bomb.png": bytes(3_000_000)})
    with Reader(Limits(file_bytes=1_000_000)) as reader:
        (item,) = list_items([str(path)])
        with pytest.raises(ImageError, match="larger than"):
            reader.read(item)
        lying = Item(item.path, "zip", item.container, "", item.start, 10)
        with pytest.raises(ImageError, match="larger than"):
            reader.read(lying)


def test_a_member_with_a_password_is_a_problem_of_its_own(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    path = zipped(tmp_path / "x.zip", pictures)
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1) + 1)
    data[at + 8] |= 1
    path.write_bytes(bytes(data))
    locked = [item for item in list_items([str(path)]) if item.problem]
    assert len(locked) == 1
    assert "password" in locked[0].problem
