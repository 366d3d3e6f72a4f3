from __future__ import annotations

import csv
import errno
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from pellucid.data.augment import augment_dataset, copies_of_each
from pellucid.data.change import CHANGES, Change, change_boxes, change_mask, change_pixels
from pellucid.data.dataset import Dataset, Sample
from pellucid.data.folder import read_dataset
from pellucid.data.split import fold_dataset, split_dataset
from pellucid.errors import InputError
from pellucid.recipe_sections import AugmentSection

SECTION = AugmentSection(rotation=20, shift=0.1, shear=0.1, zoom=0.2, flip=True, brightness=0.1, contrast=0.3)


def draw(path: Path, seed: int, *, colour: bool = False, size: tuple[int, int] = (24, 32)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3) if colour else size, dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(path)


def planted(root: Path, sizes: dict[str, int]) -> Path:
    """`root/<split>/<class>/` with so many images each, the first class in colour; masks for the second."""
    for number, (place, count) in enumerate(sizes.items()):
        for i in range(count):
            name = f"{place}/p{i // 2}_{i}.png"
            draw(root / name, 1000 * number + i, colour=number % 2 == 0)
            if number % 2:
                mask = np.zeros((24, 32), np.uint8)
                mask[5:15, 10 : 12 + i % 9] = 255
                (root / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
                PIL.Image.fromarray(mask).save(root / "masks" / name)
    return root


def pixels_of(path: Path) -> np.ndarray:
    with PIL.Image.open(path) as image:
        return np.asarray(image)


def rows_of(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "origins.csv").open(newline="", encoding="utf-8") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def tree(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def change_of(row: dict[str, str]) -> Change:
    numbers = {name: float(row[name]) for name in CHANGES}
    return Change(**(numbers | {"flip": bool(numbers["flip"])}))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("augment")
    root = planted(folder / "in", {"train/a": 4, "train/b": 3, "val/a": 2, "val/b": 2, "test/a": 1, "test/b": 2})
    augment_dataset(read_dataset(root), folder / "out", SECTION, copies=2, seed=1)
    return root, folder / "out"


def test_originals_validation_test_and_their_masks_are_the_same_bytes(made: tuple[Path, Path]) -> None:
    root, out = made
    before, after = tree(root), tree(out)
    assert before.items() <= after.items()
    new = {path for path in after.keys() - before.keys() if path != "origins.csv"}
    assert len(new) == 2 * 7 + 2 * 3
    assert all("_aug" in path and path.removeprefix("masks/").startswith("train/") for path in new)


def test_each_copy_is_what_its_row_says(made: tuple[Path, Path]) -> None:
    root, out = made
    rows = rows_of(out)
    assert {p for p in tree(out) if p.endswith(".png") and not p.startswith("masks/")} == rows.keys()
    changes = set()
    for path, row in rows.items():
        assert Path(row["source"]).parent == Path(path).parent
        if not row["original"]:
            assert (row["source"], {row[name] for name in CHANGES}) == (path, {""})
            continue
        change = change_of(row)
        changes.add(change)
        original = pixels_of(root / row["source"])
        assert (pixels_of(out / path) == change_pixels(original, change)).all()
        assert pixels_of(out / path).ndim == original.ndim
        assert path == f"{row['original'].removesuffix('.png')}_aug{path[-5]}.png"
        if "/b/" in path:
            mask = pixels_of(root / "masks" / row["source"])
            assert (pixels_of(out / "masks" / path) == change_mask(mask, change)).all()
    assert len(changes) == 14


def test_the_folder_reads_as_a_dataset_whose_copies_stay_with_their_originals(made: tuple[Path, Path]) -> None:
    _, out = made
    dataset = read_dataset(out)
    assert dataset.counts() == {"train": {"a": 12, "b": 9}, "val": {"a": 2, "b": 2}, "test": {"a": 1, "b": 2}}
    assert dataset.skipped == ()
    assert sum(s.mask is not None for s in dataset.samples) == 9 + 2 + 2
    rows = rows_of(out)
    family = {path: row["source"] for path, row in rows.items()}
    undecided = replace(dataset, samples=tuple(replace(s, split="") for s in dataset.samples))
    for seed in range(4):
        split = split_dataset(undecided, seed=seed, smallest_validation=1)
        assert not split.proof.leaks
        folds = fold_dataset(undecided, 2, seed)
        for divided in (split.dataset, *folds):
            sides: dict[str, set[str]] = {}
            for s in divided.samples:
                sides.setdefault(family[s.path], set()).add(s.split)
            assert all(len(side) == 1 for side in sides.values())
            assert len(sides) == 14
            # Copies are trained on, all of them where their original is, and figures are taken on originals.
            trained = {s.path for s in divided.samples if s.split == "train"}
            copies = {s.path for s in divided.samples if rows[s.path]["original"]}
            assert copies == {p for p, row in rows.items() if row["original"] in trained}
            assert copies < trained
        tested = Counter(s.path for fold in folds for s in fold.samples if s.split == "test")
        assert tested == Counter(set(family.values()))
    assert any(reason.startswith("Changed copies of images that are not trained on: ") for reason in split.reasons)


def test_a_small_validation_set_is_kept_however_many_copies_there_are(made: tuple[Path, Path]) -> None:
    """Copies do not count as images that a larger validation set could be carved from."""
    root, out = made
    before, after = (split_dataset(read_dataset(folder), seed=0).dataset.counts() for folder in (root, out))
    assert before["val"] == after["val"] == {"a": 2, "b": 2}


def test_neither_order_nor_threads_change_anything_and_the_seed_does(tmp_path: Path, made: tuple[Path, Path]) -> None:
    root, out = made
    dataset = read_dataset(root)
    turned = replace(dataset, samples=dataset.samples[::-1])
    augment_dataset(turned, tmp_path / "same", SECTION, copies=2, seed=1, workers=1)
    assert tree(tmp_path / "same") == tree(out)
    augment_dataset(dataset, tmp_path / "other", SECTION, copies=2, seed=2, workers=4)
    same = tree(out).items() & tree(tmp_path / "other").items()
    assert same == tree(root).items()
    augment_dataset(dataset, tmp_path / "more", SECTION, copies=3, seed=1)
    assert (tree(out).items() - {("origins.csv", tree(out)["origins.csv"])}) <= tree(tmp_path / "more").items()


def test_balance_makes_the_classes_equal(tmp_path: Path) -> None:
    root = planted(tmp_path / "in", {"train/a": 10, "train/b": 3, "train/c": 7, "val/a": 2, "val/b": 1, "val/c": 1})
    dataset = read_dataset(root)
    for copies in (0, 2):
        out = tmp_path / str(copies)
        done = augment_dataset(dataset, out, SECTION, copies=copies, balance=True, seed=0)
        assert done.counts["train"] == dict.fromkeys("abc", 10 * (copies + 1))
        assert done.counts["val"] == {"a": 2, "b": 1, "c": 1}
        assert done.copies == {c: 10 * (copies + 1) - n for c, n in zip("abc", (10, 3, 7), strict=True)}
        assert read_dataset(out).counts() == done.counts
        each = Counter(row["original"] for row in rows_of(out).values() if row["original"])
        for name in "abc":
            numbers = [each[f"train/{name}/{p.name}"] for p in (root / "train" / name).iterdir()]
            assert max(numbers) - min(numbers) <= 1
    chosen = [tuple(copies_of_each(dataset, 0, balance=True, seed=seed)) for seed in range(6)]
    assert len(set(chosen)) > 1
    assert {sum(c) for c in chosen} == {10}
    turned = replace(dataset, samples=dataset.samples[::-1])
    assert tuple(copies_of_each(turned, 0, balance=True, seed=5))[::-1] == chosen[5]


def test_folders_that_run_parallel_to_the_images_go_along(tmp_path: Path) -> None:
    """Lung fields beside masks; a folder `images` may stand anywhere between, and a readme is no picture."""
    for number, path in enumerate(("a/1.png", "a/2.png", "b/1.png", "b/2.png")):
        draw(tmp_path / "in" / "images" / path, number)
        for folder in ("Lung_Masks", "masks"):
            if path != "b/2.png":
                draw(tmp_path / "in" / folder / path.replace("png", "bmp"), 10 + number + len(folder))
    (tmp_path / "in" / "Lung_Masks" / "a" / "1.txt").touch()
    dataset = read_dataset(tmp_path / "in")
    splits = {"images/a/1.png": "train", "images/b/1.png": "train"}
    samples = tuple(replace(s, split=splits.get(s.path, "test")) for s in dataset.samples)  # type: ignore[arg-type]
    augment_dataset(replace(dataset, samples=samples), tmp_path / "out", SECTION, copies=1)
    rows = rows_of(tmp_path / "out")
    for folder in ("Lung_Masks", "masks"):
        before, after = tree(tmp_path / "in" / folder), tree(tmp_path / "out" / folder)
        before.pop("a/1.txt", None)
        assert {path.partition("/")[2]: h for path, h in after.items() if "_aug" not in path} == before
        assert {path for path in after if "_aug" in path} == {"train/a/1_aug1.png", "train/b/1_aug1.png"}
        mask, change = pixels_of(tmp_path / "in" / folder / "b/1.bmp"), change_of(rows["train/b/1_aug1.png"])
        assert (pixels_of(tmp_path / "out" / folder / "train/b/1_aug1.png") == change_mask(mask, change)).all()


def test_few_originals_are_told(tmp_path: Path) -> None:
    dataset = read_dataset(planted(tmp_path / "in", {"train/a": 24, "train/b": 1}))
    done = augment_dataset(dataset, tmp_path / "out", SECTION, copies=0, balance=True)
    assert len(done.notes) == 1
    assert done.notes[0].startswith("Class b has only 1 training image, and up to 23 copies of each were made")


def test_names_that_would_collide(tmp_path: Path) -> None:
    """Merged classes, folders below a class, and stems that differ in suffix, case or look like a copy's."""
    paths = ["covid/x.png", "flu/x.png", "flu/deep/x.png", "flu/x.bmp", "flu/X.png", "flu/x_aug1.png", "flu/x-2.png"]
    for number, path in enumerate([*paths, "ok/x.png", "ok/" + "\u00e9" * 120 + ".png"]):
        draw(tmp_path / "in" / path, number)
    dataset = read_dataset(tmp_path / "in", merge={"ill": ["covid", "flu"]})
    dataset = replace(dataset, samples=tuple(replace(s, split="train") for s in dataset.samples))
    done = augment_dataset(dataset, tmp_path / "out", SECTION, copies=1)
    assert (done.counts["train"], done.skipped) == ({"ok": 4, "ill": 14}, ())
    rows = rows_of(tmp_path / "out")
    assert len({path.casefold() for path in rows}) == 18
    assert {row["source"] for row in rows.values()} == {s.path for s in dataset.samples}
    assert len({path.rpartition(".")[0].casefold() for path in rows}) == 18
    for path, row in rows.items():
        if not row["original"]:
            assert tree(tmp_path / "in")[row["source"]] == tree(tmp_path / "out")[path]
    again = read_dataset(tmp_path / "out", group_by="(covid)|(flu)")
    assert Counter(s.group for s in again.samples if s.label == 1) == {"covid": 2, "flu": 12}


def test_boxes_and_groups_go_along(tmp_path: Path) -> None:
    for number, path in enumerate(("train/a/x.png", "train/b/y.png", "test/a/z.png", "test/b/w.png")):
        draw(tmp_path / "in" / path, number)
    boxes = {"train/a/x.png": [[3, 4, 20, 15]], "test/a/z.png": [[0, 0, 9, 9], [1, 2, 3, 4]]}
    (tmp_path / "in" / "boxes.json").write_text(json.dumps(boxes))
    dataset = read_dataset(tmp_path / "in", group_by="([a-z])[.]")
    augment_dataset(dataset, tmp_path / "out", SECTION, copies=2)
    found = {s.path: s for s in read_dataset(tmp_path / "out").samples}
    assert found["test/a/z.png"].boxes == ((0, 0, 9, 9), (1, 2, 3, 4))
    rows = rows_of(tmp_path / "out")
    for number in (1, 2):
        path = f"train/a/x_aug{number}.png"
        assert found[path].boxes == change_boxes([(3, 4, 20, 15)], change_of(rows[path]), (24, 32))
    assert {s.path.rpartition("/")[2][0]: s.group for s in found.values()} == {c: c for c in "xyzw"}


def test_what_cannot_be_read_is_told_and_left_out(tmp_path: Path) -> None:
    root = planted(tmp_path / "in", {"train/a": 3, "train/b": 4, "test/a": 2, "test/b": 2})
    (root / "train/a/p0_0.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    (root / "masks/train/b/p0_0.png").write_bytes(b"GIF")
    PIL.Image.new("L", (5, 5)).save(root / "masks/train/b/p0_1.png")
    dataset = read_dataset(root)
    (root / "test/a/p0_0.png").unlink()
    done = augment_dataset(dataset, tmp_path / "out", SECTION, copies=1)
    assert [s.path for s in done.skipped] == [
        "test/a/p0_0.png", "train/a/p0_0.png", "masks/train/b/p0_0.png", "masks/train/b/p0_1.png",
    ]  # fmt: skip
    assert done.counts == {"train": {"a": 4, "b": 8}, "test": {"a": 1, "b": 2}}
    again = read_dataset(tmp_path / "out")
    assert again.counts() == done.counts
    assert sum(s.mask is not None for s in again.samples if s.split == "train") == 4


def test_a_full_disk_stops_it(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    dataset = read_dataset(planted(tmp_path / "in", {"train/a": 3, "train/b": 3}))
    place = tmp_path / "out" / "train" / "a"
    place.mkdir(parents=True)
    (place / "p0_1_aug1.png").symlink_to("/dev/full")
    with pytest.raises(OSError) as failure:  # noqa: PT011 - the number says which
        augment_dataset(dataset, tmp_path / "out", SECTION, copies=1)
    assert failure.value.errno == errno.ENOSPC


def test_progress_is_told_in_order(tmp_path: Path) -> None:
    dataset = read_dataset(planted(tmp_path / "in", {"train/a": 3, "train/b": 3}))
    told: list[tuple[int, int]] = []
    augment_dataset(dataset, tmp_path / "out", SECTION, copies=1, progress=lambda *numbers: told.append(numbers))
    assert told == [(n, 6) for n in range(1, 7)]


@pytest.mark.parametrize(
    ("section", "copies", "balance", "classes", "words"),
    [
        (AugmentSection(), 1, False, "ab", r"every range in its section `augment` is 0"),
        (SECTION, 0, False, "ab", "`copies=` must lie between 1 and 1000; it is 0"),
        (SECTION, -1, True, "ab", "`copies=` must lie between 0 and 1000; it is -1"),
        (SECTION, 1001, False, "ab", "it is 1001"),
        (SECTION, 1, False, ("a", "x/y"), "'x/y' cannot be the name of a folder"),
        (SECTION, 1, False, ("a", ".."), "cannot be the name of a folder"),
        (SECTION, 1, False, ("a", "Masks"), "cannot be the name of a folder"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, section: AugmentSection, copies: int, balance: bool, classes: Sequence[str], words: str
) -> None:
    samples = tuple(Sample(f"{i}.png", i, "train") for i in (0, 1))
    dataset = Dataset(tmp_path, tuple(classes), samples)
    with pytest.raises(InputError, match=words):
        augment_dataset(dataset, tmp_path / "out", section, copies=copies, balance=balance)
    assert not (tmp_path / "out").exists()


def test_copies_are_not_copied_again_and_splits_come_first(tmp_path: Path, made: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match="holds augmented copies already"):
        augment_dataset(read_dataset(made[1]), tmp_path / "out", SECTION, copies=1)
    dataset = Dataset(tmp_path, ("a", "b"), (Sample("a/x.png", 0, "train"), Sample("b/x.png", 1)))
    with pytest.raises(InputError, match="no splits yet"):
        augment_dataset(dataset, tmp_path / "out", SECTION, copies=1)
