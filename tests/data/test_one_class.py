"""Layouts of anomaly datasets, and what says which images are normal."""

from pathlib import Path

import pytest
from PIL import Image

from pellucid.data.dataset import Dataset
from pellucid.data.one_class import defect_kind, read_one_class, says
from pellucid.errors import DataError


def write(root: Path, *paths: str) -> Path:
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(file)
    return root


def facts(dataset: Dataset) -> dict[str, tuple[str, str, str | None]]:
    return {s.path: (dataset.classes[s.label], s.split, s.mask) for s in dataset.samples}


def test_mvtec_ad(tmp_path: Path) -> None:
    write(
        tmp_path, "bottle/train/good/000.png", "bottle/train/good/001.png", "bottle/test/good/000.png",
        "bottle/test/crack/000.png", "bottle/test/hole/000.png", "bottle/ground_truth/crack/000_mask.png",
        "bottle/ground_truth/hole/000_mask.png",
    )  # fmt: skip
    (tmp_path / "bottle" / "license.txt").write_text("text")
    for root, before in ((tmp_path, "bottle/"), (tmp_path / "bottle", "")):
        dataset = read_one_class(root)
        assert dataset.classes == ("good", "anomalous")
        assert facts(dataset) == {
            f"{before}train/good/000.png": ("good", "train", None),
            f"{before}train/good/001.png": ("good", "train", None),
            f"{before}test/good/000.png": ("good", "test", None),
            f"{before}test/crack/000.png": ("anomalous", "test", f"{before}ground_truth/crack/000_mask.png"),
            f"{before}test/hole/000.png": ("anomalous", "test", f"{before}ground_truth/hole/000_mask.png"),
        }


def test_visa(tmp_path: Path) -> None:
    write(
        tmp_path, "candle/Data/Images/Normal/0000.JPG", "candle/Data/Images/Anomaly/000.JPG",
        "candle/Data/Masks/Anomaly/000.png",
    )  # fmt: skip
    (tmp_path / "candle" / "image_anno.csv").write_text("image,label,mask\n")
    dataset = read_one_class(tmp_path / "candle")
    assert facts(dataset) == {
        "Data/Images/Normal/0000.JPG": ("Normal", "", None),
        "Data/Images/Anomaly/000.JPG": ("anomalous", "", "Data/Masks/Anomaly/000.png"),
    }


def test_folders_of_anomalib(tmp_path: Path) -> None:
    write(tmp_path, "good/00.jpg", "good_test/01.jpg", "crack/00.jpg", "colour/00.jpg", "mask/crack/00.jpg")
    dataset = read_one_class(tmp_path)
    assert facts(dataset) == {
        "good/00.jpg": ("good", "", None),
        "good_test/01.jpg": ("good", "test", None),
        "crack/00.jpg": ("anomalous", "test", "mask/crack/00.jpg"),
        "colour/00.jpg": ("anomalous", "test", None),
    }


def test_images_and_masks_side_by_side(tmp_path: Path) -> None:
    write(tmp_path, "images/normal/a.jpg", "images/anomalous/b.jpg", "masks/anomalous/b.png")
    assert facts(read_one_class(tmp_path)) == {
        "images/normal/a.jpg": ("normal", "", None),
        "images/anomalous/b.jpg": ("anomalous", "", "masks/anomalous/b.png"),
    }


def test_normal_images_alone(tmp_path: Path) -> None:
    for paths in (("a.png", "b.png"), ("tiles/a.png", "tiles/b.png"), ("train/a.png", "train/b.png")):
        root = write(tmp_path / str(len(list(tmp_path.iterdir()))), *paths)
        dataset = read_one_class(root)
        assert [s.label for s in dataset.samples] == [0, 0]
        assert any("none is bad" in note for note in dataset.notes)


def test_a_train_folder_of_one_class_is_normal_whatever_its_name(tmp_path: Path) -> None:
    write(tmp_path, "train/type_a/0.png", "test/type_a/1.png", "test/type_b/2.png")
    assert {p: f[0] for p, f in facts(read_one_class(tmp_path)).items()} == {
        "train/type_a/0.png": "type_a", "test/type_a/1.png": "type_a", "test/type_b/2.png": "anomalous",
    }  # fmt: skip


def test_bad_images_of_the_training_folder_go_to_the_test(tmp_path: Path) -> None:
    write(tmp_path, "train/good/0.png", "train/broken/1.png", "test/good/2.png")
    dataset = read_one_class(tmp_path)
    assert facts(dataset)["train/broken/1.png"] == ("anomalous", "test", None)
    assert "Nothing is learnt from them" in dataset.notes[0]


def test_names_of_files_that_say_bad_are_told(tmp_path: Path) -> None:
    write(tmp_path, "good/defect_01.png", "good/defect_free_02.png", "good/03.png")
    dataset = read_one_class(tmp_path)
    assert "1 normal image say bad (good/defect_01.png)" in dataset.notes[0]


def test_a_table(tmp_path: Path) -> None:
    write(tmp_path, "a.png", "b.png", "c.png")
    (tmp_path / "list.csv").write_text("path,label,split\na.png,ok,train\nb.png,ok,test\nc.png,dent,test\n")
    assert {p: f[:2] for p, f in facts(read_one_class(tmp_path / "list.csv")).items()} == {
        "a.png": ("ok", "train"), "b.png": ("ok", "test"), "c.png": ("anomalous", "test"),
    }  # fmt: skip


def test_names_that_do_not_say_are_asked_for(tmp_path: Path) -> None:
    write(tmp_path, "one/0.png", "two/1.png")
    with pytest.raises(DataError, match=r"are normal\? The names one, two do not say"):
        read_one_class(tmp_path)
    dataset = read_one_class(tmp_path, normal="two")
    assert {s.path: s.label for s in dataset.samples} == {"one/0.png": 1, "two/1.png": 0}
    with pytest.raises(DataError, match="no folder of normal images named 'three'"):
        read_one_class(tmp_path, normal="three")


def test_several_objects_are_one_too_many(tmp_path: Path) -> None:
    write(tmp_path, "bottle/train/good/0.png", "cable/train/good/0.png", "cable/test/cut/0.png")
    with pytest.raises(DataError, match=r"several objects \(bottle, cable\)"):
        read_one_class(tmp_path)


def test_bad_images_alone_are_nothing_to_learn_from(tmp_path: Path) -> None:
    write(tmp_path, "defect/0.png", "defect/1.png")
    with pytest.raises(DataError, match="a name that says bad"):
        read_one_class(tmp_path)
    assert read_one_class(tmp_path, normal="defect").labels.tolist() == [0, 0]


def test_nothing_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images"):
        read_one_class(tmp_path)
    with pytest.raises(DataError, match="no folder or CSV"):
        read_one_class(tmp_path / "absent")


@pytest.mark.parametrize(
    ("name", "said"),
    [("good", "normal"), ("OK", "normal"), ("defect_free", "normal"), ("no_defect", "normal"), ("notBroken", "normal"),
     ("bad", "bad"), ("Anomaly", "bad"), ("crack", "bad"), ("type_a", "")],
)  # fmt: skip
def test_what_a_name_says(name: str, said: str) -> None:
    assert says(name) == said


def test_kinds_of_defects_are_folders() -> None:
    assert defect_kind("test/crack/0.png") == "crack"
    assert defect_kind("images/anomalous/x.jpg") == "anomalous"
    assert defect_kind("x.jpg") == "anomalous"
