"""Rows of arrays in memory and in files, against plain indexing, and the memory that they do not take."""

import os
import subprocess
import sys

import numpy as np
import pytest

from pellucid.training.rows import RowReader


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize("offset", [0, 24])
def test_rows_of_a_file_are_those_of_the_array(tmp_path, kind, offset):
    values = np.random.default_rng(0).integers(0, 255, (30, 4, 5)).astype(kind)
    (tmp_path / "f").write_bytes(bytes(offset) + values.tobytes())
    mapped = np.memmap(tmp_path / "f", kind, "r", offset=offset, shape=values.shape)
    chosen = np.array([7, 29, 0, 7, 3])
    for array in (values, mapped, mapped[2:], mapped[::2]):
        wanted = np.array([3, 0, 5, 5])
        assert (RowReader(array)(wanted) == np.asarray(array)[wanted]).all()
    assert (RowReader(mapped)(chosen) == values[chosen]).all()
    assert RowReader(mapped)(np.array([], np.intp)).shape == (0, 4, 5)


def test_a_file_that_was_cut_off_is_told(tmp_path):
    np.zeros((8, 1000), np.uint8).tofile(tmp_path / "f")
    mapped = np.memmap(tmp_path / "f", np.uint8, "r", shape=(8, 1000))
    reader = RowReader(mapped)
    os.truncate(tmp_path / "f", 3500)
    with pytest.raises(OSError, match="Row 5 is not in the file"):
        reader(np.array([0, 5]))


def test_reading_all_of_a_large_file_takes_little_memory(tmp_path):
    code = """
import resource, sys
import numpy as np
from pellucid.training.rows import RowReader
mapped = np.memmap(sys.argv[1], np.uint8, "r", shape=(4000, 50_000))
reader = RowReader(mapped)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for start in range(0, 4000, 32):
    assert not reader(np.arange(start, start + 32)).any()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    with (tmp_path / "f").open("wb") as file:
        file.truncate(4000 * 50_000)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "f")], capture_output=True, text=True, check=True)
    grown = int(done.stdout) * (1 if sys.platform == "darwin" else 1024)
    assert grown < 30e6, "a map of the file would have grown by 200 MB"
