from __future__ import annotations

from pathlib import Path

import pytest

from pellucid.data.dataset import Dataset
from pellucid.data.folder import read_dataset
from pellucid.data.groups import copies_by_name
from pellucid.data.labelling import LabelledFile
from pellucid.data.origins import FILE, Origin, read_origins, with_origins, write_origins
from pellucid.errors import DataError


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def groups_of(dataset: Dataset) -> dict[str, str]:
    return {s.path: s.group for s in dataset.samples}


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    rows = [
        Origin(
            "train/a/x_aug1.png", "train/a/x.png", 'in,"put/x.png', "p1", {"zoom": -0.012345, "rotation": 179.999999}
        ),
        Origin("train/a/x.png", "", 'in,"put/x.png', "p1"),
        Origin("test/\u60a3/y.png", "", "y.png"),
    ]
    write_origins(tmp_path, rows, ("rotation", "zoom"))
    lines = (tmp_path / FILE).read_text(encoding="utf-8").splitlines()
    assert lines[0] == "path,original,source,group,rotation,zoom"
    assert lines[3] == 'train/a/x_aug1.png,train/a/x.png,"in,""put/x.png",p1,179.999999,-0.012345'
    assert [line[:10] for line in lines[1:]] == sorted(line[:10] for line in lines[1:])
    found = read_origins(tmp_path)
    assert {(o.path, o.original, o.source, o.group) for o in found.values()} == {
        (o.path, o.original, o.source, o.group) for o in rows
    }


def test_another_programs_list_is_no_list_and_a_broken_one_is_told(tmp_path: Path) -> None:
    assert read_origins(tmp_path) == {}
    (tmp_path / FILE).write_text("path,country\na,b\n")
    assert read_origins(tmp_path) == {}
    (tmp_path / FILE).write_bytes(b"path,original,source,group\n\xff\xfe,,,\n")
    with pytest.raises(DataError, match="which images are copies of which, cannot be read"):
        read_origins(tmp_path)


def test_copies_get_the_group_of_their_original(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.png", "a/x_aug1.png", "a/x_aug2.png", "a/lone.png", "b/p7.png", "b/p7_aug1.png", "b/q.png")
    rows = [Origin(f"a/x{end}.png", "a/x.png" if end else "", "in/x.png") for end in ("", "_aug1", "_aug2")]
    rows += [Origin(f"b/p7{end}.png", "b/p7.png" if end else "", "site3/p7.png", "seven") for end in ("", "_aug1")]
    write_origins(tmp_path, [*rows, Origin("a/lone.png", "", "in/lone.png"), Origin("gone.png", "", "gone")], ())
    dataset = read_dataset(tmp_path)
    assert groups_of(dataset) == {
        "a/x.png": "in/x.png", "a/x_aug1.png": "in/x.png", "a/x_aug2.png": "in/x.png", "a/lone.png": "",
        "b/p7.png": "seven", "b/p7_aug1.png": "seven", "b/q.png": "",
    }  # fmt: skip
    assert "By origins.csv, 3 images are changed copies of others: each stays with its original." in dataset.notes
    assert dataset.skipped == ()


def test_a_pattern_is_searched_in_the_original_path(tmp_path: Path) -> None:
    """In the copy's own name `(\\d+)[.]` would find the number of the copy."""
    touch(tmp_path, *(f"{c}/img{i}{end}.png" for c in "ab" for i in (1, 2) for end in ("", "_aug1", "_aug2")))
    rows = [
        Origin(f"{c}/img{i}{end}.png", f"{c}/img{i}.png" if end else "", f"site{i}/{c}/img{i}.png")
        for c in "ab" for i in (1, 2) for end in ("", "_aug1", "_aug2")
    ]  # fmt: skip
    write_origins(tmp_path, rows, ())
    for pattern in (r"(\d+)[.]", r"site(\d)"):
        found = groups_of(read_dataset(tmp_path, group_by=pattern))
        assert all(group == path[5] for path, group in found.items())
    # Where the pattern finds nothing, copies are held together all the same.
    found = groups_of(read_dataset(tmp_path, group_by="site(1)"))
    assert found["a/img1_aug2.png"] == "1"
    assert found["a/img2_aug2.png"] == found["a/img2.png"] == "site2/a/img2.png"


def test_names_tell_copies_where_no_list_does(tmp_path: Path) -> None:
    touch(
        tmp_path, "a/x.jpg", "a/x_aug1.png", "a/x_aug12.png", "a/y_aug1.png", "b/x_aug1.png", "b/z_aug0.png", "b/z.png"
    )
    dataset = read_dataset(tmp_path)
    held = {path for path, group in groups_of(dataset).items() if group}
    assert held == {"a/x.jpg", "a/x_aug1.png", "a/x_aug12.png"}
    assert set(groups_of(dataset).values()) == {"", "a/x.jpg"}
    assert any(note.startswith("By their names, 2 images") for note in dataset.notes)


def test_copies_by_name() -> None:
    paths = [
        "x.jpg",
        "x_aug1.png",
        "x_aug1_aug2.png",
        "a/x_aug1.png",
        "a/y",
        "a/y_aug3",
        "b.c/z_aug1.png",
        "b.c/z.d.png",
    ]
    assert copies_by_name(paths) == {"x_aug1.png": "x.jpg", "x_aug1_aug2.png": "x.jpg", "a/y_aug3": "a/y"}
    assert copies_by_name(reversed(["a/x.jpg", "a/x.png", "a/x_aug1.png"])) == {"a/x_aug1.png": "a/x.png"}
    assert copies_by_name(["_aug1.png", ".png", "a/_aug1.png"]) == {}


def test_a_list_inside_the_folder_that_holds_everything(tmp_path: Path) -> None:
    touch(tmp_path, "up/a/x.png", "up/a/x_aug1.png", "up/b/y.png")
    write_origins(tmp_path / "up", [Origin("a/x.png", "", "s"), Origin("a/x_aug1.png", "a/x.png", "s")], ())
    assert groups_of(read_dataset(tmp_path)) == {"up/a/x.png": "s", "up/a/x_aug1.png": "s", "up/b/y.png": ""}
    entries = [LabelledFile("a/x.png", "a"), LabelledFile("b/y.png", "b")]
    notes: list[str] = []
    assert with_origins(tmp_path / "nowhere", "", entries, notes) == entries
    assert notes == []


def test_patients_are_still_suggested_and_copies_are_not_taken_for_them(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{c}/pic{i}x_aug{n}.png" for c in "ab" for i in range(20) for n in range(1, 16)))
    touch(tmp_path, *(f"{c}/pic{i}x.png" for c in "ab" for i in range(20)))
    assert not any("`group_by=" in note for note in read_dataset(tmp_path).notes)
    other = tmp_path / "other"
    touch(
        other, *(f"{c}/patient{i}_{k}{e}.png" for c in "ab" for i in range(20) for k in (1, 2) for e in ("", "_aug1"))
    )
    assert any(r"`group_by='^(patient\d+)'" in note for note in read_dataset(other).notes)
