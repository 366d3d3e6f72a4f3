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
from typing import Any, Literal

from ..errors import ImageError, PellucidError
from ..files import cells
from . import answers, uploads
from .answers import Answer
from .archives import Archive
from .lanes import Lane, Stopped, Ticket
from .problems import Problem, busy
from .registry import Served
from .settings import ServerSettings

State = Literal["waiting", "running", "done", "failed", "cancelled"]
KEPT_SECONDS = 3600.0
MOST_JOBS, MOST_KEPT_BYTES = 100, 256 * 2**20
FOREVER = 7 * 86_400.0

Files = Archive | list[tuple[bytes, str]]
Keep = Callable[[Answer, str, bytes, float], None]


@dataclass(slots=True)
class Job:
    """One batch. `rows` are results by index, `pictures` overlays by index, `skipped` what could not be read."""

    served: Served
    method: str | None
    files: Files | None
    total: int
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    state: State = "waiting"
    done: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    pictures: list[tuple[int, bytes]] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    began: float | None = None
    ended: float | None = None
    ticket: Ticket = field(default_factory=lambda: Ticket(FOREVER))

    @property
    def kept_bytes(self) -> int:
        """About how much memory the results take."""
        return sum(len(data) for _, data in self.pictures) + 400 * len(self.rows)

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
        self.lane = Lane("batch", 1, settings.slow_queue, FOREVER)
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock = threading.Lock()

    def start(self, served: Served, files: Files, method: str | None) -> Job:
        """Queue a batch. Raises Problem 503 when too many wait."""
        job = Job(served, method, files, len(files))
        self._make_room()
        self.lane.start(lambda _: self._run(job), job.ticket)
        with self._lock:
            self._jobs[job.id] = job
        return job

    def find(self, identity: str) -> Job:
        """The job of an id; Problem 404 when there is none, or none any more."""
        with self._lock:
            job = self._jobs.get(identity)
        if job is None:
            raise Problem(404, "unknown-job", "There is no such batch; results are kept for an hour.")
        return job

    def cancel(self, identity: str) -> Job:
        """Call a job off; what is done so far stays."""
        job = self.find(identity)
        job.ticket.call_off()
        if job.state == "waiting":
            job.ended, job.files = time.monotonic(), None
        if job.state in ("waiting", "running"):
            job.state = "cancelled"
        return job

    def close(self) -> None:
        """Call everything off and wait for the thread."""
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            job.ticket.call_off()
        self.lane.close()

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

    def _run(self, job: Job) -> None:
        if job.state != "waiting":
            return
        job.state, job.began = "running", time.monotonic()
        try:
            for index, data in enumerate(self._files(job)):
                self._one(job, index, data)
                job.done = index + 1
            job.state = "done"
        except Stopped:
            job.state = "cancelled"
        except Exception:
            job.state = "failed"
            raise
        finally:
            job.files, job.ended = None, time.monotonic()

    def _files(self, job: Job) -> Iterator[bytes | ImageError]:
        if isinstance(job.files, Archive):
            yield from job.files.files(self._settings.max_upload)
        elif job.files is not None:
            for data, declared in job.files:
                try:
                    yield uploads.checked(data, declared)
                except ImageError as error:
                    yield error
                except Problem as problem:
                    yield ImageError("unsupported-format", problem.detail)

    def _one(self, job: Job, index: int, data: bytes | ImageError) -> None:
        job.ticket.check()
        began = time.perf_counter()
        try:
            if isinstance(data, ImageError):
                raise data
            answer = self._answer(job, data)
        except PellucidError as error:
            code = error.code if isinstance(error, ImageError) else "not-possible"
            job.skipped.append({"index": index, "code": code, "reason": str(error)})
            return
        identity = uuid.uuid4().hex
        self._keep(answer, identity, data, time.perf_counter() - began)
        document = answers.prediction_document(answer, identity)
        if job.method is not None:
            document["verdict"] = answers.verdict_of(answer)
            job.pictures.append((index, answer.pictures["overlay"]))
        job.rows.append({"index": index, **document})

    def _answer(self, job: Job, data: bytes) -> Answer:
        if job.method is None:
            return answers.predict(job.served, data, self._settings, job.ticket)
        wanted = frozenset({"overlay"})
        answer = answers.explain(job.served, data, self._settings, job.ticket, method=job.method, pictures=wanted)
        answer.pictures["overlay"] = answers.from_base64(answer.pictures["overlay"][0])
        return answer


def as_json(job: Job) -> bytes:
    """Results and skipped files as one JSON document."""
    document = {"job": job.id, "state": job.state, "results": job.rows, "skipped": job.skipped}
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def as_csv(job: Job) -> bytes:
    """One row per image: index, answer, a column per class, warnings, and why it was skipped if it was."""
    classes = job.served.bundle.classes if job.served.bundle.task != "regression" else ()
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


def as_zip(job: Job) -> bytes:
    """`results.csv`, `results.json` and, where a method was asked for, `overlays/INDEX.png`."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("results.csv", as_csv(job))
        archive.writestr("results.json", as_json(job))
        for index, picture in job.pictures:
            archive.writestr(f"overlays/{index:05d}.png", picture, zipfile.ZIP_STORED)
    return packed.getvalue()
