"""Parquet is read by the thread that asks: no other one holds a Python object when the program ends."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.workflow.batch.rows import rows_of

from pellucid.workflow.batch import plan, reading, sources
from pellucid.workflow.batch.parts import read_parts, read_skipped
from pellucid.workflow.batch.run import Running, predict_archive
from pellucid.workflow.batch.sources import list_items

ENDS = """
import sys, time
from pathlib import Path

class Slow:
    # A file whose release takes long, so that a thread that holds it is still at it when the program ends.
    def __init__(self, file): self.file = file
    def __getattr__(self, name): return getattr(self.file, name)
    def __enter__(self): return self
    def __exit__(self, *error): self.file.close()
    def __del__(self):
        time.sleep(0.2)

from pellucid.workflow.batch.parts import read_parts
opened = Path.open
Path.open = lambda path, *more, **options: Slow(opened(path, *more, **options))
for table in read_parts(Path(sys.argv[1]), ["index", "decision"]):
    pass
"""


@pytest.fixture
def out(model: Path, archive: Path, tmp_path: Path) -> Path:
    predict_archive(model, [str(archive)], tmp_path / "out", part_size=16, running=Running(1))
    return tmp_path / "out"


def test_a_program_that_has_read_its_parts_ends_well(out: Path) -> None:
    ended = [
        subprocess.run([sys.executable, "-c", ENDS, out], capture_output=True, text=True, check=False) for _ in range(6)
    ]
    assert [(e.returncode, e.stderr) for e in ended] == [(0, "")] * 6


class Watched(io.FileIO):
    """A file that remembers which threads read it."""

    threads: set[int]

    def readinto(self, buffer: object) -> int | None:
        Watched.threads.add(threading.get_ident())
        return super().readinto(buffer)  # type: ignore[arg-type]

    def read(self, size: int | None = -1) -> bytes | None:
        Watched.threads.add(threading.get_ident())
        return super().read(size)


def test_every_reader_of_parquet_reads_in_the_calling_thread(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Watched.threads = set()
    images = pa.table(
        {"id": [f"{i}.png" for i in range(500)], "image": [b"x" * 5000] * 500, "more": [b"y" * 5000] * 500}
    )
    pq.write_table(images, tmp_path / "images.parquet", row_group_size=100)
    ours = [part for module in (plan, reading, sources) for part in (getattr(module, "open_binary", None),) if part]
    assert len(ours) == 2
    monkeypatch.setattr(Path, "open", lambda path, *_, **__: Watched(path))
    for module in (reading, sources):
        monkeypatch.setattr(module, "open_binary", lambda path: Watched(path))
    tables = list(read_parts(out, ["index", "decision", "p_bee"]))
    assert sum(t.num_rows for t in tables) == 40
    assert len(list(read_skipped(out))) == 3
    with plan.Plan(out / plan.PLAN) as opened:
        assert sum(len(opened.part(k)) for k in range(opened.parts)) == 43
    items = list(list_items([str(tmp_path / "images.parquet")]))
    assert len(items) == 500
    with reading.Reader() as reader:
        assert [reader.read(item) for item in items[::120]] == [b"x" * 5000] * 5
    assert Watched.threads == {threading.get_ident()}
    assert rows_of(out)
