"""Tables that state the split under another name, and labels that may be none."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from pellucid.data.dataset import Dataset
from pellucid.data.folder import read_dataset
from pellucid.data.split import split_dataset
from pellucid.errors import DataError


def listed(root: Path, header: str, rows: Sequence[str]) -> Path:
    """A table with an empty file 0.png, 1.png, ... for each row; the path is put before the row."""
    for i in range(len(rows)):
        (root / f"{i}.png").touch()
    (root / "data.csv").write_text("\n".join([f"path,{header}", *(f"{i}.png,{row}" for i, row in enumerate(rows))]))
    return root / "data.csv"


def splits(dataset: Dataset) -> list[str]:
    return [s.split for s in dataset.samples]


def with_labels(values: Sequence[object]) -> list[str]:
    return [f"{'ab'[i % 2]},{value}" for i, value in enumerate(values)]


def about_column(dataset: Dataset, name: str) -> list[str]:
    return [note for note in dataset.notes if f"olumn {name}" in note]


WORDS = (["train", "TRAIN", "Training", "VALID", "val", "test"], ["train"] * 3 + ["val"] * 2 + ["test"])


@pytest.mark.parametrize(
    "name",
    ["set", "subset", "phase", "usage", "Usage", "partition", "dataset", "mode", "split_name", "data_type", "purpose"],
)
def test_a_split_is_taken_whatever_its_column_is_called(tmp_path: Path, name: str) -> None:
    dataset = read_dataset(listed(tmp_path, f"label,{name}", with_labels(WORDS[0])))
    assert splits(dataset) == WORDS[1]
    assert about_column(dataset, name) == [f"The split was taken from column {name}."]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["Training", "Training", "PublicTest", "PrivateTest"], ["train", "train", "test", "test"]),
        (["train", "train", "id_val", "val(id)"], ["train", "train", "val", "val"]),
        (["train", "", "test", ""], ["train", "", "test", ""]),
    ],
)
def test_words_of_known_sets(tmp_path: Path, values: list[str], expected: list[str]) -> None:
    assert splits(read_dataset(listed(tmp_path, "label,Usage", with_labels(values)))) == expected


@pytest.mark.parametrize(("name", "values"), [("is_training_img", [0, 1, 0, 1]), ("fold", [0, 1, 2, 0])])
def test_what_only_looks_like_a_split_is_named(tmp_path: Path, name: str, values: list[int]) -> None:
    dataset = read_dataset(listed(tmp_path, f"label,{name}", with_labels(values)))
    assert set(splits(dataset)) == {""}
    (note,) = about_column(dataset, name)
    assert "was not used" in note
    assert "name it split" in note


def test_other_columns_are_passed_over_in_silence(tmp_path: Path) -> None:
    rows = [f"{'ab'[i % 2]},site{i},trainee,{i}" for i in range(4)]
    dataset = read_dataset(listed(tmp_path, "label,site,role,age", rows))
    assert set(splits(dataset)) == {""}
    assert not about_column(dataset, "")


def test_a_column_named_split_goes_before_another(tmp_path: Path) -> None:
    rows = [f"{'ab'[i % 2]},{s},{'test'}" for i, s in enumerate(["train", "train", "test", "val"])]
    dataset = read_dataset(listed(tmp_path, "label,split,phase", rows))
    assert splits(dataset) == ["train", "train", "test", "val"]
    assert not about_column(dataset, "phase")


def test_of_two_columns_the_second_is_named_where_it_differs(tmp_path: Path) -> None:
    dataset = read_dataset(listed(tmp_path, "label,phase,set", ["a,train,train", "b,test,train", "a,test,test"]))
    assert splits(dataset) == ["train", "train", "test"]
    assert "names other splits" in about_column(dataset, "phase")[0]


def test_a_split_is_no_class(tmp_path: Path) -> None:
    dataset = read_dataset(listed(tmp_path, "usage,kind", ["train,cat", "test,dog", "train,dog"]))
    assert (dataset.classes, splits(dataset)) == (("cat", "dog"), ["train", "test", "train"])
    with pytest.raises(DataError, match="no column label"):
        read_dataset(listed(tmp_path, "usage", ["train", "test"]))
    marked = read_dataset(listed(tmp_path, "cat,dog,fold,is_train", ["1,0,0,0", "0,1,1,1"]))
    assert marked.classes == ("cat", "dog")


def test_marks_for_no_label(tmp_path: Path) -> None:
    dataset = read_dataset(listed(tmp_path, "label", ["a", "b", "?", "-", "None", "unknown"]))
    assert dataset.classes == ("None", "a", "b", "unknown")
    assert [(s.code, s.files) for s in dataset.skipped] == [("no-label", 2)]
    (note,) = [n for n in dataset.notes if "None and unknown are taken as classes" in n]
    assert "`leave_out=None`" in note


def test_plus_and_minus_are_classes(tmp_path: Path) -> None:
    assert set(read_dataset(listed(tmp_path, "label", ["+", "-", "+", "?"])).classes) == {"+", "-"}


@pytest.mark.parametrize("values", [["0.11", "0.23", "0.35", "1.7", "2.9", "3.1"], ["12", "7", "130", "45", "66", "9"]])
def test_measured_numbers_are_no_classes(tmp_path: Path, values: list[str]) -> None:
    source = listed(tmp_path, "label", values)
    for i in range(6):
        pixels = np.random.default_rng(i).integers(0, 255, (40, 40, 3), np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    dataset = read_dataset(source)
    assert any("labels are numbers" in note for note in dataset.notes) == ("." in values[0])
    with pytest.raises(DataError, match="hold numbers, not classes") as caught:
        split_dataset(dataset, seed=0)
    assert "leave_out" not in str(caught.value)


def test_a_regression_of_measured_numbers_says_what_to_do(tmp_path: Path) -> None:
    from pellucid.recipe import load_recipe
    from pellucid.workflow.preparing import read_labelled

    for i in range(6):
        (tmp_path / f"{i}.png").touch()
    with pytest.raises(DataError, match="Divide the values into classes"):
        read_labelled(listed(tmp_path, "label", ["1", "2", "3", "1", "2", "3"]), load_recipe("anomaly-score"))


def test_several_files_of_one_name_are_told_without_a_parameter(tmp_path: Path) -> None:
    from pellucid.data.table import ImageFiles, UnusableTable

    for suffix in ("tif", "jpe", "apng"):
        (tmp_path / f"f.{suffix}").touch()
    with pytest.raises(UnusableTable, match="write its folder and its extension") as caught:
        ImageFiles(tmp_path).find("f")
    assert "`" not in str(caught.value)


def test_data_without_a_known_class(tmp_path: Path) -> None:
    source = listed(tmp_path, "label", ["a", "b"])
    with pytest.raises(DataError, match="Rename the folders or labels of the data to the names asked for"):
        read_dataset(source, classes=["cat", "dog"])
