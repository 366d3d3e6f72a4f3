"""Classes from annotations of object detection, laid out as the public data sets and tools lay them out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.data.test_folder import found, plant

from pellucid.data.folder import read_dataset
from pellucid.errors import DataError


def coco(path: Path, images: dict[str, list[str]]) -> None:
    """A COCO file: {file name: names of its objects}."""
    names = sorted({n for of in images.values() for n in of})
    annotations = [
        {"id": len(names) * i + k, "image_id": i, "category_id": names.index(n) + 1, "bbox": [1, 2, 10, 20]}
        for i, of in enumerate(images.values())
        for k, n in enumerate(of)
    ]
    document = {
        "info": {},
        "images": [{"id": i, "file_name": name, "width": 50, "height": 50} for i, name in enumerate(images)],
        "annotations": annotations,
        "categories": [{"id": k + 1, "name": n} for k, n in enumerate(names)],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def test_coco_with_annotations_beside_the_splits(tmp_path: Path) -> None:
    plant(tmp_path, *(f"train2017/{i}.jpg" for i in range(5)), *(f"val2017/{i}.jpg" for i in range(2)))
    train = {"0.jpg": ["cat"], "1.jpg": ["dog", "dog"], "2.jpg": ["cat", "dog"], "3.jpg": []}
    coco(tmp_path / "annotations/instances_train2017.json", train)
    coco(tmp_path / "annotations/instances_val2017.json", {"0.jpg": ["dog"], "1.jpg": ["cat"]})
    dataset = read_dataset(tmp_path)
    assert found(dataset) == {
        "train2017/0.jpg": ("train", "cat"),
        "train2017/1.jpg": ("train", "dog"),
        "val2017/0.jpg": ("val", "dog"),
        "val2017/1.jpg": ("val", "cat"),
    }
    assert {s.path: s.boxes for s in dataset.samples}["train2017/1.jpg"] == ((1, 2, 11, 22),) * 2
    assert {s.path: s.code for s in dataset.skipped} == {
        "train2017/2.jpg": "several-classes",
        "train2017/3.jpg": "no-annotation",
        "train2017/4.jpg": "no-annotation",
    }
    assert any("COCO annotations: 4 images" in note and "1 show objects of several" in note for note in dataset.notes)


def test_coco_as_roboflow_exports_it(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        plant(tmp_path, f"{split}/a.jpg", f"{split}/b.jpg")
        coco(tmp_path / split / "_annotations.coco.json", {"a.jpg": ["ant"], "b.jpg": ["bee"]})
    assert found(read_dataset(tmp_path)) == {
        "train/a.jpg": ("train", "ant"),
        "train/b.jpg": ("train", "bee"),
        "valid/a.jpg": ("val", "ant"),
        "valid/b.jpg": ("val", "bee"),
    }


def voc(path: Path, *objects: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"
    inside = "".join(f"<object><name>{name}</name>{box}</object>" for name in objects)
    path.write_text(f"<annotation><filename>{path.stem}.jpg</filename>{inside}</annotation>")


def test_pascal_voc_with_its_image_sets(tmp_path: Path) -> None:
    root = tmp_path / "VOCdevkit/VOC2012"
    plant(root, *(f"JPEGImages/{i}.jpg" for i in range(5)), "SegmentationClass/0.png", "SegmentationObject/0.png")
    for i, names in enumerate((["cat"], ["dog"], ["cat", "dog"], ["cat"], ["dog"])):
        voc(root / f"Annotations/{i}.xml", *names)
    (root / "ImageSets/Main").mkdir(parents=True)
    for name, lines in (("train", "0\n1\n"), ("val", "3\n"), ("trainval", "0\n1\n3\n"), ("cat_train", "0 1\n1 -1\n")):
        (root / f"ImageSets/Main/{name}.txt").write_text(lines)
    dataset = read_dataset(tmp_path)
    assert {Path(p).stem: of for p, of in found(dataset).items()} == {
        "0": ("train", "cat"),
        "1": ("train", "dog"),
        "3": ("val", "cat"),
        "4": ("", "dog"),
    }
    assert dataset.samples[0].boxes == ((1, 2, 30, 40),)
    assert [s.code for s in dataset.skipped] == ["several-classes"]


def test_pascal_voc_without_folders_of_its_own(tmp_path: Path) -> None:
    plant(tmp_path, "images/raccoon-1.jpg", "images/kangaroo-1.jpg")
    voc(tmp_path / "annotations/raccoon-1.xml", "raccoon")
    voc(tmp_path / "annotations/kangaroo-1.xml", "kangaroo")
    assert found(read_dataset(tmp_path)) == {
        "images/kangaroo-1.jpg": ("", "kangaroo"),
        "images/raccoon-1.jpg": ("", "raccoon"),
    }


YAMLS = {
    "inline": "train: images/train\nnames: ['cat', \"dog\"]\nnc: 2\n",
    "list": "nc: 2\nnames:\n  - cat\n  - dog\n",
    "list at the margin": "names:\n- cat\n- dog\nnc: 2\n",
    "mapping": "path: .\nnames:\n  0: cat  # small\n  1: dog\n\nroboflow:\n  license: x\n",
    "inline mapping": "names: {0: cat, 1: dog}\n",
}


@pytest.mark.parametrize("yaml", YAMLS.values(), ids=YAMLS.keys())
@pytest.mark.parametrize("layout", ["{kind}/{split}/", "{split}/{kind}/"])
def test_yolo(tmp_path: Path, yaml: str, layout: str) -> None:
    lines = {
        "a": "0 .5 .5 .2 .2\n",
        "b": "1 .5 .5 .2 .2\n1 .1 .1 .2 .2\n",
        "c": "0 .5 .5 .2 .2\n1 .1 .1 .1 .1\n",
        "d": "",
    }
    for split in ("train", "val"):
        for stem, text in lines.items():
            plant(tmp_path, layout.format(kind="images", split=split) + f"{stem}.jpg")
            label = tmp_path / layout.format(kind="labels", split=split) / f"{stem}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(text)
    (tmp_path / "data.yaml").write_text(yaml)
    dataset = read_dataset(tmp_path)
    assert {(s.split, Path(s.path).stem): dataset.classes[s.label] for s in dataset.samples} == {
        ("train", "a"): "cat",
        ("train", "b"): "dog",
        ("val", "a"): "cat",
        ("val", "b"): "dog",
    }
    assert sorted(s.code for s in dataset.skipped) == ["no-annotation"] * 2 + ["several-classes"] * 2


def test_one_against_rest_takes_images_of_several_classes(tmp_path: Path) -> None:
    plant(tmp_path, *(f"train2017/{i}.jpg" for i in range(3)), "val2017/9.jpg")
    coco(tmp_path / "annotations/a.json", {"0.jpg": ["cat"], "1.jpg": ["dog"], "2.jpg": ["cat", "dog"]})
    dataset = read_dataset(tmp_path, one_against_rest="DOG")
    assert dataset.classes == ("not dog", "dog")
    assert [s.label for s in dataset.samples] == [0, 1, 1]


def test_annotations_that_give_no_image_one_class_are_refused_by_name(tmp_path: Path) -> None:
    plant(tmp_path, "train2017/0.jpg", "val2017/1.jpg")
    coco(tmp_path / "annotations/a.json", {"0.jpg": ["cat", "dog"], "1.jpg": ["cat", "owl"]})
    with pytest.raises(DataError, match=r"COCO annotations were found, but no image .* `one_against_rest=CLASS`"):
        read_dataset(tmp_path)
    (tmp_path / "annotations/a.json").write_text('{"images": [{"id": 1}], "annotations": [], "categories": []}')
    with pytest.raises(DataError, match="looks like a COCO file but cannot be read"):
        read_dataset(tmp_path)


def test_xml_with_entities_is_no_annotation(tmp_path: Path) -> None:
    plant(tmp_path, "images/a.jpg", "images/b.jpg")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/a.xml").write_text('<!DOCTYPE a [<!ENTITY b "cat">]><annotation/>')
    with pytest.raises(DataError, match="no class folders"):
        read_dataset(tmp_path)


def test_the_boxes_of_the_real_animals_agree_with_boxes_json(shared_data: Path, tmp_path: Path) -> None:
    """The same pictures as folders with boxes.json and as COCO: same classes, same boxes."""
    source = shared_data / "raccoon-kangaroo"
    truth = read_dataset(source)
    images, annotations = [], []
    (tmp_path / "images").mkdir()
    for i, sample in enumerate(truth.samples):
        name = sample.path.replace("/", "-")
        (tmp_path / "images" / name).symlink_to(truth.file(sample))
        images.append({"id": i, "file_name": f"images/{name}"})
        for left, top, right, bottom in sample.boxes:
            box = [left, top, right - left, bottom - top]
            annotations.append({"image_id": i, "category_id": sample.label, "bbox": box})
    categories = [{"id": k, "name": n} for k, n in enumerate(truth.classes)]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "all.json").write_text(json.dumps(document))
    dataset = read_dataset(tmp_path)
    assert dataset.classes == truth.classes
    assert [s.label for s in dataset.samples] == [s.label for s in truth.samples]
    for a, b in zip(dataset.samples, truth.samples, strict=True):
        assert [pytest.approx(box) for box in b.boxes] == list(a.boxes)
