"""What the routes share: the models, the worker pools, and how an image gets from a request to an answer."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from ..reporting.overlay import SEQUENTIAL, colour_table
from . import answers, logs, uploads
from .answers import ServedAnswer
from .forms import FormReader, media_type
from .jobs import Jobs
from .json_bodies import SMALL
from .metrics import Metrics
from .problems import Problem
from .registry import Registry, Served
from .remote_images import RemoteImages
from .replies import json_reply
from .settings import ServerSettings
from .store import Store, open_store
from .store_writer import no_store
from .uploads import Upload
from .workers import CancelToken, WorkerPool

T = TypeVar("T")


class Service:
    """One server's parts. `draining` is set once it has been told to stop."""

    def __init__(self, registry: Registry, settings: ServerSettings) -> None:
        self.registry, self.settings = registry, settings
        colour_table(SEQUENTIAL)  # loads matplotlib now, and not with somebody's first request
        self.metrics = Metrics()
        self.fast = WorkerPool("fast", settings.workers, settings.queue, settings.deadline)
        self.slow = WorkerPool("slow", 1, settings.slow_queue, settings.deadline)
        self.remote = RemoteImages(settings.url_deadline, settings.max_upload)
        self.store: Store | None = open_store(settings, registry)
        self.reading = WorkerPool("store", 2, 16, settings.store_deadline)
        self.jobs = Jobs(settings, self.keep)
        self.draining = False

    def refused(self, problem: Problem) -> None:
        """Count a refusal."""
        self.metrics.refusals.labels(problem.code).inc()
        if self.store is not None:
            self.store.refused(problem.code)

    async def image(self, request: Request) -> Callable[[], Upload]:
        """Read a request's body; what comes back gives the image in it and is to be called in a worker.

        Nothing here takes longer with a longer body than receiving it does. Raises Problem.
        """
        content_type = request.headers.get("content-type", "")
        kind = media_type(content_type)
        if kind == "multipart/form-data":
            form = FormReader(content_type)
            async for piece in request.stream():
                form.feed(piece)
            parts = form.parts()
            return lambda: uploads.file_of(parts)
        pieces = [piece async for piece in request.stream()]
        if kind == "application/json":
            return await self._image_in_json(pieces)
        if not uploads.is_image(kind):
            raise uploads.unknown_content_type() if any(pieces) else uploads.no_file()
        return lambda: Upload(b"".join(pieces), uploads.declared_as(kind))

    async def _image_in_json(self, pieces: list[bytes]) -> Callable[[], Upload]:
        """An image in base64, or fetched from its address where that is allowed."""
        url = uploads.url_of(b"".join(pieces)) if sum(map(len, pieces)) <= SMALL else None
        if url is None:
            return lambda: uploads.image_of_json(b"".join(pieces))
        if not self.settings.allow_url:
            detail = "Fetching images by URL is switched off on this server. Send the file itself."
            raise Problem(422, "url-off", detail)
        data = await self.remote.fetch(url)
        return lambda: Upload(data)

    async def answer(
        self,
        request: Request,
        work: Callable[[Upload, CancelToken], ServedAnswer],
        document: Callable[[ServedAnswer, str, bool], dict[str, Any]],
        *,
        slow: bool = False,
        again: str | None = None,
    ) -> Response:
        """Run `work` on the request's image beside the event loop, keep the answer, and reply with its `document`.

        With `again`, the identity of an earlier answer to the same image, nothing is counted or stored a second time.
        """
        pool = self.slow if slow else self.fast
        pool.refuse_when_full()
        image = await self.image(request)
        identity, began = again or uuid.uuid4().hex, time.perf_counter()

        def whole(token: CancelToken) -> tuple[ServedAnswer, Response]:
            upload = image()
            answer = work(upload, token)
            token.check()
            stored = self.store is not None
            if again is None:
                stored = self.keep(answer, identity, upload.data, time.perf_counter() - began)
            return answer, json_reply(document(answer, identity, stored), answer.seconds)

        answer, reply = await pool.run(whole, request)
        self.noted(request, answer)
        return reply

    def noted(self, request: Request, answer: ServedAnswer) -> None:
        """Put into the log what was asked of which model."""
        method = answer.method.name if answer.method else None
        request.scope["noted"] = {"model": answer.served.name, **({"explained": method} if method else {})}

    def keep(self, answer: ServedAnswer, identity: str, data: bytes, seconds: float) -> bool:
        """Count an answer and hand it to the store; whether the store has it."""
        name, outside = answer.served.name, answers.outside_of(answer)
        self.metrics.predictions.labels(name, answer.prediction.label).inc()
        if outside and outside["flagged"]:
            self.metrics.outside.labels(name).inc()
        return self.store is not None and self.store.keep(answer, identity, data, seconds, outside)

    def model(self, name: str | None) -> Served:
        """The model that a request names, or the default."""
        return self.registry.find(name)

    async def ask_store(self, work: Callable[[Store], T]) -> T:
        """What `work` reads from the store, in threads that nothing else waits for.

        Raises Problem 503 `store` when it takes too long, 404 without a store.
        """
        store = self.store
        if store is None:
            raise Problem(404, "no-store", "This server keeps no results.")
        try:
            return await self.reading.run(lambda _: work(store))
        except Problem as problem:
            raise no_store() if problem.status == 503 else problem from None

    def close(self) -> None:
        """Let what runs end and write what is still to be written, within the last part of the time to stop."""
        ends = time.monotonic() + self.settings.closing_seconds

        def left() -> float:
            return max(0.0, ends - time.monotonic())

        self.jobs.cancel_all()
        for pool in (self.fast, self.slow, self.jobs.pool):
            pool.close(left() / 2)
        if self.store is not None:
            self.store.close(left())
        logs.event("stopped")


def service_of(request: Request) -> Service:
    """The service of the server that took a request."""
    service: Service = request.app.state.service
    return service
