"""What a batch wrote, as plain Python."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def table_of(out: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted(out.glob("part-*.parquet"))])


def rows_of(out: Path) -> list[dict[str, Any]]:
    """Every row but for the seconds, which differ from run to run; floats as they are, bit for bit."""
    return table_of(out).drop_columns(["seconds"]).to_pylist()


def skipped_of(out: Path) -> list[tuple[str, str]]:
    with (out / "skipped.csv").open(encoding="utf-8", newline="") as file:
        return [(row["path"], row["reason"]) for row in csv.DictReader(file)]
