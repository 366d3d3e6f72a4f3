"""Parquet read in the calling thread alone.

By default Arrow reads ahead in threads of its own. Handed a Python file, such a thread may release it while the
interpreter ends, which aborts a program that has done all its work (apache/arrow #34314). Here nothing is read ahead,
and the caller decodes the columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


def open_parquet(file: BinaryIO) -> pq.ParquetFile:
    """A Parquet file, to be used as a context manager. Raises ArrowException or OSError for one that is damaged."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(file, pre_buffer=False)


def read_group(table: pq.ParquetFile, group: int, columns: Sequence[str] | None = None) -> pa.Table:
    """One row group of a file that `open_parquet` opened: all columns, or those of these (dotted) names."""
    return table.read_row_group(group, columns=None if columns is None else list(columns), use_threads=False)


def read_columns(file: BinaryIO, columns: Sequence[str]) -> pa.Table:
    """Some columns of a whole file."""
    with open_parquet(file) as table:
        return table.read(columns=list(columns), use_threads=False)
