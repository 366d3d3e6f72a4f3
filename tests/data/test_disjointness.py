from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pellucid.data.dataset import Dataset, Sample, Split
from pellucid.data.disjointness import Disjointness, kinship_of, prove_disjoint
from pellucid.data.fingerprint import SIDE, Fingerprints


def marked(rows: list[tuple[Split, str, str, int]]) -> tuple[Dataset, Fingerprints]:
    """Samples given as (split, group, content, look): images of one look are near-duplicates."""
    looks = {
        look: np.random.default_rng(look).uniform(0, 255, (SIDE, SIDE)).astype(np.float16)
        for look in {r[3] for r in rows}
    }
    samples = tuple(Sample(f"{i}.png", i % 2, split, group) for i, (split, group, _, _) in enumerate(rows))
    prints = Fingerprints(
        tuple(s.path for s in samples), tuple(r[2] for r in rows), np.stack([looks[r[3]] for r in rows]), {}
    )
    return Dataset(Path("data"), ("a", "b"), samples), prints


ROWS: list[tuple[Split, str, str, int]] = [
    ("train", "p1", "A", 1),
    ("train", "p2", "B", 2),
    ("train", "", "C", 3),
    ("test", "p3", "A", 1),
    ("test", "p2", "D", 4),
    ("test", "", "E", 3),
    ("test", "", "F", 5),
    ("val", "p9", "G", 6),
]


def numbers(proof: Disjointness) -> dict[tuple[str, str, str], int]:
    return {(o.criterion, *o.splits): o.images for o in proof.overlaps}


def test_each_criterion_is_counted_for_each_pair_of_splits() -> None:
    proof = prove_disjoint(*marked(ROWS))
    nothing = {(c, "train", "val"): 0 for c in ("content", "near-duplicate", "group")}
    nothing |= {(c, "val", "test"): 0 for c in ("content", "near-duplicate", "group")}
    assert numbers(proof) == nothing | {
        ("content", "train", "test"): 1,
        ("near-duplicate", "train", "test"): 1,
        ("group", "train", "test"): 1,
    }
    assert {(o.criterion, o.examples, o.total) for o in proof.leaks} == {
        ("content", (("0.png", "3.png"),), 4),
        ("near-duplicate", (("2.png", "5.png"),), 4),
        ("group", (("1.png", "4.png"),), 4),
    }


def test_the_proof_in_words() -> None:
    proof = prove_disjoint(*marked(ROWS))
    assert proof.sentences() == (
        "1 of 4 test images byte for byte also in train (for example 3.png and 0.png).",
        "1 of 4 test images showing the same as an image of train (for example 5.png and 2.png).",
        "1 of 4 test images sharing a group with train (for example 4.png and 1.png).",
    )
    clean = proof.between("train", "val")
    assert clean.leaks == ()
    assert clean.sentences() == ("No two splits share an image by content or near-duplicate or group.",)
    assert proof.between("train", "test").leaks == proof.leaks


def test_groups_that_are_unknown_are_said_to_be_unchecked() -> None:
    proof = prove_disjoint(*marked([("train", "", "A", 1), ("test", "", "B", 2)]))
    assert proof.checked == ("content", "near-duplicate")
    assert "Groups are unknown" in proof.sentences()[0]


def test_units_join_what_is_tied_through_others() -> None:
    kin = kinship_of(*marked(ROWS))
    assert kin.unit[0] == kin.unit[3]
    assert kin.unit[1] == kin.unit[4]
    assert kin.unit[2] == kin.unit[5]
    assert len(set(kin.unit.tolist())) == 5
    chain: list[tuple[Split, str, str, int]] = [
        ("train", "p", "A", 1),
        ("train", "q", "A", 1),
        ("train", "q", "B", 2),
        ("train", "", "C", 2),
        ("train", "", "D", 3),
    ]
    kin = kinship_of(*marked(chain))
    assert [u == kin.unit[0] for u in kin.unit] == [True, True, True, True, False]
    assert kin.group.tolist() == [0, 1, 1, -1, -1]


def test_files_that_could_not_be_read_are_like_nothing() -> None:
    dataset, prints = marked([("train", "", "", 1), ("test", "", "", 2), ("test", "", "A", 3)])
    blank = replace(prints, thumbnails=np.zeros_like(prints.thumbnails))
    assert prove_disjoint(dataset, blank).leaks == ()


def test_examples_are_few_and_counts_are_whole() -> None:
    rows: list[tuple[Split, str, str, int]] = [("train", "p", "A", 1)]
    rows += [("test", "p", f"t{i}", i + 2) for i in range(9)]
    proof = prove_disjoint(*marked(rows))
    (leak,) = proof.leaks
    assert (leak.criterion, leak.images, leak.total, len(leak.examples)) == ("group", 9, 9, 5)


@pytest.mark.parametrize("count", [0, 1])
def test_small_datasets(count: int) -> None:
    dataset, prints = marked([("train", "", "A", 1), ("test", "", "B", 2)])
    few = Dataset(dataset.root, dataset.classes, dataset.samples[:count])
    assert prove_disjoint(few, prints).overlaps == ()


def test_cats_and_dogs_hold_one_leak(shared_data: Path) -> None:
    """dog.74 of the test folder is dog.180 of the train folder, encoded again."""
    from pellucid.data.folder import read_dataset

    proof = prove_disjoint(read_dataset(shared_data / "cats-dogs"))
    (leak,) = proof.leaks
    assert leak.criterion == "near-duplicate"
    assert leak.examples == (("train/dog/dog.180.jpg", "test/dog/dog.74.jpg"),)
