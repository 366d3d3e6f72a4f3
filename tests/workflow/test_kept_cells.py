"""Cells on disk, instead of describing every image twice."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pellucid.workflow import kept_cells as module
from pellucid.workflow.kept_cells import kept_cells

PATCHES = np.random.default_rng(0).normal(size=(6, 2, 3, 4)).astype(np.float32)
SAMPLES = np.array([10, 11, 12, 13, 14, 15])


def test_what_is_wanted_is_kept_as_it_was_and_the_file_is_gone_afterwards(tmp_path: Path) -> None:
    with kept_cells(tmp_path / "cache", SAMPLES[[1, 4]]) as cells:
        assert cells is not None
        cells.add(SAMPLES[:3], PATCHES[:3])
        assert not cells.complete
        cells.add(SAMPLES[3:], PATCHES[3:])
        assert cells.complete
        assert np.array_equal(cells.read(SAMPLES[[4, 1]])[0], PATCHES[[4, 1]])
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_takes_too_much_room_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 2 * PATCHES[0].nbytes)
    with kept_cells(tmp_path, SAMPLES) as cells:
        assert cells is not None
        cells.add(SAMPLES, PATCHES)
        assert not cells.complete
        assert np.array_equal(cells.read(SAMPLES[:2])[0], PATCHES[:2])


def test_half_of_the_free_disk_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=6 * PATCHES[0].nbytes))
    with kept_cells(tmp_path, SAMPLES) as cells:
        assert cells is not None
        cells.add(SAMPLES[:3], PATCHES[:3])
        assert np.array_equal(cells.read(SAMPLES[:3])[0], PATCHES[:3])
        cells.add(SAMPLES[3:], PATCHES[3:])
        with pytest.raises(KeyError):
            cells.read(SAMPLES[3:4])[0]


def test_without_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    with kept_cells(None, SAMPLES) as cells:
        assert cells is None
    (tmp_path / "file").write_text("")
    with kept_cells(tmp_path / "file", SAMPLES) as cells:
        assert cells is None
