"""A DICOMDIR, or a folder with one, as a source of batches."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.fileset import FileSet
from tests.pacs import films

from pellucid.errors import InputError
from pellucid.workflow.batch.sources import list_items


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """pydicom leaves the temporary folder of a set of files to the garbage collector."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_images_of_a_dicomdir_are_listed(tmp_path: Path) -> None:
    written = FileSet()
    uids = set()
    for n in range(3):
        film = films.film(n, 64, InstanceNumber=n + 1)
        uids.add(str(film.SOPInstanceUID))
        written.add(film)
    written.write(tmp_path / "disc")
    for source in (tmp_path / "disc" / "DICOMDIR", tmp_path / "disc"):
        items = list(list_items([str(source)]))
        assert {str(films.read(Path(item.path)).SOPInstanceUID) for item in items} == uids


def test_a_dicomdir_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "DICOMDIR").write_bytes(b"nothing" * 100)
    with pytest.raises(InputError, match="not a DICOM directory"):
        list(list_items([str(tmp_path)]))
