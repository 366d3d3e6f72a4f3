"""The application: layers around FastAPI, and one shape for every refusal."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from .._version import __version__
from ..errors import BundleError, PellucidError
from . import logs
from .bodies import Bodies
from .direct import Direct, DirectRoute
from .guard import Guard
from .observed import Observed
from .problems import ClientGone, Problem, problem_of, response
from .routes import batch, classic, insight, kserve, operations, pages, v1
from .routes.documents import ProblemDocument
from .service import Service

DESCRIPTION = (
    "Classifies images and says where the evidence lies. Every refusal is `application/problem+json` with a stable "
    "`code`. Where the operator set an API key, send it as `X-API-Key`."
)

FORESEEN = (Problem, ClientGone, PellucidError, MemoryError, OSError)
"""What endpoints raise on purpose, or as machines run out of something; all else is a fault that the log is to show."""
DIRECT = [
    DirectRoute.of("/v1/predict", v1.predict),
    DirectRoute.of("/v1/explain", v1.explain),
    DirectRoute.of("/predict", classic.predict),
]


def create_app(service: Service) -> ASGIApp:
    """The ASGI application of a service."""
    app = FastAPI(
        title="pellucid",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.service = service
    for module in (classic, v1, batch, insight, kserve, operations, pages):
        app.include_router(module.router)
    app.add_exception_handler(RequestValidationError, _wrong_parameter)
    app.add_exception_handler(HTTPException, _of_starlette)
    for kind in (*FORESEEN, Exception):
        app.add_exception_handler(kind, _answer_for)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    guarded = Guard(Direct(app, DIRECT, _answer_for, FORESEEN), service.settings, service.refused)
    return Observed(Bodies(guarded, service.settings, service.refused), service.metrics)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.service.close()


async def _refuse(request: Request, error: Exception) -> Response:
    problem = problem_of(error)
    if isinstance(error, BundleError):
        logs.event("bundle", level=logging.ERROR, reason=str(error))
    elif isinstance(error, OSError):
        logs.event("error", level=logging.ERROR, error=error)
    service: Service = request.app.state.service
    service.refused(problem)
    request.scope["noted"] = {**request.scope.get("noted", {}), "code": problem.code}
    return response(problem, request.url.path)


async def _answer_for(request: Request, error: Exception) -> Response:
    """The refusal for an exception; of a client that hung up the log counts 499, which nobody reads."""
    return Response(status_code=499) if isinstance(error, ClientGone) else await _refuse(request, error)


async def _wrong_parameter(request: Request, error: Exception) -> Response:
    """A parameter that does not fit: named if the route has it, its value never quoted."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    named = [str(e["loc"][1]) for e in found if len(e["loc"]) == 2 and e["loc"][0] in ("query", "path")]
    which = f"The parameter {named[0]}" if named else "The request"
    return await _refuse(request, Problem(422, "parameter", f"{which} does not fit; /openapi.json says what does."))


async def _of_starlette(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    known = {
        404: Problem(404, "not-found", "There is no such address on this server."),
        405: Problem(405, "method", "This address does not take that method.", headers),
    }
    if status not in known:
        logs.event("unforeseen refusal", level=logging.WARNING, status=status)
    return await _refuse(request, known.get(status) or Problem(status, "refused", "The request was refused.", headers))


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the refusals' form among its parts."""
    if app.openapi_schema is None:
        made = FastAPI.openapi(app)
        made.setdefault("components", {}).setdefault("schemas", {})["ProblemDocument"] = (
            ProblemDocument.model_json_schema()
        )
        app.openapi_schema = made
    return app.openapi_schema
