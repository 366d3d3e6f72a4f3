"""Folders whose level is not clear: which one is the class, and which says something else."""

from pathlib import Path

import pytest

from pellucid.data.folder import read_dataset
from pellucid.errors import DataError
from pellucid.workflow.inspection import inspect_data


def plant(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


HOSPITALS = [f"hospital{h}/{c}/{h}.png" for h in "ABC" for c in ("healthy", "sick")]


@pytest.mark.parametrize("inside", ["", "archive/", "train/"])
def test_two_levels_may_be_the_classes(tmp_path: Path, inside: str) -> None:
    root = plant(tmp_path, *(inside + path for path in HOSPITALS))
    with pytest.raises(DataError, match="Which folders are the classes") as caught:
        read_dataset(root)
    assert "`merge=hospitalA=hospitalA` takes the upper ones, `positive='sick'` the lower ones" in str(caught.value)
    lower = read_dataset(root, positive="sick")
    assert lower.classes == ("healthy", "sick")
    assert all(lower.classes[s.label] in s.path.split("/") for s in lower.samples)
    assert any("read together" in note for note in lower.notes)
    upper = read_dataset(root, merge={"hospitalA": ["hospitalA"]})
    assert upper.classes == ("hospitalA", "hospitalB", "hospitalC")


def test_classes_of_a_model_say_the_level(tmp_path: Path) -> None:
    root = plant(tmp_path, *(f"k{k}/{c}/1.png" for k in (1, 2) for c in ("cat", "dog")))
    with pytest.raises(DataError, match="`positive='k2'` takes the upper ones, `positive='dog'`"):
        read_dataset(root)
    assert read_dataset(root, classes=["dog", "cat"]).classes == ("dog", "cat")
    assert read_dataset(root, classes=["k1", "k2"]).classes == ("k1", "k2")


@pytest.mark.parametrize("below", [("40X", "100X"), ("2019", "2020"), ("part1", "part2"), ("train", "test")])
def test_what_is_no_class_below_one(tmp_path: Path, below: tuple[str, str]) -> None:
    root = plant(tmp_path, *(f"{c}/{b}/1.png" for c in ("benign", "malignant") for b in below))
    assert read_dataset(root).classes == ("benign", "malignant")


def test_a_positive_class_does_not_turn_splits_into_classes(tmp_path: Path) -> None:
    root = plant(tmp_path, *(f"{s}/{c}/1.png" for s in ("train", "test") for c in ("control", "test")))
    assert read_dataset(root, positive="test").classes == ("control", "test")


def test_more_words_for_splits(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no class folders in its splits trn, tst"):
        read_dataset(plant(tmp_path / "flat", "trn/1.png", "tst/2.png"))
    paths = [f"{s}/{c}/1.png" for s in ("Training", "Testing", "Validating") for c in "ab"]
    assert set(read_dataset(plant(tmp_path / "three", *paths)).counts()) == {"train", "val", "test"}


def test_unlabelled_images_are_no_class(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"one class only, labeled: .* unlabeled"):
        read_dataset(plant(tmp_path / "flat", "labeled/1.png", "unlabeled/2.png"))
    dataset = read_dataset(plant(tmp_path / "two", "labeled/cat/1.png", "labeled/dog/1.png", "unlabeled/2.png"))
    assert dataset.classes == ("cat", "dog")
    assert any("unlabeled (1 file)" in note for note in dataset.notes)
    asked = plant(tmp_path / "asked", "good/1.png", "unlabeled/2.png")
    assert read_dataset(asked, classes=["good", "unlabeled"]).classes == ("good", "unlabeled")


def test_a_dead_link_is_named_where_one_class_is_left(tmp_path: Path) -> None:
    plant(tmp_path, "cat/1.png")
    try:
        (tmp_path / "dog").symlink_to(tmp_path / "nowhere")
    except OSError:
        pytest.skip("no links here")
    with pytest.raises(DataError, match=r"one class only, cat: .* Links that lead nowhere: dog"):
        read_dataset(tmp_path)


def test_a_split_without_class_folders_holds_images(tmp_path: Path) -> None:
    dataset = read_dataset(plant(tmp_path, "train/cat/1.png", "train/dog/1.png", "val/1.png", "val/2.png"))
    assert not any("hold no images" in note for note in dataset.notes)
    assert "Left out, because they lie in no class folder: the images of val (2 images)." in dataset.notes
    assert [s.code for s in dataset.skipped] == ["no-class-folder"] * 2


def test_a_class_that_holds_classes_needs_a_look(tmp_path: Path) -> None:
    import numpy as np
    import PIL.Image

    paths = [f"data/pets/cat/{i}.png" for i in range(3)] + [f"data/pets/dog/{i}.png" for i in range(3)]
    paths += ["docs/1.png", *(f"fire/{i}.png" for i in range(3))]
    for i, path in enumerate(paths):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 255, (40, 40, 3), np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / path)
    dataset = read_dataset(tmp_path)
    assert dataset.nested == (("data", ("pets/cat", "pets/dog")),)
    found = inspect_data(tmp_path).inspection
    assert [(f.level, "pets/cat, pets/dog" in f.text) for f in found.findings if f.topic == "Folders"] == [
        ("caution", True)
    ]


def test_folders_of_patients_need_no_look(tmp_path: Path) -> None:
    paths = [f"{c}/p{p}/{i}.png" for c, ps in (("ill", (1, 2)), ("well", (3, 4))) for p in ps for i in range(2)]
    assert read_dataset(plant(tmp_path, *paths)).nested == ()
