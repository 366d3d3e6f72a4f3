"""Small pictures of a woven surface, some with a patch that does not belong, in the layout of MVTec AD."""

from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 64


def surface(rng: np.random.Generator, side: int = SIDE) -> np.ndarray:
    """A picture (side, side) of stripes with a random phase, some noise and a random brightness."""
    across = np.arange(side)
    stripes = np.sin(across[None] / 2.5 + rng.uniform(0, 6)) + np.sin(across[:, None] / 2.5 + rng.uniform(0, 6))
    return 120 + rng.uniform(-8, 8) + 25 * stripes + rng.normal(0, 6, (side, side))


def defect(rng: np.random.Generator, picture: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The picture with a defect, and the mask of it."""
    side = len(picture)
    mask = np.zeros((side, side), bool)
    y, x = rng.integers(8, side - 24, 2)
    if kind == "hole":
        mask[y : y + 14, x : x + 14] = True
        picture = np.where(mask, 20.0, picture)
    else:
        mask[y : y + 3, 4 : side - 4] = True
        picture = np.where(mask, 240.0, picture)
    return picture, mask


def save(picture: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(np.rint(picture), 0, 255).astype(np.uint8)).save(path)


def write_mvtec(root: Path, *, train: int = 40, good: int = 12, bad: int = 8, seed: int = 0) -> Path:
    """`train/good`, `test/good`, `test/hole`, `test/scratch` and `ground_truth`, as MVTec AD has them."""
    rng = np.random.default_rng(seed)
    for i in range(train):
        save(surface(rng), root / "train" / "good" / f"{i:03}.png")
    for i in range(good):
        save(surface(rng), root / "test" / "good" / f"{i:03}.png")
    for kind in ("hole", "scratch"):
        for i in range(bad):
            picture, mask = defect(rng, surface(rng), kind)
            save(picture, root / "test" / kind / f"{i:03}.png")
            save(255.0 * mask, root / "ground_truth" / kind / f"{i:03}_mask.png")
    return root
