from __future__ import annotations

from pathlib import Path

import numpy as np
from tests.audit_samples import save

from pellucid.data.companions import Companions, check_companions
from pellucid.data.dataset import OmittedFile
from pellucid.data.folder import read_dataset

PIXELS = np.arange(400, dtype=np.uint8).reshape(20, 20)


def write(root: Path, *paths: str) -> Path:
    for path in paths:
        save(root / path, PIXELS)
    return root


def test_masks_of_images_are_in_order(tmp_path: Path) -> None:
    images = [f"{s}/{c}/{i}.png" for s in ("train", "test") for c in "ab" for i in range(3)]
    write(tmp_path, *images, *(f"masks/{path}" for path in images), *(f"lungs/{path}" for path in images[:4]))
    write(tmp_path, *(f"masks/lungs/{path}" for path in images[:5]))
    assert check_companions(read_dataset(tmp_path)) == Companions({"lungs": 4, "masks": 12, "masks/lungs": 5}, (), ())
    write(tmp_path, "masks/lungs/train/a/8.png")
    assert check_companions(read_dataset(tmp_path)).orphans == ("masks/lungs/train/a/8.png",)


def test_masks_without_an_image_and_broken_ones_are_named(tmp_path: Path) -> None:
    images = [f"train/{c}/{i}.png" for c in "ab" for i in range(3)]
    write(tmp_path, *images, *(f"masks/{path}" for path in images), "masks/train/a/9.png", "masks/test/a/1.png")
    (tmp_path / "masks/train/b/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    seen: list[tuple[int, int]] = []
    found = check_companions(read_dataset(tmp_path), progress=lambda done, total: seen.append((done, total)))
    assert found.orphans == ("masks/test/a/1.png", "masks/train/a/9.png", "masks/train/b/broken.jpg")
    assert [s.path for s in found.unreadable] == ["masks/train/b/broken.jpg"]
    assert found.trees == {"masks": 9}
    assert seen[-1] == (9, 9)


def test_folders_and_endings_may_differ(tmp_path: Path) -> None:
    # As in the magnetic tiles: images/{normal,anomalous}/x.jpg and masks/anomalous/x.png, inside one more folder.
    write(tmp_path, *(f"set/images/{c}/{i}.jpg" for c in ("normal", "anomalous") for i in range(3)))
    write(tmp_path, "set/masks/anomalous/0.png", "set/masks/anomalous/1.png", "set/masks/anomalous/7.png")
    found = check_companions(read_dataset(tmp_path))
    assert found == Companions({"set/masks": 3}, (), ("set/masks/anomalous/7.png",))


def test_another_way_of_naming_is_left_alone(tmp_path: Path) -> None:
    images = [f"{c}/{i}.png" for c in "ab" for i in range(3)]
    write(tmp_path, *images, *(f"labels/{c}/{i}_mask.png" for c in "ab" for i in range(3)))
    assert check_companions(read_dataset(tmp_path)) == Companions({"labels": 6}, (), ())


def test_a_class_that_is_named_so_is_no_mask(tmp_path: Path) -> None:
    write(tmp_path, *(f"{c}/{i}.png" for c in ("lungs", "hearts") for i in range(3)))
    assert check_companions(read_dataset(tmp_path, classes=("lungs", "hearts"))) == Companions({}, (), ())
    write(tmp_path, ".hidden/masks/x.png")
    assert check_companions(read_dataset(tmp_path, classes=("lungs", "hearts"))).trees == {}


def test_masks_of_images_that_are_left_out_are_no_orphans(tmp_path: Path) -> None:
    images = [f"{c}/{i}.png" for c in "abc" for i in range(3)]
    write(tmp_path, *images, *(f"masks/{path}" for path in images))
    assert check_companions(read_dataset(tmp_path, classes=("a", "b"))).orphans == ()


def test_of_a_csv_only_the_masks_that_it_names_are_opened(tmp_path: Path) -> None:
    write(tmp_path, "x/1.png", "x/2.png", "m/1.png", "masks/other/9.png")
    (tmp_path / "m/2.png").write_bytes(b"")
    (tmp_path / "list.csv").write_text("path,label,mask\nx/1.png,a,m/1.png\nx/2.png,b,m/2.png\n", encoding="utf-8")
    found = check_companions(read_dataset(tmp_path / "list.csv"), search=False)
    assert found == Companions({}, (OmittedFile("m/2.png", "The file is empty."),), ())
