"""Concepts that were found once, recognised in new pictures: how much of each a cell of the explained layer holds."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..classifier import EvidenceClassifier
from ..errors import BundleError
from ..files import write_whole
from ..preprocessing import FloatArray, GridGeometry
from .concepts import beyond_usual

Values = npt.NDArray[np.float64]
SWEEPS = 60
"""Rounds of coordinate descent; a dozen factors have long settled by then."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassFactors:
    """The K factors of one class: `parts` (K, C) sum to 1 each; `usual` (C,) is what other classes' pictures have."""

    parts: Values
    usual: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class ConceptMaps:
    """How much of each factor the cells of N pictures hold: `amounts` (N, K, h, w), in units of the score."""

    amounts: Values
    geometry: GridGeometry


def concept_maps(classifier: EvidenceClassifier, batch: FloatArray, label: str, factors: ClassFactors) -> ConceptMaps:
    """Where pictures (N, 3, H, W), normalised, hold each factor of a class, by one pass."""
    evidence = classifier.evidence(batch, (label,))
    contributions = beyond_usual(evidence.activations * evidence.gradients[:, 0], factors.usual)
    vectors = np.maximum(np.moveaxis(contributions, 1, -1), 0).astype(np.float64)
    amounts = non_negative_amounts(vectors.reshape(-1, vectors.shape[-1]), factors.parts)
    shaped = amounts.reshape(*vectors.shape[:3], len(factors.parts))
    return ConceptMaps(np.moveaxis(shaped, -1, 1), evidence.geometry)


def non_negative_amounts(vectors: Values, parts: Values) -> Values:
    """The amounts (M, K), none negative, of which `amounts @ parts` comes nearest to `vectors` (M, C) in squares."""
    products, seen = parts @ parts.T, vectors @ parts.T
    norms = np.maximum(np.diag(products), 1e-30)
    amounts = np.maximum(seen / norms, 0) / len(parts)
    for _ in range(SWEEPS):
        for k in range(len(parts)):
            amounts[:, k] = np.maximum(0, amounts[:, k] + (seen[:, k] - amounts @ products[:, k]) / norms[k])
    return amounts


def write_factors(path: Path, factors: dict[int, ClassFactors]) -> None:
    """Keep the factors of classes, by number, in one `.npz` file."""
    buffer = BytesIO()
    arrays = {f"parts-{k}": f.parts.astype(np.float32) for k, f in factors.items()}
    arrays |= {f"usual-{k}": f.usual for k, f in factors.items()}
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, buffer.getvalue())


def read_factors(path: Path) -> dict[int, ClassFactors]:
    """What `write_factors` wrote; nothing where there is no file. Raises BundleError for a damaged one."""
    if not path.is_file():
        return {}
    try:
        with np.load(BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            numbers = sorted(int(name.removeprefix("parts-")) for name in arrays.files if name.startswith("parts-"))
            return {k: ClassFactors(arrays[f"parts-{k}"].astype(np.float64), arrays[f"usual-{k}"]) for k in numbers}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path} is damaged: {error}. Audit the run again with `discover=`.") from error
