"""The shortest way to the routes that images come by: an ASGI layer before FastAPI.

Matching a route, sorting its parameters and setting up its dependencies takes FastAPI about as long as all else that
the event loop does for an image. Where a request to one of these routes has nothing but parameters that are plainly
right, its endpoint is called here. FastAPI, which knows the same endpoints and describes them in /openapi.json, answers
every other request, also one whose parameters do not fit.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints
from urllib.parse import parse_qsl

from annotated_types import MaxLen
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

Endpoint = Callable[..., Awaitable[Response]]
Refusal = Callable[[Request, Exception], Awaitable[Response]]
MOST_PARAMETERS = 20
BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class DirectRoute:
    """A route by its path. `lengths` are the most characters of each text parameter, `switches` are true or false."""

    path: str
    endpoint: Endpoint
    lengths: Mapping[str, int]
    switches: frozenset[str]

    @classmethod
    def of(cls, path: str, endpoint: Endpoint) -> DirectRoute:
        """A route whose parameters are those that FastAPI reads off the endpoint."""
        hints = get_type_hints(endpoint, include_extras=True)
        lengths: dict[str, int] = {}
        switches: set[str] = set()
        for name in inspect.signature(endpoint).parameters:
            kind, *marks = get_args(hints[name]) or (hints[name],)
            limits = [limit for mark in marks for limit in getattr(mark, "metadata", ())]
            if kind is bool:
                switches.add(name)
            elif len(limits) == 1 and isinstance(limits[0], MaxLen):
                lengths[name] = limits[0].max_length
        return cls(path, endpoint, lengths, frozenset(switches))

    def parameters(self, query: bytes) -> dict[str, Any] | None:
        """The endpoint's arguments; None for a query that is not plainly right."""
        if not query:
            return {}
        try:
            pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
        except ValueError:
            return None
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                return None
            if len(value) <= self.lengths.get(name, -1):
                found[name] = value
            elif name in self.switches and value in BOOLEANS:
                found[name] = BOOLEANS[value]
            else:
                return None
        return found


class Direct:
    """The layer. `refuse` answers for an exception; if it is not one of `foreseen`, it is raised again after that."""

    def __init__(
        self, app: ASGIApp, routes: Iterable[DirectRoute], refuse: Refusal, foreseen: tuple[type[Exception], ...]
    ) -> None:
        self.app, self.refuse, self.foreseen = app, refuse, foreseen
        self.routes = {route.path: route for route in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self.routes.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        arguments = None if route is None else route.parameters(scope["query_string"])
        if route is None or arguments is None:
            await self.app(scope, receive, send)
            return
        scope["app"], scope["route"] = self.app, route
        request = Request(scope, receive)
        unforeseen: Exception | None = None
        try:
            reply = await route.endpoint(request, **arguments)
        except Exception as error:
            unforeseen = None if isinstance(error, self.foreseen) else error
            reply = await self.refuse(request, error)
        await reply(scope, receive, send)
        if unforeseen is not None:
            raise unforeseen
