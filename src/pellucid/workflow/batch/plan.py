"""The plan of a batch: `items.parquet`, all images in order, one row group per part. Written once, then only read."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import astuple, fields
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from ...errors import InputError
from .sources import Item
from .tables import open_parquet, read_group

PLAN = "items.parquet"
_NAMES = [field.name for field in fields(Item)]


def write_plan(path: Path, items: Iterable[Item], part_size: int, listed: Callable[[int], None]) -> int:
    """Write the items with at most `part_size` in memory; returns their number.

    `listed` is called with the number so far. The file appears whole or not at all. Errors of the iterable pass
    through.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers = {"start": pa.int64(), "length": pa.int64()}
    schema = pa.schema([(name, numbers.get(name, pa.string())) for name in _NAMES])
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    walk, total = iter(items), 0
    try:
        with temporary.open("wb") as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
            while chunk := list(islice(walk, part_size)):
                columns = zip(*(astuple(item) for item in chunk), strict=True)
                writer.write_table(pa.table(dict(zip(_NAMES, map(list, columns), strict=True)), schema))
                total += len(chunk)
                listed(total)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return total


class Plan:
    """The plan of a batch, opened; a context manager. `part(k)` returns the items of part k.

    Raises InputError when the file is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        with ExitStack() as opened:
            try:
                file = opened.enter_context(path.open("rb"))
                self._table: Any = opened.enter_context(open_parquet(file))
            except (OSError, pa.ArrowException) as error:
                message = f"{path} cannot be read, so this batch cannot be resumed: start it again in another `out=`."
                raise InputError(message) from error
            self._opened = opened.pop_all()

    def __enter__(self) -> Plan:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    @property
    def parts(self) -> int:
        """Number of parts."""
        return int(self._table.num_row_groups)

    @property
    def items(self) -> int:
        """Number of items."""
        return int(self._table.metadata.num_rows)

    def length(self, part: int) -> int:
        """Number of items of one part."""
        return int(self._table.metadata.row_group(part).num_rows)

    def part(self, part: int) -> list[Item]:
        """The items of one part, in order."""
        columns = read_group(self._table, part).to_pydict()
        return [Item(*row) for row in zip(*(columns[name] for name in _NAMES), strict=True)]

    def pick(self, indices: Iterable[int], part_size: int) -> Iterator[tuple[int, Item]]:
        """The items with these indices, in rising order."""
        held, items = -1, list[Item]()
        for index in sorted(indices):
            if index // part_size != held:
                held = index // part_size
                items = self.part(held)
            yield index, items[index % part_size]
