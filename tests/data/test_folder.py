import json
import os
import time
from pathlib import Path

import pytest

from pellucid.data.dataset import Dataset
from pellucid.data.folder import read_dataset
from pellucid.data.walk import walk
from pellucid.errors import DataError


def plant(root: Path, *paths: str) -> Path:
    """Empty files: reading a layout opens no image."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def found(dataset: Dataset) -> dict[str, tuple[str, str]]:
    return {s.path: (s.split, dataset.classes[s.label]) for s in dataset.samples}


def skipped(dataset: Dataset) -> dict[str, str]:
    return {s.path: s.reason for s in dataset.skipped}


LAYOUTS = {
    "class folders": {"cat/1.jpg": ("", "cat"), "dog/1.JPEG": ("", "dog")},
    "splits in any case": {
        "TRAIN/cat/1.jpg": ("train", "cat"),
        "TRAIN/dog/1.jpg": ("train", "dog"),
        "Val/cat/2.jpg": ("val", "cat"),
        "test/dog/3.jpg": ("test", "dog"),
    },
    "other names of splits": {
        "training/cat/1.jpg": ("train", "cat"),
        "valid/dog/1.jpg": ("val", "dog"),
        "Testing/dog/1.jpg": ("test", "dog"),
    },
    "scratch-cnn": {
        "augmented_data/healthy/1.png": ("train", "healthy"),
        "augmented_data/ill/1.png": ("train", "ill"),
        "validation/healthy/2.png": ("val", "healthy"),
        "validation/ill/2.png": ("val", "ill"),
        "test_data/healthy/3.png": ("test", "healthy"),
        "test_data/ill/3.png": ("test", "ill"),
    },
    "deeper than a class": {"cat/a/b/1.jpg": ("", "cat"), "cat/2.jpg": ("", "cat"), "dog/c/3.jpg": ("", "dog")},
    "deeper than a class in a split": {"train/cat/a/1.jpg": ("train", "cat"), "train/dog/2.jpg": ("train", "dog")},
    "an unpacked archive": {
        "chest_xray/train/NORMAL/1.jpeg": ("train", "NORMAL"),
        "chest_xray/test/PNEUMONIA/1.jpeg": ("test", "PNEUMONIA"),
    },
    "images and class": {"images/cat/1.jpg": ("", "cat"), "images/dog/1.jpg": ("", "dog")},
    "images and split": {"images/train/cat/1.jpg": ("train", "cat"), "images/val/dog/1.jpg": ("val", "dog")},
    "images below the class": {"COVID/images/1.png": ("", "COVID"), "Normal/images/1.png": ("", "Normal")},
    "split below the class": {"cat/train/1.jpg": ("train", "cat"), "dog/test/1.jpg": ("test", "dog")},
    "a class named test": {"test/1.jpg": ("", "test"), "control/1.jpg": ("", "control")},
    "Eval beside Train": {
        "Train/cat/1.jpg": ("train", "cat"),
        "Train/dog/1.jpg": ("train", "dog"),
        "Eval/dog/1.jpg": ("val", "dog"),
    },
    "an archive of Kaggle's": {
        "training_set/training_set/cats/1.jpg": ("train", "cats"),
        "training_set/training_set/dogs/1.jpg": ("train", "dogs"),
        "test_set/test_set/cats/2.jpg": ("test", "cats"),
        "test_set/test_set/dogs/2.jpg": ("test", "dogs"),
    },
    "an archive with its name in every folder": {
        "seg_train/seg_train/sea/1.jpg": ("train", "sea"),
        "seg_train/seg_train/ice/1.jpg": ("train", "ice"),
        "seg_test/seg_test/ice/2.jpg": ("test", "ice"),
    },
    "another folder in each split": {
        "Train/Train_Alphabet/a/1.jpg": ("train", "a"),
        "Train/Train_Alphabet/b/1.jpg": ("train", "b"),
        "Test/Test_Alphabet/b/1.jpg": ("test", "b"),
    },
    "years of splits": {
        "train2017/cat/1.jpg": ("train", "cat"),
        "train2017/dog/1.jpg": ("train", "dog"),
        "val2017/cat/2.jpg": ("val", "cat"),
    },
    "folds": {f"fold{i}/{c}/{i}.jpg": ("", c) for i in (1, 2, 3) for c in ("a", "b")},
    "years": {f"{y}/{c}/{y}.jpg": ("", c) for y in (2019, 2020, 2021) for c in ("mass", "normal")},
    "days": {f"2024-05-0{d}/{c}/1.jpg": ("", c) for d in (1, 2) for c in ("ok", "scratch")},
    "parts": {f"part_{i}/{c}/1.jpg": ("", c) for i in (1, 2) for c in ("a", "b")},
    "folds and a test set": {
        "fold_1/a/1.jpg": ("", "a"),
        "fold_2/b/1.jpg": ("", "b"),
        "test/a/2.jpg": ("test", "a"),
        "test/b/2.jpg": ("test", "b"),
    },
    "split and class in one name": {
        "trainA/1.jpg": ("train", "A"),
        "trainB/1.jpg": ("train", "B"),
        "testA/2.jpg": ("test", "A"),
        "testB/2.jpg": ("test", "B"),
    },
    "class and split in one name": {
        "cats_train/1.jpg": ("train", "cats"),
        "dogs_train/1.jpg": ("train", "dogs"),
        "cats_val/2.jpg": ("val", "cats"),
    },
    "a class named train": {"train/1.jpg": ("", "train"), "bus/1.jpg": ("", "bus"), "car/1.jpg": ("", "car")},
    "a class named train in splits": {
        **{f"train/{c}/1.jpg": ("train", c) for c in ("train", "bus", "car")},
        **{f"val/{c}/2.jpg": ("val", c) for c in ("train", "bus", "car")},
    },
    "a class named train above splits": {
        f"{c}/{s}/1.jpg": (s, c) for c in ("train", "bus", "car") for s in ("train", "test")
    },
    "valid and invalid": {"valid/1.jpg": ("", "valid"), "invalid/1.jpg": ("", "invalid")},
    "numbered classes": {f"c{i}/1.jpg": ("", f"c{i}") for i in range(3)},
    "digits": {f"{i}/1.jpg": ("", str(i)) for i in range(10)},
    "coins": {f"{i}/1.jpg": ("", str(i)) for i in (500, 1000, 2000)},
    "any script": {
        "\u732b \u3068/\u5199\u771f 1.png": ("", "\u732b \u3068"),
        "\u0441\u043e\u0431\u0430\u043a\u0430/\U0001f415.webp": ("", "\u0441\u043e\u0431\u0430\u043a\u0430"),
    },
    "the same name in two classes": {"cat/1.bmp": ("", "cat"), "dog/1.bmp": ("", "dog"), "dog/1.tif": ("", "dog")},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_layouts(tmp_path: Path, layout: dict[str, tuple[str, str]]) -> None:
    dataset = read_dataset(plant(tmp_path, *layout))
    assert found(dataset) == layout
    assert not dataset.skipped
    assert [s.path for s in dataset.samples] == sorted(layout)
    assert all(dataset.file(s).is_file() for s in dataset.samples)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (("train/cat.0.jpg", "train/dog.0.jpg", "train/cat.1.jpg", "train/dog.1.jpg", "test1/1.jpg"),
         "no class folders in its splits test1, train, .* put each class .* File names begin with cat, dog"),
        (("images/train/1.jpg", "images/val/2.jpg"), "no class folders in its splits train, val"),
        (("fold1/1.jpg", "fold2/1.jpg", "fold3/1.jpg"), "folds, years or parts are no classes: fold1, fold2, fold3"),
        (("2019/1.jpg", "2020/1.jpg"), "years or parts are no classes: 2019, 2020"),
        (("HAM10000_images_part_1/a.jpg", "HAM10000_images_part_2/b.jpg"), "parts are no classes: HAM10000_im"),
        (("images_001/a.png", "images_002/b.png"), "parts are no classes: images_001, images_002"),
        (("fold1/train/a/1.jpg", "fold1/test/a/2.jpg", "fold2/train/a/2.jpg", "fold2/test/b/1.jpg"),
         "fold1, fold2 are folds of a cross-validation, each with its own .* give one fold, fold1"),
        (("train/a/1.jpg", "train/b/1.jpg", "bus/1.jpg", "car/1.jpg"), "train may be a class like bus, car, or"),
    ],
)  # fmt: skip
def test_splits_folds_and_years_are_never_classes(tmp_path: Path, paths: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_dataset(plant(tmp_path, *paths))


def test_a_table_beside_images_without_classes_is_offered_with_its_columns(tmp_path: Path) -> None:
    plant(tmp_path, "images/ISIC_1.jpg", "images/ISIC_2.jpg")
    (tmp_path / "meta.csv").write_text("lesion_id,image_id,dx\nl1,ISIC_1,nv\nl2,ISIC_2,mel\n")
    with pytest.raises(DataError, match=r"meta.csv \(files in column image_id, classes in dx\)"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    "folder",
    ["@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found", ".thumbnails", "__MACOSX", "System Volume Information",
     "cat/@eaDir", "cat/.@__thumb", "cat/THMBNL", "FOUND.000", "Previews.lrdata", "cat/thumbnails"],
)  # fmt: skip
def test_folders_of_systems_and_stores_are_passed_over(tmp_path: Path, folder: str) -> None:
    root = plant(tmp_path, "cat/1.jpg", "dog/1.jpg", f"{folder}/1.jpg", f"{folder}/cat/1.jpg")
    dataset = read_dataset(root)
    assert set(found(dataset)) == {"cat/1.jpg", "dog/1.jpg"}
    assert any(folder in note and "made by the system" in note for note in dataset.notes)


OUTPUTS = {
    "run.json": {"recipe": "r", "versions": {}, "hardware": {}},
    "manifest.json": {"schema_version": 1, "classes": [], "preprocessing": {}},
    "job.json": {"pellucid_version": "1", "part_size": 1000},
    "metrics.json": {"schema_version": 2, "task": "binary", "metrics": {}, "confusion": {}},
    "audit.json": {"schema_version": 1, "bundle": "", "regions": [], "disturbances": []},
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_what_pellucid_wrote_is_passed_over_by_its_files(tmp_path: Path, name: str) -> None:
    root = plant(tmp_path, "cat/1.jpg", "dog/1.jpg", "anything/here/pictures/1.png")
    (root / "anything/here" / name).write_text(json.dumps(OUTPUTS[name]))
    dataset = read_dataset(root)
    assert dataset.classes == ("cat", "dog")
    assert not dataset.skipped
    assert any("because pellucid wrote them: anything/here (" in note for note in dataset.notes)
    (root / "anything/here" / name).write_text("{}")
    assert read_dataset(root).classes == ("anything", "cat", "dog")


def test_a_class_called_runs_is_a_class(tmp_path: Path) -> None:
    assert read_dataset(plant(tmp_path, "runs/1.jpg", "walks/1.jpg", "runs/run.json")).classes == ("runs", "walks")


def test_explanations_among_photographs_are_told_apart(tmp_path: Path) -> None:
    root = plant(tmp_path, "cat/1.jpg", "cat/1-overlay.png", "cat/sheet.png", "dog/1.jpg", "owl/1-overlay.png")
    record = {"images": [{"files": {"overlay": "1-overlay.png"}}], "sheets": {"1.jpg": "sheet.png"}}
    manifest = json.dumps({"pellucid_version": "1", "colormap": "x", **record})
    for name in ("cat", "owl"):
        (root / name / "manifest.json").write_text(manifest)
    assert set(found(read_dataset(root))) == {"cat/1.jpg", "dog/1.jpg"}


def test_what_is_mostly_left_out_is_the_first_thing_said(tmp_path: Path) -> None:
    layout = [f"train/{c}/{i}.jpg" for c in "ab" for i in range(5)] + [f"test/{c}/1.jpg" for c in "ab"]
    dataset = read_dataset(plant(tmp_path, *layout, *(f"docs/{i}.jpg" for i in range(40))))
    assert len(dataset) == 12
    assert dataset.notes[0].startswith("40 of 52 images were left out (docs: folder of 40 images beside the splits)")
    few = read_dataset(plant(tmp_path / "few", *layout, "docs/1.jpg"))
    assert not any("were left out" in note for note in few.notes)


def test_phantoms_with_masks_and_lungs(tmp_path: Path) -> None:
    root = plant(
        tmp_path,
        *(
            f"{s}/{c}/patient0001_0{i}.png"
            for s in ("train", "val", "test")
            for c in ("normal", "opacity")
            for i in (1, 2)
        ),
        *(f"masks/{s}/opacity/patient0001_01.png" for s in ("train", "val", "test")),
        *(f"lungs/{s}/normal/patient0001_01.png" for s in ("train", "val", "test")),
        "README.md",
        "phantom.json",
    )
    dataset = read_dataset(root, group_by=r"(patient\d+)")
    assert dataset.classes == ("normal", "opacity")
    assert dataset.counts() == {s: {"normal": 2, "opacity": 2} for s in ("train", "val", "test")}
    masks = {s.path: s.mask for s in dataset.samples if s.mask}
    assert masks == {
        f"{s}/opacity/patient0001_01.png": f"masks/{s}/opacity/patient0001_01.png" for s in ("train", "val", "test")
    }
    assert {s.group for s in dataset.samples} == {"patient0001"}
    assert dataset.skipped == ()
    assert "Ignored as classes, because of their names: lungs (3 files), masks (3 files)." in dataset.notes
    assert "Masks were found for 3 of 12 images." in dataset.notes


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/bad/x.jpg", "masks/bad/x.png"),
        ("COVID/images/x.png", "COVID/masks/x.png"),
        ("train/bad/x.png", "train/masks/bad/x.bmp"),
    ],
)
def test_a_mask_is_the_twin_by_folders_and_stem(tmp_path: Path, image: str, mask: str) -> None:
    other = image.replace("bad", "good").replace("COVID", "Normal")
    dataset = read_dataset(plant(tmp_path, image, mask, other))
    assert {s.path: s.mask for s in dataset.samples} == {image: mask, other: None}


def test_boxes(tmp_path: Path) -> None:
    plant(tmp_path, "cat/1.jpg", "dog/1.jpg")
    (tmp_path / "boxes.json").write_text(json.dumps({"cat/1.jpg": [[1, 2, 3, 4.5], [0, 0, 9, 9]], "cat/2.jpg": []}))
    dataset = read_dataset(tmp_path)
    assert [s.boxes for s in dataset.samples] == [((1, 2, 3, 4.5), (0, 0, 9, 9)), ()]
    assert "boxes.json names 1 file not among the images: cat/2.jpg." in dataset.notes
    inner = read_dataset(plant(tmp_path / "outer", "inner/cat/1.jpg", "inner/dog/1.jpg").parent / "outer")
    assert [s.boxes for s in inner.samples] == [(), ()]
    (tmp_path / "outer/inner/boxes.json").write_text(json.dumps({"cat/1.jpg": [[1, 2, 3, 4]]}))
    assert read_dataset(tmp_path / "outer").samples[0].boxes == ((1, 2, 3, 4),)


@pytest.mark.parametrize("text", ["[]", "{", '{"cat/1.jpg": [[1, 2, 3]]}', '{"cat/1.jpg": [[5, 2, 3, 4]]}', '{"a": 3}'])
def test_boxes_of_another_form_are_refused(tmp_path: Path, text: str) -> None:
    plant(tmp_path, "cat/1.jpg", "dog/1.jpg")
    (tmp_path / "boxes.json").write_text(text)
    with pytest.raises(DataError, match=r"boxes.json cannot be used .* must read \{"):
        read_dataset(tmp_path)


def test_what_is_no_image_is_listed_and_hidden_files_are_not(tmp_path: Path) -> None:
    root = plant(
        tmp_path,
        *("cat/1.jpg", "dog/1.jpg", "cat/notes.txt", "cat/2.psd", "loose.png", "labels.txt", "odd.exe"),
        *("cat/.DS_Store", "cat/Thumbs.db", ".git/1.jpg", "__MACOSX/cat/._1.jpg"),
    )
    (root / "empty").mkdir()
    (root / "deep/deeper").mkdir(parents=True)
    dataset = read_dataset(root)
    assert found(dataset) == {"cat/1.jpg": ("", "cat"), "dog/1.jpg": ("", "dog")}
    assert skipped(dataset) == {
        "cat/notes.txt": "is not an image by its name",
        "cat/2.psd": "is not an image by its name",
        "odd.exe": "is not an image by its name",
        "loose.png": "lies in no class folder",
        "empty": "folder holds no images",
        "deep": "folder holds no images",
    }
    assert "Ignored, because they hold no images: deep, empty." in dataset.notes
    assert "Ignored, because they are hidden or made by the system: .git, __MACOSX." in dataset.notes


def test_many_odd_files_of_one_kind_are_one_entry(tmp_path: Path) -> None:
    dataset = read_dataset(plant(tmp_path, "cat/1.jpg", "dog/1.jpg", *(f"cat/{i}.xml" for i in range(30))))
    assert skipped(dataset) == {"cat": "30 files *.xml: each is not an image by its name"}


def test_folders_beside_the_splits_are_ignored_and_named(tmp_path: Path) -> None:
    layout = ("train/cat/1.jpg", "train/dog/1.jpg", "test/cat/1.jpg", "original/cat/1.jpg", "test/loose.jpg")
    dataset = read_dataset(plant(tmp_path, *layout))
    assert set(found(dataset)) == set(layout[:3])
    assert skipped(dataset) == {
        "original": "folder of 1 image beside the splits",
        "test/loose.jpg": "lies in no class folder",
    }
    assert any(n.startswith("Ignored, because they stand beside train") and "original" in n for n in dataset.notes)
    assert "The test folder holds no image of dog." in dataset.notes


def test_an_ignored_name_that_is_asked_for_is_a_class(tmp_path: Path) -> None:
    plant(tmp_path, "masks/1.jpg", "faces/1.jpg")
    with pytest.raises(DataError, match=r"one class only, faces.* Ignored as classes, because of their names: masks"):
        read_dataset(tmp_path)
    assert read_dataset(tmp_path, classes=["faces", "masks"]).classes == ("faces", "masks")


def test_links_are_followed_and_circles_are_named(tmp_path: Path) -> None:
    outside = plant(tmp_path / "outside", "x.jpg", "deep/y.jpg")
    root = plant(tmp_path / "root", "cat/1.jpg", "dog/1.jpg")
    (root / "cat/linked.jpg").symlink_to(outside / "x.jpg")
    (root / "cat/round").symlink_to(root, target_is_directory=True)
    (outside / "back").symlink_to(tmp_path, target_is_directory=True)
    (root / "owl").symlink_to(outside, target_is_directory=True)
    (root / "feline").symlink_to(root / "cat", target_is_directory=True)
    (root / "dog/broken.jpg").symlink_to(root / "nowhere.jpg")
    dataset = read_dataset(root)
    assert dataset.classes == ("cat", "dog", "owl")
    assert set(found(dataset)) == {"cat/1.jpg", "cat/linked.jpg", "dog/1.jpg", "owl/x.jpg", "owl/deep/y.jpg"}
    assert {s.path: s.code for s in dataset.skipped} == {
        "cat/round": "circle",
        "feline/round": "circle",
        "owl/back": "circle",
        "feline": "again",
        "dog/broken.jpg": "dead-link",
    }
    (tmp_path / "links").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "links" / name).symlink_to(root / name, target_is_directory=True)
    assert read_dataset(tmp_path / "links").classes == ("cat", "dog")


def test_links_to_links_end(tmp_path: Path) -> None:
    for level in range(12):
        plant(tmp_path, f"l{level}/x.jpg")
        for name in "ab":
            (tmp_path / f"l{level}/{name}").symlink_to(tmp_path / f"l{level + 1}", target_is_directory=True)
    start = time.perf_counter()
    met = sum(1 for _ in walk(tmp_path))
    assert met < 12 * 100 * 5
    assert sum(f.what == "file" for f in walk(tmp_path, once=True)) == 12
    assert time.perf_counter() - start < 5


def test_a_folder_that_cannot_be_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "cat/1.jpg", "dog/1.jpg", "owl/1.jpg")
    scandir = os.scandir

    def closed(path: Path) -> object:
        if Path(path).name == "owl":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    dataset = read_dataset(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert skipped(dataset) == {"owl": "folder cannot be opened (Permission denied)"}
    with pytest.raises(DataError, match=r"owl cannot be opened \(Permission denied\)"):
        read_dataset(tmp_path / "owl")


def test_a_file_name_that_is_no_unicode_is_skipped(tmp_path: Path) -> None:
    plant(tmp_path, "cat/1.jpg", "dog/1.jpg")
    try:
        (Path(os.fsdecode(os.fsencode(tmp_path) + b"/cat")) / os.fsdecode(b"\xff.jpg")).touch()
    except OSError:
        pytest.skip("this file system takes only Unicode names")
    dataset = read_dataset(tmp_path)
    assert set(found(dataset)) == {"cat/1.jpg", "dog/1.jpg"}
    assert list(skipped(dataset).values()) == ["file name is not valid Unicode: rename it"]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ((), r"holds no images \(apng bmp dcm .* jpeg .*\)\. It holds no files\. Give a folder with one folder"),
        (("a/1.txt", "a/2.doc"), "holds no images .* It holds 2 other files"),
        (("cat/1.jpg", "cat/2.jpg"), "holds one class only, cat: a classifier needs at least two"),
        (("images/1.jpg", "images/2.jpg", "masks/1.png"), "holds 2 images but no class folders, .* put each class"),
        (("1.jpg", "2.jpg"), "holds 2 images but no class folders"),
        (("1.jpg", "labels.csv"), r"or give a table of paths and labels, perhaps .*labels\.csv"),
        (("train/cat/1.jpg", "train/2.jpg"), "one class only, cat"),
    ],
)
def test_folders_that_are_no_dataset(tmp_path: Path, paths: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_dataset(plant(tmp_path, *paths))


def test_sources_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no folder or CSV file .*nowhere"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match="neither a folder nor a CSV file"):
        read_dataset(plant(tmp_path, "x.png") / "x.png")


def test_a_hundred_thousand_files_would_take_seconds(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(3_000):
            (tmp_path / name / f"patient{i // 3}_{i}.jpg").touch()
    start = time.perf_counter()
    dataset = read_dataset(tmp_path, group_by=r"patient(\d+)")
    assert len(dataset) == 6_000
    assert time.perf_counter() - start < 2  # 0.15 s on an idle core


REAL = {
    "ants-bees": (("ants", "bees"), {"train": [122, 121], "val": [70, 83]}),
    "cats-dogs": (("cat", "dog"), {"train": [400, 400], "test": [100, 100]}),
    "flowers": (("daisy", "dandelion", "rose", "sunflower", "tulip"), {"": [300] * 5}),
    "pneumonia": (("NORMAL", "PNEUMONIA"), {"train": [1341, 3875], "val": [8, 8]}),
    "raccoon-kangaroo": (("kangaroo", "raccoon"), {"": [82, 100]}),
    "tiles": (("normal", "anomalous"), {"": [571, 235]}),
}


@pytest.mark.parametrize("name", REAL)
def test_real_sets(shared_data: Path, name: str) -> None:
    classes, counts = REAL[name]
    dataset = read_dataset(shared_data / name)
    assert dataset.classes == classes
    assert {s: list(by.values()) for s, by in dataset.counts().items()} == counts
    assert dataset.skipped == ()
    if name == "tiles":
        assert {s.path.split("/")[1] for s in dataset.samples if s.mask} == {"anomalous"}
        assert sum(s.mask is not None for s in dataset.samples) == 235
        assert all((dataset.root / s.mask).is_file() for s in dataset.samples if s.mask)
    if name == "raccoon-kangaroo":
        assert all(s.boxes for s in dataset.samples)


@pytest.mark.parametrize("name", ["xray-lungs", "photos"])
def test_real_sets_without_classes(shared_data: Path, name: str) -> None:
    with pytest.raises(DataError, match="no class folders"):
        read_dataset(shared_data / name)
