"""A sealed test: the test images stay out of every decision of a training, and each use is counted.

The seal of a whole run is in its `run.json`; that of a training under way is a file of its own, so that a use of the
test images counts although the training is interrupted after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..bundle.run import Opening, RunFolder, RunRecord, SealedTest
from ..data.dataset import Dataset
from ..data.fingerprint import content_hashes
from ..errors import ResourceError
from ..files import write_whole
from .leaks import checksums_of_split
from .provenance import data_checksum, joint_checksum, now


def open_first(folder: RunFolder, test: Dataset) -> SealedTest:
    """Seal the test images of a training and open them for its one evaluation; earlier openings of it count.

    The checksum of the seal is that of the images when they were read and split.
    """
    if folder.seal.is_file():
        seal = SealedTest.model_validate_json(folder.seal.read_bytes())
    else:
        seal = SealedTest(images=len(test), checksum=data_checksum(test, folder))
    seal = _opened(seal, _hashes(test), "train")
    _write(folder.seal, seal)
    return seal


def open_again(folder: RunFolder, dataset: Dataset, by: str, *, own_test: bool) -> SealedTest | None:
    """Count a use of a run's sealed test images by a command; None where they were not sealed, or not used.

    `dataset` is the run's test split with `own_test`; of other data those images count that are the sealed ones byte
    for byte. Raises ResourceError when the use cannot be recorded.
    """
    record = folder.read_record() if folder.record.is_file() else None
    if record is None or record.sealed is None:
        return None
    hashes = _hashes(dataset)
    if not own_test:
        sealed = checksums_of_split(folder.split, "test")
        hashes = [h for h in hashes if h in sealed]
        if not hashes:
            return None
    seal = _opened(record.sealed, hashes, by)
    _write(folder.record, record.model_copy(update={"sealed": seal}))
    return seal


def _hashes(dataset: Dataset) -> list[str]:
    """The content hash of each image as it is now."""
    return content_hashes([dataset.file(s) for s in dataset.samples])


def _opened(seal: SealedTest, hashes: Sequence[str], by: str) -> SealedTest:
    opening = Opening(time=now(), by=by, images=len(hashes), checksum=joint_checksum(hashes))
    return seal.model_copy(update={"openings": (*seal.openings, opening)})


def _write(path: Path, document: SealedTest | RunRecord) -> None:
    try:
        write_whole(path, document.model_dump_json(indent=2))
    except OSError as error:
        raise ResourceError(
            f"{path} cannot be written ({error.strerror}), and each use of a sealed test is recorded there. Free some "
            "space, or check who may write to it."
        ) from error
