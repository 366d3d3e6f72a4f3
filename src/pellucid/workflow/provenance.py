"""What a run says of how it came about: when, with which versions, on what, from which images."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from .._version import __version__
from ..bundle.run import DataRecord, RunFolder, SkippedFile
from ..data.dataset import Dataset
from ..data.manifest import read_checksums

LIBRARIES = ("numpy", "pillow", "onnxruntime", "torch", "torchvision", "timm", "onnx", "onnxscript", "scikit-learn")


def now() -> str:
    """The present moment in UTC, ISO 8601 to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of pellucid, Python and the libraries that decide a result, of those installed."""
    found = {"pellucid": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, str]:
    """The device that torch would train on, the machine and its system."""
    from ..training.hardware import describe, pick_device

    return {
        "device": describe(pick_device()),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
    }


def data_record(
    dataset: Dataset, data: Path, run: RunFolder, *, reasons: Sequence[str], overlaps: tuple[str, ...]
) -> DataRecord:
    """What a run's record says of its data; `reasons` are those of the split."""
    return DataRecord(
        source=str(data.resolve()),
        images=len(dataset),
        checksum=data_checksum(dataset, run),
        counts=dataset.counts(),
        groups=len({s.group for s in dataset.samples if s.group}),
        skipped=tuple(SkippedFile(path=s.path, reason=s.reason) for s in dataset.skipped),
        notes=(*dataset.notes, *reasons),
        overlaps=overlaps,
        synthetic=(data / "phantom.json").is_file(),
    )


def data_checksum(dataset: Dataset, run: RunFolder) -> str:
    """One sha256 over the content hashes of all images of a run, in sorted order."""
    hashes = read_checksums(run.split)
    return joint_checksum([hashes[s.path] for s in dataset.samples])


def joint_checksum(hashes: Sequence[str]) -> str:
    """One sha256 over content hashes, in sorted order."""
    return hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()
