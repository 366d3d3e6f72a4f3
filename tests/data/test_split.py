from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from pellucid.data.dataset import Dataset, Sample, Split
from pellucid.data.disjointness import prove_disjoint
from pellucid.data.fingerprint import SIDE, Fingerprints, IntArray
from pellucid.data.split import FloatMatrix, divide, fold_dataset, split_dataset
from pellucid.errors import DataError


def planted(
    sizes: dict[Split, tuple[int, ...]], copies: dict[str, str] | None = None, groups: dict[str, str] | None = None
) -> tuple[Dataset, Fingerprints]:
    """Images that all look different but for `copies` {path: path of the same look}, with fingerprints made by hand."""
    samples = []
    for split, counts in sizes.items():
        for label, count in enumerate(counts):
            paths = [f"{split or 'all'}/{'abc'[label]}/{i:04d}.png" for i in range(count)]
            samples += [Sample(p, label, split, (groups or {}).get(p, "")) for p in paths]
    paths = [s.path for s in samples]
    looks = np.random.default_rng(0).uniform(0, 255, (len(paths), SIDE, SIDE)).astype(np.float16)
    for path, original in (copies or {}).items():
        looks[paths.index(path)] = looks[paths.index(original)] * np.float16(0.9)
    classes = tuple("abc"[: len(next(iter(sizes.values())))])
    return Dataset(Path("data"), classes, tuple(samples)), Fingerprints(tuple(paths), tuple(paths), looks, {})


def splits_of(dataset: Dataset) -> dict[str, Split]:
    return {s.path: s.split for s in dataset.samples}


def counts_of(dataset: Dataset) -> dict[str, list[int]]:
    return {split: list(by.values()) for split, by in dataset.counts().items()}


# ---- the division itself


def parts_held(labels: IntArray, parts: IntArray, wanted: FloatMatrix) -> IntArray:
    held = np.zeros(wanted.shape, np.int64)
    np.add.at(held, (parts, labels), 1)
    return held


@st.composite
def groupings(draw: st.DrawFn) -> tuple[IntArray, IntArray]:
    """Labels and units of 2 to 4 classes with units of 1 to 8 images, most of one class."""
    classes = draw(st.integers(2, 4))
    labels: list[int] = []
    units: list[int] = []
    for unit in range(draw(st.integers(12, 80))):
        home = draw(st.integers(0, classes - 1)) if unit >= 3 * classes else unit % classes
        mixed = draw(st.integers(0, 9)) == 0
        for _ in range(draw(st.integers(1, 8))):
            labels.append(draw(st.integers(0, classes - 1)) if mixed else home)
            units.append(unit)
    return np.array(labels), np.array(units)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(groupings(), st.sampled_from([(0.65, 0.15, 0.2), (0.8, 0.2), (0.2,) * 5]))
def test_divisions_keep_units_whole_and_classes_in_proportion(
    grouping: tuple[IntArray, IntArray], shares: tuple[float, ...]
) -> None:
    labels, units = grouping
    wanted = np.outer(shares, np.bincount(labels))
    keys = [f"{u * 7919 % 1009:04d}-{i}" for i, u in enumerate(units.tolist())]
    parts = divide(labels, units, wanted, keys)
    assert all(len(set(parts[units == u].tolist())) == 1 for u in set(units.tolist()))
    largest = np.array([np.bincount(units[labels == c]).max() for c in range(labels.max() + 1)])
    assert (np.abs(parts_held(labels, parts, wanted) - wanted) <= largest + 1).all()
    order = np.random.default_rng(0).permutation(len(labels))
    again = divide(labels[order], units[order] + 5, wanted, [keys[i] for i in order])
    np.testing.assert_array_equal(again, parts[order])


@pytest.mark.parametrize("sizes", [(10, 10), (7, 100), (333, 1000, 50), (3, 3)])
def test_without_groups_each_class_is_within_one_image(sizes: tuple[int, ...]) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    wanted = np.outer((0.65, 0.15, 0.2), sizes)
    parts = divide(labels, np.arange(len(labels)), wanted, [f"{i * 7919 % 10007}" for i in range(len(labels))])
    held = parts_held(labels, parts, wanted)
    assert (np.abs(held - wanted) <= 1).all()
    assert held.min() >= 1


def test_folds_are_no_worse_than_those_of_scikit_learn() -> None:
    ours, theirs = [], []
    for seed in range(15):
        rng = np.random.default_rng(seed)
        sizes = rng.integers(1, 12, 60)
        units = np.repeat(np.arange(60), sizes)
        labels = (rng.random(60) < 0.3)[units].astype(np.int64)
        wanted = np.outer([0.2] * 5, np.bincount(labels))
        parts = divide(labels, units, wanted, [f"{rng.random()}" for _ in labels])
        ours.append(np.abs(parts_held(labels, parts, wanted) - wanted).mean())
        peer = np.zeros(len(labels), np.int64)
        folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(labels, labels, units)
        for i, (_, tested) in enumerate(folds):
            peer[tested] = i
        theirs.append(np.abs(parts_held(labels, peer, wanted) - wanted).mean())
    assert np.mean(ours) <= np.mean(theirs)


def test_a_class_of_few_units_reaches_every_part() -> None:
    labels = np.array([0] * 300 + [1] * 30)
    units = np.concatenate([np.arange(300), 300 + np.repeat([0, 1, 2], [20, 6, 4])])
    parts = divide(labels, units, np.outer((0.8, 0.1, 0.1), (300, 30)), [str(i) for i in range(330)])
    assert set(parts[labels == 1].tolist()) == {0, 1, 2}


# ---- what is kept and what is drawn


def test_undivided_images_are_divided_in_three() -> None:
    dataset, prints = planted({"": (200, 100)})
    plan = split_dataset(dataset, seed=3, fingerprints=prints)
    assert counts_of(plan.dataset) == {"train": [130, 60], "val": [30, 20], "test": [40, 20]}
    assert plan.proof.leaks == ()
    assert plan.reasons == (
        "The test set was drawn with seed 3: 60 images: a 40, b 20 (20%).",
        "The validation set was drawn with seed 3: 50 images: a 30, b 20 (17%).",
    )


def test_a_validation_set_too_small_is_carved_and_the_reason_told() -> None:
    dataset, prints = planted({"train": (200, 500), "val": (8, 8), "test": (30, 30)})
    plan = split_dataset(dataset, seed=3, fingerprints=prints)
    assert counts_of(plan.dataset) == {"train": [177, 432], "val": [31, 76], "test": [30, 30]}
    assert plan.reasons[:2] == (
        "The test set that came with the data is kept (60 images: a 30, b 30).",
        "The validation set that came with the data (16 images: a 8, b 8) is too small to choose a model on (fewer "
        "than 20 of a class): its images join train, and a larger one is carved from train.",
    )
    before, after = splits_of(dataset), splits_of(plan.dataset)
    assert {p for p, s in before.items() if s == "test"} == {p for p, s in after.items() if s == "test"}


def test_splits_that_are_large_enough_are_kept() -> None:
    dataset, prints = planted({"train": (50, 50), "val": (20, 25), "test": (9, 9)})
    plan = split_dataset(dataset, seed=3, fingerprints=prints)
    assert plan.dataset == dataset
    assert [r.split("(")[0] for r in plan.reasons] == [
        "The test set that came with the data is kept ",
        "The validation set that came with the data is kept ",
    ]


def test_a_small_validation_set_stays_where_train_has_no_more_to_give() -> None:
    dataset, prints = planted({"train": (20, 20), "val": (12, 12), "test": (9, 9)})
    plan = split_dataset(dataset, seed=3, fingerprints=prints)
    assert plan.dataset == dataset
    assert "train has too few images to give more" in plan.reasons[1]


def test_missing_sets_are_drawn_from_train_alone() -> None:
    dataset, prints = planted({"train": (100, 100), "val": (40, 40)})
    plan = split_dataset(dataset, seed=3, fingerprints=prints)
    assert counts_of(plan.dataset) == {"train": [80, 80], "val": [40, 40], "test": [20, 20]}
    assert all(plan.dataset.split(s).samples for s in ("train", "val", "test"))


def test_a_share_of_nothing_draws_nothing() -> None:
    dataset, prints = planted({"": (50, 50)})
    plan = split_dataset(dataset, seed=3, test=0, validation=0, fingerprints=prints)
    assert counts_of(plan.dataset) == {"train": [50, 50]}
    assert plan.reasons == ()


@pytest.mark.parametrize("size", [3, 5, 10, 20])
def test_small_sets(size: int) -> None:
    dataset, prints = planted({"": (size, size)})
    counts = counts_of(split_dataset(dataset, seed=1, fingerprints=prints).dataset)
    assert min(min(c) for c in counts.values()) >= 1
    assert counts["train"][0] >= size // 2 - 1
    assert {s: sum(c) for s, c in counts.items()}.keys() == {"train", "val", "test"}


def test_the_outcome_depends_on_the_seed_and_not_on_the_order() -> None:
    groups = {f"all/{c}/{i:04d}.png": f"p{c}{i // 3}" for c in "ab" for i in range(60)}
    dataset, prints = planted({"": (60, 60)}, groups=groups)
    order = np.random.default_rng(1).permutation(len(dataset))
    shuffled = replace(dataset, samples=tuple(dataset.samples[i] for i in order))
    first = split_dataset(dataset, seed=1, fingerprints=prints)
    assert splits_of(split_dataset(shuffled, seed=1, fingerprints=prints).dataset) == splits_of(first.dataset)
    assert splits_of(split_dataset(dataset, seed=2, fingerprints=prints).dataset) != splits_of(first.dataset)
    assert [s.path for s in first.dataset.samples] == [s.path for s in dataset.samples]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_no_draw_shares_content_look_or_group(seed: int, per_group: int) -> None:
    rng = np.random.default_rng(seed)
    paths = [f"all/{c}/{i:04d}.png" for c in "ab" for i in range(70)]
    groups = {p: f"p{i // per_group}" for i, p in enumerate(paths) if rng.random() < 0.9}
    pairs = rng.permutation(140)[:60].reshape(2, 30)
    copies = {paths[a]: paths[b] for a, b in pairs[:, :20].T}
    dataset, prints = planted({"": (70, 70)}, copies, groups)
    contents = list(prints.contents)
    for a, b in pairs[:, 20:].T:
        contents[a] = contents[b]
    prints = replace(prints, contents=tuple(contents))
    plan = split_dataset(dataset, seed=seed, fingerprints=prints)
    assert plan.proof.leaks == ()
    split = splits_of(plan.dataset)
    for key in (groups, dict(zip(prints.paths, contents, strict=True))):
        sides: dict[str, set[str]] = {}
        for path, name in key.items():
            sides.setdefault(name, set()).add(split[path])
        assert all(len(s) == 1 for s in sides.values())
    assert all(split[a] == split[b] for a, b in copies.items())


def test_what_is_tied_to_a_kept_split_is_not_drawn() -> None:
    """Two training images look like test images: they stay in train, and the proof tells."""
    copies = {"train/a/0000.png": "test/a/0000.png", "train/b/0001.png": "test/b/0000.png"}
    dataset, prints = planted({"train": (100, 100), "test": (20, 20)}, copies)
    for seed in range(5):
        plan = split_dataset(dataset, seed=seed, fingerprints=prints)
        assert [(o.criterion, o.splits, o.images) for o in plan.proof.leaks] == [
            ("near-duplicate", ("train", "test"), 2)
        ]
        assert "2 training images with a copy, or of a group, in a split that is kept: see the proof" in plan.reasons[1]


def test_training_twins_of_a_kept_split_can_be_left_out() -> None:
    copies = {"train/a/0000.png": "test/a/0000.png", "train/b/0001.png": "test/b/0000.png"}
    dataset, prints = planted({"train": (100, 100), "test": (20, 20)}, copies)
    plan = split_dataset(dataset, seed=0, leave_out_twins=True, fingerprints=prints)
    assert plan.proof.leaks == ()
    assert {s.path for s in plan.dataset.skipped} == set(copies)
    assert len(plan.dataset) == len(dataset) - 2
    assert "left out of training" in plan.reasons[1]
    assert prove_disjoint(plan.dataset, prints).leaks == ()


def test_images_that_cannot_be_decoded_are_left_out() -> None:
    dataset, prints = planted({"": (30, 30)})
    bad = replace(prints, problems={"all/a/0003.png": "the file is cut off"})
    plan = split_dataset(dataset, seed=0, fingerprints=bad)
    assert len(plan.dataset) == 59
    assert [(s.path, s.reason) for s in plan.dataset.skipped] == [("all/a/0003.png", "the file is cut off")]


@pytest.mark.parametrize(
    ("sizes", "groups", "options", "message"),
    [
        (
            {"": (30, 2)},
            {},
            {},
            "Class b cannot be divided into train, test, val: its 2 images form only 2 independent",
        ),
        (
            {"": (30, 9)},
            {"b": "one"},
            {},
            "its 9 images form only 1 independent units .* smaller groups by `group_by=",
        ),
        ({"test": (30, 30)}, {}, {}, "has no training images: put them in a folder train/"),
        ({"": (30, 30)}, {}, {"test": 0.7, "validation": 0.2}, "leave at least 0.2 for training"),
        ({"": (30, 30)}, {}, {"test": -0.1}, "must be 0 or more"),
        ({"": (30, 0)}, {}, {}, "holds no readable image of b"),
    ],
)
def test_sets_that_cannot_be_divided(
    sizes: dict[Split, tuple[int, ...]], groups: dict[str, str], options: dict[str, float], message: str
) -> None:
    dataset, prints = planted(sizes)
    samples = tuple(replace(s, group=groups.get(s.path.split("/")[1], "")) for s in dataset.samples)
    with pytest.raises(DataError, match=message):
        split_dataset(replace(dataset, samples=samples), seed=0, fingerprints=prints, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"train": (30, 1)}, r"too few training images to learn from: b \(1\)\. .* by `leave_out=b`"),
        ({"train": (30, 0), "test": (9, 9)}, r"too few training images to learn from: b \(0\)"),
        ({"train": (0, 1), "test": (9, 9)}, r"from: a \(0\), b \(1\)\. .* by `leave_out=a` `leave_out=b`"),
    ],
)
def test_classes_without_training_images_are_named_first(sizes: dict[Split, tuple[int, ...]], message: str) -> None:
    dataset, prints = planted(sizes)
    with pytest.raises(DataError, match=message):
        split_dataset(dataset, seed=0, fingerprints=prints)


def test_a_single_training_image_is_told_where_splits_are_kept() -> None:
    dataset, prints = planted({"train": (30, 1), "val": (30, 30), "test": (30, 30)})
    plan = split_dataset(dataset, seed=0, fingerprints=prints)
    assert plan.reasons[0] == "Classes with a single training image, hardly to be learnt: b."


def test_training_images_that_are_all_test_images_are_said_to_be_so() -> None:
    dataset, prints = planted({"train": (30, 30), "test": (30, 30)})
    contents = list(prints.contents)
    for i, (train, test) in enumerate((f"train/b/{n:04}.png", f"test/b/{n:04}.png") for n in range(30)):
        assert i < 30
        contents[prints.paths.index(test)] = contents[prints.paths.index(train)]
    same = replace(prints, contents=tuple(contents))
    message = r"All 30 training images of b are in test as well, as the same files: nothing is left to learn from"
    for leave_out_twins in (True, False):
        with pytest.raises(DataError, match=message):
            split_dataset(dataset, seed=0, fingerprints=same, leave_out_twins=leave_out_twins)


# ---- folds


def test_folds_partition_the_images_and_keep_units_whole() -> None:
    groups = {f"{s}/{c}/{i:04d}.png": f"p{c}{i // 4}" for s in ("train", "val") for c in "ab" for i in range(120)}
    dataset, prints = planted({"train": (120, 60), "val": (20, 10), "test": (9, 9)}, groups=groups)
    folds = fold_dataset(dataset, 5, 7, fingerprints=prints)
    tested = Counter(s.path for fold in folds for s in fold.split("test").samples)
    assert tested == Counter(s.path for s in dataset.samples if s.split != "test")
    for fold in folds:
        counts = counts_of(fold)
        assert prove_disjoint(fold, prints).leaks == ()
        assert counts["test"] == pytest.approx([28, 14], abs=4)
        assert min(counts["val"]) >= 10
        assert len(fold) == 210
        assert "The test set that came with the data (18 images) takes no part in the folds." in fold.notes
    assert [splits_of(f) for f in fold_dataset(dataset, 5, 7, fingerprints=prints)] == [splits_of(f) for f in folds]
    plain = fold_dataset(dataset, 5, 7, validation=0, fingerprints=prints)
    assert [set(f.counts()) for f in plain] == [{"train", "test"}] * 5


def test_folds_that_cannot_be_made() -> None:
    dataset, prints = planted({"": (30, 3)})
    with pytest.raises(DataError, match="at least 2 folds, and 1 was asked for"):
        fold_dataset(dataset, 1, 0, fingerprints=prints)
    with pytest.raises(DataError, match="Class b cannot be divided into fold 1, fold 2, fold 3, fold 4"):
        fold_dataset(dataset, 4, 0, fingerprints=prints)


# ---- real images


def test_the_pneumonia_set(pneumonia: tuple[Dataset, Fingerprints]) -> None:
    dataset, prints = pneumonia
    plan = split_dataset(dataset, seed=1, fingerprints=prints)
    assert plan.proof.leaks == ()
    assert plan.proof.checked == ("content", "near-duplicate", "group")
    assert counts_of(plan.dataset)["test"] == pytest.approx([270, 777], abs=2)
    assert counts_of(plan.dataset)["val"] == pytest.approx([202, 582], abs=2)
    assert "16 images: NORMAL 8, PNEUMONIA 8" in plan.reasons[0]
    assert "Byte-identical files: 24 sets, never parted by drawing." in plan.reasons


def test_files_are_looked_at_where_no_fingerprints_are_given(tmp_path: Path) -> None:
    import PIL.Image

    rng = np.random.default_rng(0)
    for label in "ab":
        (tmp_path / label).mkdir()
        for i in range(12):
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            PIL.Image.fromarray(pixels).resize((64, 64)).save(tmp_path / label / f"{i}.png")
    (tmp_path / "a/twin.png").write_bytes((tmp_path / "a/3.png").read_bytes())
    PIL.Image.open(tmp_path / "b/5.png").save(tmp_path / "b/again.jpg", quality=70)
    (tmp_path / "b/broken.jpg").write_bytes(b"no image")
    from pellucid.data.folder import read_dataset

    dataset = read_dataset(tmp_path)
    for seed in range(3):
        plan = split_dataset(dataset, seed=seed)
        split = splits_of(plan.dataset)
        assert split["a/twin.png"] == split["a/3.png"]
        assert split["b/again.jpg"] == split["b/5.png"]
        assert [s.path for s in plan.dataset.skipped] == ["b/broken.jpg"]
