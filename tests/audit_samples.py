"""Small folders of labelled pictures to audit: two classes that differ in nothing but what a test plants."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image

from pellucid.data.companions import check_companions
from pellucid.data.disjointness import kinship_of
from pellucid.data.finding import Finding
from pellucid.data.folder import read_dataset
from pellucid.data.inspection import Inspection
from pellucid.data.metadata import metadata_test
from pellucid.data.statistics import ImageMeasurements, measure_images
from pellucid.data.summary import audit

Pixels = npt.NDArray[np.uint8]
SIZES = {"train": 25, "val": 20, "test": 30}


def clouds(rng: np.random.Generator, side: int = 48) -> Pixels:
    """A grey picture of soft blobs and a little noise, unlike any other."""
    small = PIL.Image.fromarray(rng.integers(40, 200, (7, 7)).astype(np.uint8))
    smooth = np.asarray(small.resize((side, side), PIL.Image.Resampling.BICUBIC), np.float64)
    return np.clip(smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)


def save(path: Path, pixels: Pixels, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path, **options)
    return path


def plain(path: Path, pixels: Pixels, ill: bool) -> None:
    save(path.with_suffix(".png"), pixels)


def write_folder(
    root: Path, write: Callable[[Path, Pixels, bool], None] = plain, *, seed: int = 0, sizes: dict[str, int] = SIZES
) -> Path:
    """`root/<split>/{ill,normal}/*`, as many of each class as `sizes` says; `write` saves one picture."""
    rng = np.random.default_rng(seed)
    for split, size in sizes.items():
        for name in ("ill", "normal"):
            (root / split / name).mkdir(parents=True, exist_ok=True)
            for _ in range(size):
                write(root / split / name / f"{rng.integers(1 << 60):x}z", clouds(rng), name == "ill")
    return root


def look(root: Path, *, metadata: bool = False) -> tuple[Inspection, ImageMeasurements]:
    """Audit a folder without features, and only on demand with the metadata-only test, which takes a second."""
    found = measure_images(read_dataset(root))
    kin = kinship_of(found.dataset, found.fingerprints)
    test = metadata_test(found, kin.unit) if metadata else None
    groups = [s.group for s in found.dataset.samples]
    beside = check_companions(found.dataset)
    inspection = audit(
        found, kin, companions=beside, source=str(root), groups=groups, pattern=None, metadata=test, labels=None
    )
    return inspection, found


def about(inspection: Inspection, topic: str) -> list[Finding]:
    return [f for f in inspection.findings if f.topic == topic]
