import csv
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.data.dataset import Dataset, Sample
from pellucid.data.fingerprint import Fingerprints, HalfArray
from pellucid.data.folder import read_dataset
from pellucid.data.layout import split_named
from pellucid.data.manifest import COLUMNS, read_checksums, read_split, write_split
from pellucid.errors import DataError


def table(root: Path, text: str, *files: str, name: str = "data.csv", encoding: str = "utf-8") -> Path:
    for i, path in enumerate(files):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"%d" % i)
    (root / name).write_bytes(text.encode(encoding))
    return root / name


FULL = "path,label,split,group,mask\nx/a.png,ok,Training,p1,\nx/b.png,bad,TEST,p2,m/b.png\nx/c.png,bad,,p1,\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (FULL, "utf-8"),
        (FULL, "utf-8-sig"),
        (FULL.replace(",", ";"), "utf-8"),
        (FULL.replace(",", "\t").replace("\n", "\r\n"), "utf-8"),
        (FULL.replace("path", "Path").replace("label", " LABEL "), "utf-8"),
        (FULL.replace("x/", "x\\"), "utf-8"),
        (FULL.replace("x/a", "./x/../x/a") + "\n,,,,\n", "utf-8"),
    ],
    ids=["plain", "bom", "semicolons", "tabs and CRLF", "case", "backslashes", "dots and blank lines"],
)
def test_a_csv_with_every_column(tmp_path: Path, text: str, encoding: str) -> None:
    dataset = read_dataset(table(tmp_path, text, "x/a.png", "x/b.png", "x/c.png", "m/b.png", encoding=encoding))
    assert dataset.root == tmp_path
    assert dataset.classes == ("ok", "bad")
    assert dataset.samples == (
        Sample("x/a.png", 0, "train", "p1"),
        Sample("x/b.png", 1, "test", "p2", "m/b.png"),
        Sample("x/c.png", 1, "", "p1"),
    )


def test_groups_come_from_a_column_or_from_the_path(tmp_path: Path) -> None:
    source = table(tmp_path, "path,label,Site,group\ns1_a.png,0,north,g\ns2_b.png,1,south,h\n", "s1_a.png", "s2_b.png")
    assert [s.group for s in read_dataset(source).samples] == ["g", "h"]
    assert [s.group for s in read_dataset(source, group_by="site").samples] == ["north", "south"]
    assert [s.group for s in read_dataset(source, group_by=r"s(\d)").samples] == ["1", "2"]


def test_options_hold_for_a_csv_as_well(tmp_path: Path) -> None:
    text = "path,label\na.png,covid\nb.png,pneumonia\nc.png,normal\n"
    source = table(tmp_path, text, "a.png", "b.png", "c.png")
    dataset = read_dataset(source, merge={"ill": ["covid", "pneumonia"]}, positive="normal")
    assert dataset.classes == ("ill", "normal")
    (tmp_path / "boxes.json").write_text('{"a.png": [[0, 0, 1, 1]]}')
    assert read_dataset(source).samples[0].boxes == ((0, 0, 1, 1),)


def test_absolute_paths_are_made_relative_where_they_lie_below(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/b.png").touch()
    root = tmp_path / "root"
    root.mkdir()
    text = f"path,label\n{root}/a.png,0\n{tmp_path}/out/b.png,1\n../out/b.png,1\n"
    dataset = read_dataset(table(root, text, "a.png"))
    assert [s.path for s in dataset.samples] == ["../out/b.png", (tmp_path / "out/b.png").as_posix(), "a.png"]
    assert all(dataset.file(s).is_file() for s in dataset.samples)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: it needs a first line path,label"),
        ("path,label\n", "lists no images"),
        ("stem,label\na,x\n", "has no column path, only stem, label: name the column of the files by `path_column=`"),
        ("path,size,depth\na.png,3,4\n", "has no column label, only path, size, depth: .* `label_column=`"),
        ("path,label\na.png,\nb.png,nan\n", "lists no images with a label"),
        ("path,label\na.png,x\nc.png,y\n", "`images=`"),
        ("path,label\na.png,x\n ,y\n", "line 3: the path is blank"),
        ("path,label,split\na.png,x,trian\n", "line 2: the split 'trian' is unknown; did you mean train?"),
        ("path,label,split\na.png,x,7\n", "write train, val, test or nothing"),
        (
            "path,label\na.png,x\nz.png,y\n",
            r"1 of 2 files listed in .* are not there \(z.png\): paths are taken relative",
        ),
        ("path,label,mask\na.png,x,m.png\nb.png,y,\n", r"1 of 3 files .* \(m.png\)"),
        ("path,label\na.png,x\nb.png,y\na.png,y\n", "line 4: a.png is listed before with another label"),
        ('path,label\n"a.png,x\n', "cannot be read as a CSV file"),
        ("path,label\na.png,x\nb.png,x\n", "one class only, x"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_dataset(table(tmp_path, text, "a.png", "b.png"))


def test_a_table_in_another_encoding(tmp_path: Path) -> None:
    source = table(tmp_path, "path,label\na.png,\u00e9t\u00e9\n", "a.png", encoding="latin-1")
    with pytest.raises(DataError, match="as a CSV file in UTF-8"):
        read_dataset(source)


def test_a_row_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    dataset = read_dataset(table(tmp_path, "path,label\na.png,x\nb.png,y\na.png,x\n", "a.png", "b.png"))
    assert len(dataset) == 2
    assert [(s.path, s.reason) for s in dataset.skipped] == [("a.png", "listed again in line 4")]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(("Train", "train"), ("TRAINING", "train"), ("train_data", "train"), ("augmented_data", "train")),
        *(("traindata", "train"), ("Training Set", "train"), ("val", "val"), ("Valid", "val"), ("validation", "val")),
        *(("validation-set", "val"), ("test_data", "test"), ("Testing", "test"), ("testset", "test"), ("TEST", "test")),
        *(("tests", None), ("trains", None), ("cat", None), ("", None), ("data", None), ("original_data", None)),
    ],
)
def test_names_of_splits(name: str, split: str | None) -> None:
    assert split_named(name) == split


def dataset_with_everything(root: Path) -> Dataset:
    names = ["a, b.png", 'quo"te.png', "\u732b/\u5199\u771f.png", "z.png"]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    (root / "boxes.json").write_text('{"z.png": [[1, 2, 3, 4]]}')
    return Dataset(
        root,
        ("sick", "normal"),
        (
            Sample(names[0], 0, "train", "p 1"),
            Sample(names[1], 1, "val", "", "z.png"),
            Sample(names[3], 0, "", "\u60a3\u8005", boxes=((1, 2, 3, 4),)),
            Sample(names[2], 1, "test"),
        ),
    )


def test_a_split_is_read_as_it_was_written(tmp_path: Path) -> None:
    dataset = dataset_with_everything(tmp_path / "data")
    written = tmp_path / "run/split.csv"
    write_split(written, dataset)
    again = read_split(written, dataset.root, dataset.classes)
    assert again.classes == dataset.classes
    assert again.samples == tuple(sorted(dataset.samples, key=lambda s: s.path))
    assert read_split(written, dataset.root).classes == ("normal", "sick")
    assert list(written.parent.iterdir()) == [written]


def test_the_file_holds_the_columns_and_checksums_promised(tmp_path: Path) -> None:
    dataset = dataset_with_everything(tmp_path)
    write_split(tmp_path / "split.csv", dataset)
    with (tmp_path / "split.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS == ("path", "label", "split", "group", "mask", "sha256")
    for row in rows:
        assert row["sha256"] == hashlib.sha256(row["path"].encode()).hexdigest()
    assert read_checksums(tmp_path / "split.csv") == {row["path"]: row["sha256"] for row in rows}
    assert read_split(tmp_path / "split.csv").samples[0].group == "p 1"


def test_checksums_of_fingerprints_are_used(tmp_path: Path, thumbnails: HalfArray) -> None:
    dataset = dataset_with_everything(tmp_path)
    paths = tuple(s.path for s in dataset.samples)
    write_split(tmp_path / "split.csv", dataset, Fingerprints(paths, ("1", "2", "3", "4"), thumbnails, {}))
    assert read_checksums(tmp_path / "split.csv") == dict(zip(paths, "1234", strict=True))


@pytest.fixture
def thumbnails() -> HalfArray:
    import numpy as np

    return np.zeros((4, 32, 32), np.float16)


def test_the_order_of_samples_does_not_change_the_file(tmp_path: Path) -> None:
    dataset = dataset_with_everything(tmp_path)
    write_split(tmp_path / "1.csv", dataset)
    write_split(tmp_path / "2.csv", replace(dataset, samples=dataset.samples[::-1]))
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()


def test_a_split_without_its_images_says_where_it_looked(tmp_path: Path) -> None:
    dataset = dataset_with_everything(tmp_path / "data")
    write_split(tmp_path / "split.csv", dataset)
    with pytest.raises(DataError, match=r"are not there .* paths are taken relative to"):
        read_split(tmp_path / "split.csv")
    with pytest.raises(DataError, match="no columns path and sha256"):
        read_checksums(table(tmp_path, "path,label\nx,y\n", name="other.csv"))
