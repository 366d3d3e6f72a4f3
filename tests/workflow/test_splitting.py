from __future__ import annotations

import csv
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from pellucid.data.cache import cached_pixels
from pellucid.data.dataset import Sample
from pellucid.data.folder import read_dataset
from pellucid.data.split import split_dataset
from pellucid.errors import DataError, InputError, ResourceError
from pellucid.preprocessing import Preprocessing
from pellucid.workflow import splitting
from pellucid.workflow.splitting import folds_to_folder, relocated, split_to_file


def planted(root: Path, sizes: dict[str, int], *, masks: bool = False) -> Path:
    """`root/<place>/` with so many images each that all look different, two of each patient."""
    for number, (place, count) in enumerate(sizes.items()):
        (root / place).mkdir(parents=True)
        for i in range(count):
            pixels = np.random.default_rng(1000 * number + i).integers(0, 256, (40, 40), dtype=np.uint8)
            PIL.Image.fromarray(pixels).resize((20, 20)).save(root / place / f"p{i // 2}_{i}.png")
            if masks:
                (root / "masks" / place).mkdir(parents=True, exist_ok=True)
                PIL.Image.new("L", (20, 20), 255).save(root / "masks" / place / f"p{i // 2}_{i}.png")
    return root


def seen(samples: tuple[Sample, ...], root: Path) -> dict[str, tuple[object, ...]]:
    """Every sample by the place of its file, whatever its path is called."""

    def place(path: str | None) -> str | None:
        return path and os.path.realpath(root / path)

    return {str(place(s.path)): (s.label, s.split, s.group, place(s.mask), s.boxes) for s in samples}


@pytest.mark.parametrize("where", ["split.csv", "data/split.csv", "data/a/split.csv", "far/away/split.csv"])
def test_the_file_stands_for_the_dataset_wherever_it_is(tmp_path: Path, where: str) -> None:
    planted(tmp_path / "data", {"a": 40, "b": 60}, masks=True)
    boxes = {"a/p0_0.png": [[1, 2, 3, 4]], "b/p3_6.png": [[0, 0, 9, 9], [5, 5, 6, 6.5]]}
    (tmp_path / "data" / "boxes.json").write_text(json.dumps(boxes))
    dataset = read_dataset(tmp_path / "data", group_by=r"(p\d+)_")
    written = split_to_file(dataset, tmp_path / where, seed=3)
    assert not written.proof.leaks
    again = read_dataset(tmp_path / where)
    assert again.classes == dataset.classes
    assert seen(again.samples, again.root) == seen(written.dataset.samples, dataset.root)
    assert {s for _, s, *_ in seen(again.samples, again.root).values()} == {"train", "val", "test"}
    assert sum(bool(s.boxes) for s in again.samples) == 2
    with (tmp_path / where).open(newline="") as file:
        for row in csv.DictReader(file):
            assert (tmp_path / where).parent.joinpath(row["path"]).is_file()
            assert len(row["sha256"]) == 64


def test_through_links_and_from_another_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(tmp_path / "real" / "deep" / "data", {"a": 30, "b": 30})
    (tmp_path / "data").symlink_to(tmp_path / "real" / "deep" / "data")
    (tmp_path / "real" / "further" / "down").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "real" / "further" / "down")
    monkeypatch.chdir(tmp_path)
    dataset = read_dataset(Path("data"))
    split_to_file(dataset, Path("out/split.csv"))
    split_to_file(dataset, Path("here.csv"))
    found = [seen((d := read_dataset(Path(p))).samples, d.root) for p in ("out/split.csv", "here.csv")]
    assert found[0] == found[1]
    assert len(found[0]) == 60


def test_training_takes_the_file_as_it_is(tmp_path: Path) -> None:
    """What training does with its data, under another seed, keeps the split and finds every image."""
    planted(tmp_path / "data", {"a": 80, "b": 80})
    dataset = read_dataset(tmp_path / "data", group_by=r"(p\d+)_")
    written = split_to_file(dataset, tmp_path / "files" / "split.csv", seed=5)
    read = read_dataset(tmp_path / "files" / "split.csv")
    cached = cached_pixels(read, Preprocessing(height=16, width=16), tmp_path / "cache")
    plan = split_dataset(cached.dataset, seed=99, leave_out_twins=True)
    assert seen(plan.dataset.samples, read.root) == seen(written.dataset.samples, dataset.root)
    assert (len(cached.pixels), plan.dataset.skipped) == (160, ())


def test_folds_test_every_image_once_and_share_their_boxes(tmp_path: Path) -> None:
    planted(tmp_path / "data", {"a": 30, "b": 45})
    (tmp_path / "data" / "boxes.json").write_text(json.dumps({"a/p0_0.png": [[1, 2, 3, 4]]}))
    dataset = read_dataset(tmp_path / "data", group_by=r"(p\d+)_")
    written = folds_to_folder(dataset, tmp_path / "folds", 3, seed=1)
    assert sorted(p.name for p in (tmp_path / "folds").iterdir()) == [
        "boxes.json", "fold-1.csv", "fold-2.csv", "fold-3.csv",
    ]  # fmt: skip
    tested: Counter[str] = Counter()
    for fold in written:
        assert not fold.proof.leaks
        again = read_dataset(fold.path)
        assert seen(again.samples, again.root) == seen(fold.dataset.samples, dataset.root)
        assert sum(bool(s.boxes) for s in again.samples) == 1
        tested.update(s.path for s in again.samples if s.split == "test")
    assert set(tested.values()) == {1}
    assert len(tested) == 75


def test_folds_appear_together_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(tmp_path / "data", {"a": 30, "b": 30})
    dataset = read_dataset(tmp_path / "data")
    with pytest.raises(DataError, match="at least 2 folds"):
        folds_to_folder(dataset, tmp_path / "folds", 1)
    write = splitting.write_split

    def fails_later(path: Path, *rest: object) -> None:
        if path.name == "fold-2.csv":
            raise OSError(28, "No space left on device")
        write(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(splitting, "write_split", fails_later)
    with pytest.raises(ResourceError, match="No space left"):
        folds_to_folder(dataset, tmp_path / "folds", 3)
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    dataset = read_dataset(planted(tmp_path / "data", {"a": 30, "b": 30}))
    (tmp_path / "split.csv").write_text("precious")
    with pytest.raises(InputError, match="no split is overwritten"):
        split_to_file(dataset, tmp_path / "split.csv")
    (tmp_path / "data" / "boxes.json").write_text(json.dumps({"a/p0_0.png": [[1, 2, 3, 4]]}))
    (tmp_path / "boxes.json").write_text(json.dumps({"data/a/p0_0.png": [[1, 2, 3, 5]]}))
    with pytest.raises(InputError, match="holds other boxes"):
        split_to_file(read_dataset(tmp_path / "data"), tmp_path / "other.csv")
    assert (tmp_path / "split.csv").read_text() == "precious"
    assert not (tmp_path / "other.csv").exists()


def test_what_was_left_out_is_told_apart_from_what_could_not_be_read(tmp_path: Path) -> None:
    root = planted(tmp_path / "data", {"train/a": 30, "train/b": 30, "test/a": 8, "test/b": 8})
    (root / "train/a/copy.png").write_bytes((root / "test/a/p0_0.png").read_bytes())
    (root / "train/b/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    dataset = read_dataset(root)
    kept = split_to_file(dataset, tmp_path / "kept.csv")
    assert [str(o.criterion) for o in kept.proof.leaks] == ["content"]
    assert ([s.path for s in kept.skipped], kept.left_out) == (["train/b/broken.png"], ())
    clean = split_to_file(dataset, tmp_path / "clean.csv", leave_out_twins=True)
    assert clean.proof.leaks == ()
    assert [[s.path for s in paths] for paths in (clean.skipped, clean.left_out)] == [
        ["train/b/broken.png"],
        ["train/a/copy.png"],
    ]
    assert len(read_dataset(tmp_path / "clean.csv")) == 76


def test_a_dataset_seen_from_its_own_folder_is_itself(tmp_path: Path) -> None:
    dataset = read_dataset(planted(tmp_path / "data", {"a": 2, "b": 2}))
    assert relocated(dataset, tmp_path / "x" / ".." / "data") is dataset
    assert relocated(dataset, tmp_path / "x").samples[0].path == "../data/a/p0_0.png"
