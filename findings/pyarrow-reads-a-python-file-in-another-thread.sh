#!/usr/bin/env bash
# pyarrow 26.0.1, numpy not needed. 2026-11-29.
#
# Expected: pyarrow.parquet.read_table(file, use_threads=False, pre_buffer=False) reads a Python file object in the
# calling thread, as the documentation of `use_threads` ("Perform multi-threaded column reads") suggests. That matters
# for objects that belong to a thread: sqlite3 blobs, database cursors, readers with thread-local state.
# Seen: read_table calls the object's read() from a thread of Arrow's own whatever both options say, and so does
# ParquetFile(file).read(use_threads=False). Only ParquetFile(file, pre_buffer=False) with use_threads=False at reading
# stays in the calling thread.
# Output seen:
#   read_table(use_threads=False): other thread
#   read_table(use_threads=False, pre_buffer=False): other thread
#   ParquetFile().read(use_threads=False): other thread
#   ParquetFile(pre_buffer=False).read(use_threads=False): calling thread
# Exit 0: as stated. Exit 1: it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pyarrow==26.0.1
cd "$folder"
cat > check.py <<'PYTHON'
import io
import sys
import threading

import pyarrow as pa
import pyarrow.parquet as pq

pq.write_table(pa.table({"a": list(range(100_000)), "b": ["x" * 50] * 100_000}), "table.parquet")
here = threading.get_ident()


class Watched(io.FileIO):
    """A file that remembers which threads read it."""

    def __init__(self) -> None:
        super().__init__("table.parquet")
        self.threads = set()

    def read(self, size=-1):
        self.threads.add(threading.get_ident())
        return super().read(size)


def seen(name, read):
    file = Watched()
    read(file)
    elsewhere = bool(file.threads - {here})
    print(f"{name}: {'other' if elsewhere else 'calling'} thread")
    return elsewhere


found = [
    seen("read_table(use_threads=False)", lambda f: pq.read_table(f, use_threads=False)),
    seen(
        "read_table(use_threads=False, pre_buffer=False)",
        lambda f: pq.read_table(f, use_threads=False, pre_buffer=False),
    ),
    seen("ParquetFile().read(use_threads=False)", lambda f: pq.ParquetFile(f).read(use_threads=False)),
    seen(
        "ParquetFile(pre_buffer=False).read(use_threads=False)",
        lambda f: pq.ParquetFile(f, pre_buffer=False).read(use_threads=False),
    ),
]
sys.exit(0 if found == [True, True, True, False] else 1)
PYTHON
"$folder/venv/bin/python" check.py
