"""A dataset's views against plain loops over its samples."""

from pathlib import Path

import numpy as np
import pytest

from pellucid.data.dataset import Dataset, OmittedFile, Sample

SAMPLES = tuple(
    Sample(f"{split or 'any'}/{i}.png", label, split, group=f"p{i % 3}")
    for i, (label, split) in enumerate(
        [(0, "train"), (1, "val"), (1, "train"), (0, "test"), (2, "train"), (1, ""), (1, "train"), (0, "val")]
    )
)
THREE = Dataset(Path("/data"), ("a", "b", "c"), SAMPLES, (OmittedFile("x.txt", "not an image"),), ("a note",))


def test_labels_are_the_samples_labels_in_order():
    assert THREE.labels.dtype == np.int64
    assert THREE.labels.tolist() == [0, 1, 1, 0, 2, 1, 1, 0]
    assert len(THREE) == 8


def test_an_empty_dataset_has_no_labels_and_no_counts():
    empty = Dataset(Path("/data"), ("a", "b"), ())
    assert empty.labels.shape == (0,)
    assert empty.labels.dtype == np.int64
    assert empty.counts() == {}


@pytest.mark.parametrize(("classes", "positive"), [(("a",), None), (("a", "b"), "b"), (("a", "b", "c"), None)])
def test_only_two_classes_have_a_positive_one(classes, positive):
    assert Dataset(Path(), classes, ()).positive == positive


@pytest.mark.parametrize("name", ["train", "val", "test", ""])
def test_a_split_keeps_order_and_everything_else(name):
    part = THREE.split(name)
    assert list(part.samples) == [s for s in SAMPLES if s.split == name]
    assert (part.root, part.classes, part.skipped, part.notes) == (
        THREE.root,
        THREE.classes,
        THREE.skipped,
        THREE.notes,
    )


def test_where_keeps_what_is_accepted():
    assert [s.path for s in THREE.where(lambda s: s.group == "p1").samples] == ["val/1.png", "train/4.png", "val/7.png"]


def test_counts_name_every_class_of_every_split_that_is_there():
    assert THREE.counts() == {
        "train": {"a": 1, "b": 2, "c": 1},
        "val": {"a": 1, "b": 1, "c": 0},
        "test": {"a": 1, "b": 0, "c": 0},
        "": {"a": 0, "b": 1, "c": 0},
    }
    assert list(THREE.counts()) == ["train", "val", "test", ""]
    assert list(THREE.split("test").counts()) == ["test"]


def test_a_file_lies_under_the_root():
    assert THREE.file(SAMPLES[0]) == Path("/data/train/0.png")
