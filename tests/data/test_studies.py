"""Tables that list DICOM files: patient and study keep images together without being named."""

from __future__ import annotations

from pathlib import Path

import PIL.Image
import pytest

from pellucid.data.folder import read_dataset


def dataset_of(folder: Path, header: str, rows: list[str], group_by: str | None = None) -> dict[str, str]:
    for row in rows:
        PIL.Image.new("L", (4, 4), len(row)).save(folder / row.partition(",")[0])
    (folder / "list.csv").write_text("\n".join([header, *rows]) + "\n")
    dataset = read_dataset(folder / "list.csv", group_by=group_by)
    return {Path(s.path).name: s.group for s in dataset.samples}


ROWS = ["a.png,P1,1.2.1,x", "b.png,P1,1.2.2,y", "c.png,,1.2.3,x", "d.png,,1.2.3,y"]


def test_the_patient_counts_and_where_none_is_named_the_study(tmp_path: Path) -> None:
    groups = dataset_of(tmp_path, "path,PatientID,StudyInstanceUID,label", ROWS)
    assert groups == {"a.png": "P1", "b.png": "P1", "c.png": "1.2.3", "d.png": "1.2.3"}


def test_a_study_alone_counts(tmp_path: Path) -> None:
    rows = ["a.png,1.2.1,x", "b.png,1.2.1,y", "c.png,1.2.3,x"]
    groups = dataset_of(tmp_path, "path,StudyInstanceUID,label", rows)
    assert groups == {"a.png": "1.2.1", "b.png": "1.2.1", "c.png": "1.2.3"}


@pytest.mark.parametrize(
    ("header", "group_by", "group"),
    [
        ("path,PatientID,StudyInstanceUID,label", "StudyInstanceUID", "1.2.1"),
        ("path,PatientID,group,label", None, "1.2.1"),
        ("path,patient_id,age,label", None, ""),
    ],
)
def test_what_is_said_counts_more_and_other_tables_are_read_as_before(
    tmp_path: Path, header: str, group_by: str | None, group: str
) -> None:
    assert dataset_of(tmp_path, header, ROWS[:2], group_by)["a.png"] == group


def test_columns_of_marks_beside_patient_and_study_are_the_classes(tmp_path: Path) -> None:
    for name in "ab":
        PIL.Image.new("L", (4, 4), ord(name)).save(tmp_path / f"{name}.png")
    text = "path,PatientID,StudyInstanceUID,effusion,nodule\na.png,1,1.2.1,1,0\nb.png,0,1.2.2,0,1\n"
    (tmp_path / "list.csv").write_text(text)
    dataset = read_dataset(tmp_path / "list.csv")
    assert set(dataset.classes) == {"effusion", "nodule"}
    assert {s.group for s in dataset.samples} == {"0", "1"}
