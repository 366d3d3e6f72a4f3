"""Tables as the public data sets write them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from tests.data.test_folder import plant
from tests.data.test_manifest import table

from pellucid.data.dataset import Dataset
from pellucid.data.folder import read_dataset
from pellucid.data.table import TableOptions, label_sets, open_table
from pellucid.errors import DataError


def classes_of(dataset: Dataset) -> dict[str, str]:
    return {s.path: dataset.classes[s.label] for s in dataset.samples}


@pytest.mark.parametrize(
    ("text", "header", "first"),
    [
        ("path,label\na.png,x\n", ["path", "label"], ["a.png", "x"]),
        ("sep=;\npath;label\na.png;x\n", ["path", "label"], ["a.png", "x"]),
        ("path\tlabel\na.png\tx y\n", ["path", "label"], ["a.png", "x y"]),
        ("Image Index,Finding Labels\n1.png,A|B\n", ["Image Index", "Finding Labels"], ["1.png", "A|B"]),
        ("path|label\na.png|x\n", ["path", "label"], ["a.png", "x"]),
        ("images/cell0001.png  1.0  mono\nimages/cell0002.png  0.0  poly\n", ["1", "2", "3"],
         ["images/cell0001.png", "1.0", "mono"]),
        ("a.png,x\nb.png,y\n", ["1", "2"], ["a.png", "x"]),
        ("my cat 1.png\nmy cat 2.png\n", ["1"], ["my cat 1.png"]),
        ('path;label\n"a;1.png";x\n', ["path", "label"], ["a;1.png", "x"]),
        ("path; label\na.png; x\n", ["path", "label"], ["a.png", "x"]),
        ("path,label\r\n\r\na.png,x\r\n", ["path", "label"], ["a.png", "x"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_separators_and_headers(text: str, header: list[str], first: list[str], encoding: str) -> None:
    found = open_table(io.BytesIO(text.encode(encoding)))
    assert found.header == header
    assert next(found.rows)[1] == first


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["Effusion|Mass", "Mass"], [("Effusion", "Mass"), ("Mass",)]),
        (["Effusion; Mass", "Mass"], [("Effusion", "Mass"), ("Mass",)]),
        (["Effusion,Mass", "Effusion"], [("Effusion", "Mass"), ("Effusion",)]),
        (["cat, wild", "cat, tame"], [("cat, wild",), ("cat, tame",)]),
        (["cat/dog", "cat", "dog"], [("cat", "dog"), ("cat",), ("dog",)]),
        (["n/a", "w/o mask", "mask"], [(), ("w/o mask",), ("mask",)]),
        (["golden retriever", "golden"], [("golden retriever",), ("golden",)]),
        (["haze primary", "haze", "primary"], [("haze", "primary"), ("haze",), ("primary",)]),
        (["['nodule', 'mass']", "['mass']"], [("nodule", "mass"), ("mass",)]),
        (["nan", "", "NaN", "NULL", "NA", "none"], [(), (), (), (), (), ("none",)]),
        (["A|", "|"], [("A",), ()]),
    ],
)
def test_labels_of_a_cell(cells: list[str], expected: list[tuple[str, ...]]) -> None:
    assert label_sets(cells) == expected


def test_ham10000(tmp_path: Path) -> None:
    """Ids without a suffix, and images in two folders."""
    plant(tmp_path, "HAM10000_images_part_1/ISIC_1.jpg", "HAM10000_images_part_2/ISIC_2.jpg")
    text = "lesion_id,image_id,dx,dx_type\nHAM_1,ISIC_1,bkl,histo\nHAM_1,ISIC_2,nv,histo\n"
    dataset = read_dataset(table(tmp_path, text, name="HAM10000_metadata.csv"))
    assert classes_of(dataset) == {
        "HAM10000_images_part_1/ISIC_1.jpg": "bkl",
        "HAM10000_images_part_2/ISIC_2.jpg": "nv",
    }
    assert any("column image_id, classes from column dx" in note for note in dataset.notes)
    assert any("`group_by='lesion_id'`" in note for note in dataset.notes)


def test_elpv(tmp_path: Path) -> None:
    """White space, no header, a probability as the class."""
    plant(tmp_path, *(f"images/cell000{i}.png" for i in range(3)))
    text = "images/cell0000.png  1.0   mono\nimages/cell0001.png  0.0   poly\nimages/cell0002.png  1.0   mono\n"
    source = table(tmp_path, text, name="labels.csv")
    assert set(classes_of(read_dataset(source)).values()) == {"0.0", "1.0"}
    assert set(classes_of(read_dataset(source, table=TableOptions(label_column="3"))).values()) == {"mono", "poly"}


NIH = (
    "Image Index,Finding Labels,Follow-up #,Patient ID\n"
    "1.png,No Finding,0,1\n2.png,Effusion|Mass,0,2\n3.png,Effusion,1,2\n"
)


def test_nih_chest_films(tmp_path: Path) -> None:
    plant(tmp_path, "images_001/images/1.png", "images_001/images/2.png", "images_002/images/3.png")
    source = table(tmp_path, NIH, name="Data_Entry_2017.csv")
    with pytest.raises(
        DataError, match=r"1 of 3 images .* several classes .*2.png: Effusion and Mass.*one_against_rest"
    ):
        read_dataset(source)
    dataset = read_dataset(source, one_against_rest="effusion")
    assert dataset.classes == ("not Effusion", "Effusion")
    assert [s.label for s in dataset.samples] == [0, 1, 1]
    again = read_dataset(source, classes=["not Effusion", "Effusion"])
    assert [s.label for s in again.samples] == [0, 1, 1]
    assert [s.group for s in read_dataset(source, one_against_rest="Mass", group_by="patient id").samples] == [
        "1",
        "2",
        "2",
    ]


def test_one_row_for_each_label_of_an_image(tmp_path: Path) -> None:
    source = table(tmp_path, "path,label\na.png,x\na.png,y\nb.png,z\n", "a.png", "b.png")
    with pytest.raises(DataError, match=r"listed before with another label.*one_against_rest"):
        read_dataset(source)
    assert [s.label for s in read_dataset(source, one_against_rest="y").samples] == [1, 0]


def test_columns_of_0_and_1(tmp_path: Path) -> None:
    text = "image,MEL,NV,BCC\nISIC_1,1.0,0.0,0.0\nISIC_2,0.0,1.0,0.0\nISIC_3,0.0,0.0,1.0\nISIC_4,0.0,0.0,0.0\n"
    plant(tmp_path, *(f"images/ISIC_{i}.jpg" for i in (1, 2, 3, 4)))
    source = table(tmp_path, text)
    dataset = read_dataset(source)
    assert list(classes_of(dataset).values()) == ["MEL", "NV", "BCC"]
    assert [(s.code, s.files) for s in dataset.skipped] == [("no-label", 1)]
    assert [s.label for s in read_dataset(source, one_against_rest="NV").samples] == [0, 1, 0, 0]
    two = read_dataset(source, table=TableOptions(label_column="MEL,NV"))
    assert list(classes_of(two).values()) == ["MEL", "NV"]
    (tmp_path / "data.csv").write_text(text + "ISIC_1,1.0,1.0,0.0\n")
    with pytest.raises(DataError, match="listed before with another label"):
        read_dataset(source)


def test_columns_and_folder_can_be_named(tmp_path: Path) -> None:
    plant(tmp_path / "films", "a.png", "deep/b.png")
    text = "who,what,how\na,cat,1\nb,dog,2\n"
    (tmp_path / "lists").mkdir()
    source = table(tmp_path / "lists", text)
    options = TableOptions("who", "WHAT", tmp_path / "films")
    dataset = read_dataset(source, table=options)
    assert [Path(s.path).name for s in dataset.samples] == ["a.png", "b.png"]
    assert all(dataset.file(s).is_file() for s in dataset.samples)
    with pytest.raises(DataError, match=r"has no column 'whom': did you mean `path_column='who'`\?"):
        read_dataset(source, table=TableOptions("whom", "what", tmp_path / "films"))
    with pytest.raises(DataError, match=r"go with a table .* is a folder"):
        read_dataset(tmp_path, table=options)


def test_a_name_in_two_folders_is_not_guessed(tmp_path: Path) -> None:
    plant(tmp_path, "one/a.png", "two/a.png", "two/b.png")
    source = table(tmp_path, "id,label\na,x\nb,y\n")
    with pytest.raises(DataError, match=r"line 2 names a, and there are several .*one/a.png, two/a.png.*`images=`"):
        read_dataset(source)
    assert len(read_dataset(source, table=TableOptions(images=tmp_path / "two"))) == 2


def test_a_path_in_another_folder_is_not_guessed(tmp_path: Path) -> None:
    plant(tmp_path, "one/a.png", "one/b.png")
    with pytest.raises(DataError, match=r"1 of 2 files listed .* are not there"):
        read_dataset(table(tmp_path, "path,label\ntwo/a.png,x\none/b.png,y\n"))
    elsewhere = table(tmp_path, "path,label\n/kaggle/input/one/a.png,x\nC:\\data\\one\\b.png,y\n")
    assert [s.path for s in read_dataset(elsewhere).samples] == ["one/a.png", "one/b.png"]


def test_rows_without_a_label_are_left_out_and_counted(tmp_path: Path) -> None:
    source = table(tmp_path, "path,label\na.png,x\nb.png,y\nc.png,\nd.png,nan\n", "a.png", "b.png", "c.png")
    dataset = read_dataset(source)
    assert dataset.classes == ("x", "y")
    assert "Rows without a label were left out: 2, for example c.png." in dataset.notes
    assert [(s.code, s.files) for s in dataset.skipped] == [("no-label", 2)]


def test_a_list_of_paths_and_labels_without_suffix_csv(tmp_path: Path) -> None:
    source = table(tmp_path, "a.png 0\nb.png 1\n", "a.png", "b.png", name="train.txt")
    assert classes_of(read_dataset(source)) == {"a.png": "0", "b.png": "1"}
