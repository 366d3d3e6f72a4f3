"""What the routes share: the models, the lanes that work runs in, and how an image gets from a request to an answer."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ..reporting.overlay import SEQUENTIAL, colour_table
from . import answers, logs, uploads
from .answers import Answer
from .jobs import Jobs
from .lanes import Lane, Ticket
from .metrics import Metrics
from .problems import Problem
from .registry import Registry, Served
from .remote_images import RemoteImages
from .replies import json_reply
from .settings import ServerSettings
from .store import Store, open_store


class Service:
    """One server's parts. `draining` is set once it has been told to stop."""

    def __init__(self, registry: Registry, settings: ServerSettings) -> None:
        self.registry, self.settings = registry, settings
        colour_table(SEQUENTIAL)  # loads matplotlib now, and not with somebody's first request
        self.metrics = Metrics()
        self.fast = Lane("fast", settings.workers, settings.queue, settings.deadline)
        self.slow = Lane("slow", 1, settings.slow_queue, settings.deadline)
        self.remote = RemoteImages(settings.url_deadline, settings.max_upload)
        self.store: Store | None = open_store(settings, registry)
        self.jobs = Jobs(settings, self.keep)
        self.draining = False

    def refused(self, problem: Problem) -> None:
        """Count a refusal."""
        self.metrics.refusals.labels(problem.code).inc()
        if self.store is not None:
            self.store.refused(problem.code)

    async def image(self, request: Request) -> bytes:
        """The image that a request brings, or names by URL where that is allowed. Raises Problem or ImageError."""
        body = await request.body()
        content_type = request.headers.get("content-type", "")
        if uploads.media_type(content_type) != "application/json":
            return uploads.file_of(body, content_type)
        url = uploads.url_of(body)
        if not self.settings.allow_url:
            detail = "Fetching images by URL is switched off on this server. Send the file itself."
            raise Problem(422, "url-off", detail)
        return uploads.checked(await self.remote.fetch(url), "")

    async def answer(
        self,
        request: Request,
        work: Callable[[bytes, Ticket], Answer],
        document: Callable[[Answer, str], dict[str, Any]],
        *,
        slow: bool = False,
        again: str | None = None,
    ) -> Response:
        """Run `work` on the request's image beside the event loop, keep the answer, and reply with its `document`.

        With `again`, the identity of an earlier answer to the same image, nothing is counted or stored a second time.
        """
        lane = self.slow if slow else self.fast
        lane.refuse_when_full()
        data = await self.image(request)
        identity, began = again or uuid.uuid4().hex, time.perf_counter()

        def whole(ticket: Ticket) -> tuple[Answer, Response]:
            answer = work(data, ticket)
            return answer, json_reply(document(answer, identity), answer.seconds)

        answer, reply = await lane.run(whole, request)
        self.noted(request, answer)
        if again is None:
            self.keep(answer, identity, data, time.perf_counter() - began)
        return reply

    def noted(self, request: Request, answer: Answer) -> None:
        """Put into the log what was asked of which model."""
        method = answer.method.name if answer.method else None
        request.scope["noted"] = {"model": answer.served.name, **({"explained": method} if method else {})}

    def keep(self, answer: Answer, identity: str, data: bytes, seconds: float) -> None:
        """Count an answer and hand it to the store."""
        name, outside = answer.served.name, answers.outside_of(answer)
        self.metrics.predictions.labels(name, answer.prediction.label).inc()
        if outside and outside["flagged"]:
            self.metrics.outside.labels(name).inc()
        if self.store is not None:
            self.store.keep(answer, identity, data, seconds, outside)

    def model(self, name: str | None) -> Served:
        """The model that a request names, or the default."""
        return self.registry.find(name)

    def close(self) -> None:
        """Let what runs end, and write what is still to be written."""
        self.fast.close()
        self.slow.close()
        self.jobs.close()
        if self.store is not None:
            self.store.close()
        logs.event("stopped")


def service_of(request: Request) -> Service:
    """The service of the server that took a request."""
    service: Service = request.app.state.service
    return service
