"""Batches: many images as one job in the background, with progress, and results as JSON, CSV or ZIP.

Images are named by their place in the batch alone. Jobs live in memory: what is finished is kept for an hour, as long
as there is room.
"""

from __future__ import annotations

import csv
import io
import json
import threading
import time
import uuid
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any, Literal, cast

from ..classifier import gives_score
from ..errors import ImageError, PellucidError
from ..files import cells
from . import answers
from .answers import ServedAnswer
from .archives import Archive
from .forms import FormPart
from .problems import Problem, busy
from .registry import Served
from .settings import ServerSettings
from .spools import Spool
from .uploads import Upload, upload_of
from .workers import Cancelled, CancelToken, WorkerPool

State = Literal["waiting", "running", "done", "failed", "cancelled"]
KEPT_SECONDS = 3600.0
MOST_JOBS, MOST_KEPT_BYTES = 100, 256 * 2**20
FOREVER = 7 * 86_400.0

Files = Archive | list[FormPart]
Keep = Callable[[ServedAnswer, str, bytes, float], bool]


@dataclass(slots=True)
class BatchJob:
    """One batch: `files` lie in `spool`. `rows` are results by index, `skipped` what could not be read.

    `overlays` are (index, start, length) of the pictures in `drawn`; `packed` is the ZIP of all results once it was
    asked for.
    """

    served: Served
    method: str | None
    files: Files | None
    spool: Spool | None
    total: int
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    state: State = "waiting"
    done: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    overlays: list[tuple[int, int, int]] = field(default_factory=list)
    drawn: Spool | None = None
    packed: Spool | None = None
    skipped: list[dict[str, Any]] = field(default_factory=list)
    began: float | None = None
    ended: float | None = None
    packing: threading.Lock = field(default_factory=threading.Lock)
    token: CancelToken = field(default_factory=lambda: CancelToken(FOREVER))

    @property
    def kept_bytes(self) -> int:
        """About how much room the results take, in memory and in temporary files."""
        spools = sum(spool.size for spool in (self.drawn, self.packed) if spool is not None)
        return spools + (400 + 100 * len(self.served.bundle.classes)) * len(self.rows)

    def drop_files(self) -> None:
        """Forget what was sent."""
        if self.spool is not None:
            self.spool.close()
        self.files = self.spool = None

    def progress(self) -> dict[str, Any]:
        """How far it is."""
        left = None
        if self.state == "running" and self.began is not None and self.done:
            left = round((time.monotonic() - self.began) / self.done * (self.total - self.done), 1)
        return {
            "job": self.id,
            "state": self.state,
            "done": self.done,
            "total": self.total,
            "skipped": self.skipped[:],
            "eta_seconds": left,
            "url": f"/v1/batch/{self.id}",
        }


class Jobs:
    """All jobs of a server, worked on one after the other by a thread of their own."""

    def __init__(self, settings: ServerSettings, keep: Keep) -> None:
        self._settings, self._keep = settings, keep
        self.pool = WorkerPool("batch", 1, settings.slow_queue, FOREVER)
        self._jobs: OrderedDict[str, BatchJob] = OrderedDict()
        self._lock = threading.Lock()

    def start(self, served: Served, files: Files, spool: Spool, method: str | None) -> BatchJob:
        """Queue a batch of the files in a spool. Raises Problem 503 when too many wait."""
        job = BatchJob(served, method, files, spool, len(files))
        self._make_room()
        self.pool.start(lambda _: self._run(job), job.token)
        with self._lock:
            self._jobs[job.id] = job
        return job

    def find(self, identity: str) -> BatchJob:
        """The job with an id. Raises Problem 404 for an unknown or forgotten one."""
        with self._lock:
            job = self._jobs.get(identity)
        if job is None:
            raise Problem(404, "unknown-job", "There is no such batch; results are kept for an hour.")
        return job

    def cancel(self, identity: str) -> BatchJob:
        """Call a job off; what is done so far stays."""
        job = self.find(identity)
        job.token.cancel()
        if job.state == "waiting":
            job.ended = time.monotonic()
            job.drop_files()
        if job.state in ("waiting", "running"):
            job.state = "cancelled"
        return job

    def cancel_all(self) -> None:
        """Call everything off."""
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            job.token.cancel()

    def _make_room(self) -> None:
        """Forget what ended longest ago, once it is old or takes too much room."""
        with self._lock:
            ended = [j for j in self._jobs.values() if j.ended is not None]
            held = sum(j.kept_bytes for j in ended)
            for job in ended:
                old = time.monotonic() - (job.ended or 0) > KEPT_SECONDS
                if old or held > MOST_KEPT_BYTES or len(self._jobs) >= MOST_JOBS:
                    held -= job.kept_bytes
                    del self._jobs[job.id]
            if len(self._jobs) >= MOST_JOBS:
                raise busy("Too many batches are waiting. Try again later.", after=30)

    def _run(self, job: BatchJob) -> None:
        if job.state != "waiting":
            return
        job.state, job.began = "running", time.monotonic()
        try:
            for index, data in enumerate(self._files(job)):
                self._one(job, index, data)
                job.done = index + 1
            job.state = "done"
        except Cancelled:
            job.state = "cancelled"
        except Exception:
            job.state = "failed"
            raise
        finally:
            job.drop_files()
            job.ended = time.monotonic()

    def _files(self, job: BatchJob) -> Iterator[Upload | ImageError]:
        if isinstance(job.files, Archive):
            for data in job.files.files(self._settings.max_upload):
                yield data if isinstance(data, ImageError) else Upload(data)
        elif job.files is not None:
            yield from (upload_of(part, job.spool) for part in job.files)

    def _one(self, job: BatchJob, index: int, upload: Upload | ImageError) -> None:
        job.token.check()
        began = time.perf_counter()
        try:
            if isinstance(upload, ImageError):
                raise upload
            answer = self._answer(job, upload)
        except (PellucidError, Problem) as error:
            code = error.code if isinstance(error, ImageError | Problem) else "not-possible"
            job.skipped.append({"index": index, "code": code, "reason": str(error)})
            return
        identity = uuid.uuid4().hex
        stored = self._keep(answer, identity, upload.data, time.perf_counter() - began)
        document = answers.prediction_document(answer, identity, stored)
        if job.method is not None:
            document["verdict"] = answers.verdict_of(answer)
            job.drawn = job.drawn or Spool()
            (overlay,) = answer.pictures["overlay"]
            job.overlays.append((index, job.drawn.add(overlay), len(overlay)))
        job.rows.append({"index": index, **document})

    def _answer(self, job: BatchJob, upload: Upload) -> ServedAnswer:
        if job.method is None:
            return answers.predict(job.served, upload, self._settings, job.token)
        wanted = frozenset({"overlay"})
        return answers.explain(job.served, upload, self._settings, job.token, method=job.method, pictures=wanted)


def as_json(job: BatchJob) -> bytes:
    """Results and skipped files as one JSON document."""
    document = {"job": job.id, "state": job.state, "results": job.rows, "skipped": job.skipped}
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def as_csv(job: BatchJob) -> bytes:
    """One row per image: index, answer, a column per class, warnings, and why it was skipped if it was."""
    classes = job.served.bundle.classes if not gives_score(job.served.bundle.task) else ()
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(
        ["index", "label", "confidence", "output", "outside", *(f"p_{c}" for c in classes), "warnings", "skipped"]
    )
    rows = {r["index"]: r for r in job.rows}
    skipped = {s["index"]: s for s in job.skipped}
    for index in sorted({*rows, *skipped}):
        if index in skipped:
            table.writerow(cells([index, *[""] * (5 + len(classes)), skipped[index]["reason"]]))
            continue
        r = rows[index]
        flagged = "" if r["outside"] is None else r["outside"]["flagged"]
        probabilities = [r["probabilities"][c] for c in classes]
        answer = [index, r["label"], r["confidence"], r["output"], flagged]
        table.writerow(cells([*answer, *probabilities, " ".join(r["warnings"]), ""]))
    return text.getvalue().encode("utf-8", "replace")


class _Growing(io.RawIOBase):
    """A spool that `zipfile` writes to, one byte after the other."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: Any) -> int:
        """Add bytes."""
        self._spool.add(bytes(data))
        return len(data)


def as_zip(job: BatchJob) -> Spool:
    """`results.csv`, `results.json` and, where a method was asked for, `overlays/INDEX.png`, in a spool.

    Made once for a job that has ended, however many ask for it.
    """
    with job.packing:
        if job.packed is not None:
            return job.packed
        spool, ended = Spool(), job.ended is not None
        with zipfile.ZipFile(cast("IO[bytes]", _Growing(spool)), "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("results.csv", as_csv(job))
            archive.writestr("results.json", as_json(job))
            for index, start, length in job.overlays[:]:
                picture = job.drawn.read(start, length) if job.drawn is not None else b""
                archive.writestr(f"overlays/{index:05d}.png", picture, zipfile.ZIP_STORED)
        if ended:
            job.packed = spool
    return spool
