"""For supervisors: liveness, readiness, metrics, reload."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from ..guard import is_local
from ..metrics import CONTENT_TYPE_LATEST
from ..problems import Problem, busy
from ..service import service_of
from .documents import REFUSALS

router = APIRouter(tags=["operations"], responses={s: REFUSALS[s] for s in (400, 401, 403, 429, 503)})


@router.get("/livez")
async def live() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "live"}


@router.get("/readyz")
async def ready(request: Request) -> dict[str, str]:
    """Whether new requests are welcome; 503 while the server drains or its queue is full."""
    service = service_of(request)
    if service.draining:
        raise busy("The server is shutting down.", after=5, code="stopping")
    service.fast.refuse_when_full()
    return {"status": "ready"}


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Counts and times in Prometheus' text format."""
    service = service_of(request)
    for pool in (service.fast, service.slow):
        service.metrics.running.labels(pool.name).set(pool.taken)
    if service.store is not None:
        service.metrics.lost.set(service.store.lost)
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.post("/v1/reload", responses={422: REFUSALS[422]})
async def reload(request: Request) -> dict[str, list[str]]:
    """Read the bundles again and exchange those that changed; requests that run keep the one they began with.

    Needs the API key, or where none is set a client on the same machine.
    """
    service = service_of(request)
    if service.settings.api_key is None and not is_local(request.scope):
        detail = "Without an API key models are exchanged from the server's own machine only."
        raise Problem(403, "local-only", detail)
    changed = await run_in_threadpool(service.registry.reload)
    return {"changed": changed, "models": service.registry.names}
