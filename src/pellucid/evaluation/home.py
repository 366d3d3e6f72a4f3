"""Images from home: what a bundle keeps of its validation images, so that images from elsewhere can be held against it.

The file `home.npz` has pooled features, logits, labels and units of up to 500 images, never pixels, paths or names.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import BundleError
from ..preprocessing import FloatArray
from .intervals import Indices, Resampling

HOME = "home.npz"
MOST = 500
_LARGEST = 2**27


@dataclass(frozen=True, slots=True, eq=False)
class KeptHome:
    """N images that no layer was trained on: `features` (N, C), `logits` (N, L), `labels` and `units` (N,)."""

    features: FloatArray
    logits: FloatArray
    labels: Indices
    units: Indices

    def to_bytes(self) -> bytes:
        """The arrays as an uncompressed .npz file; features in half precision."""
        stream = io.BytesIO()
        half = np.clip(self.features, -6e4, 6e4).astype(np.float16)
        np.savez(stream, features=half, logits=self.logits, labels=self.labels, units=self.units)
        return stream.getvalue()


def keep_home(
    features: FloatArray, logits: FloatArray, labels: Indices, groups: Sequence[str], most: int = MOST
) -> KeptHome:
    """Some of the validation images, drawn by chance, at most `most`."""
    units = Resampling.of(len(labels), groups, resamples=100, seed=0).unit_of
    drawn = np.sort(np.random.default_rng(0).permutation(len(labels))[:most])
    return KeptHome(features[drawn], logits[drawn], labels[drawn], np.asarray(units)[drawn])


def read_home(folder: Path) -> KeptHome | None:
    """What `to_bytes` gave, from a bundle's folder; None without the file. BundleError for a damaged one."""
    path = folder / HOME
    if not path.is_file():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > _LARGEST:
            raise BundleError(f"{path} would take {size:,} bytes in memory, more than any home images. Remove it.")
        with np.load(path, allow_pickle=False) as arrays:
            found = KeptHome(
                arrays["features"].astype(np.float32),
                arrays["logits"].astype(np.float32),
                arrays["labels"].astype(np.int64),
                arrays["units"].astype(np.int64),
            )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path} cannot be read as home images ({error}). Copy the bundle again.") from error
    count = len(found.labels)
    shapes: list[npt.NDArray[np.generic]] = [found.features, found.logits, found.units]
    if found.features.ndim != 2 or found.logits.ndim != 2 or any(len(a) != count for a in shapes):
        raise BundleError(f"The arrays in {path} do not fit each other. Copy the bundle again.")
    return found
