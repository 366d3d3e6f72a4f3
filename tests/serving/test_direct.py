"""The short way to an endpoint answers as FastAPI's own way does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from tests.serving.running import Running

from pellucid.serving.app import DIRECT
from pellucid.serving.attacks.files import plain_png
from pellucid.serving.direct import Direct, DirectRoute

VARYING = ("id", "seconds")
HEADERS = ("x-request-id", "date", "server-timing", "content-length")


def plain(document: Any) -> Any:
    return {k: v for k, v in document.items() if k not in VARYING}


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v1/predict", "model=small"),
        ("/v1/predict", "model=none"),
        ("/v1/predict", "model=" + "x" * 65),
        ("/v1/predict", "model=small&model=small"),
        ("/v1/predict", "other=1"),
        ("/v1/explain", "method=layercam&target=bee&pictures=map%2Coverlay"),
        ("/v1/explain", "all_classes=true"),
        ("/v1/explain", "all_classes=perhaps"),
        ("/v1/explain", "target=b%C3%A9e"),
        ("/v1/explain", "target=bee&against=ant&method=grad-cam"),
        ("/v1/explain", "pictures=movie"),
        ("/v1/explain", "method=magic"),
        ("/v1/explain", "again=" + "0" * 32),
        ("/v1/explain", "again=zz"),
        ("/predict", ""),
        ("/predict", "model=none"),
        ("/predict", "model=small"),
    ],
)
@pytest.mark.parametrize("data", [plain_png(), b"no image"], ids=["image", "text"])
def test_both_ways_give_the_same(server: Running, path: str, query: str, data: bytes) -> None:
    # FastAPI passes over what it does not know, and the short way leaves such a request to it.
    replies = [
        server.target().upload(data, "", path=f"{path}?{asked}") for asked in (query, "&".join([query, "unknown=1"]))
    ]
    heads = [{k: v for k, v in reply.headers.items() if k not in HEADERS} for reply in replies]
    assert replies[0].status == replies[1].status
    assert heads[0] == heads[1]
    assert plain(replies[0].document) == plain(replies[1].document)


def test_only_what_is_plainly_right_goes_the_short_way() -> None:
    routes = {route.path: route for route in DIRECT}
    explain = routes["/v1/explain"]
    assert explain.parameters(b"") == {}
    assert explain.parameters(b"target=b%20c&all_classes=true&pictures=") == {
        "target": "b c",
        "all_classes": True,
        "pictures": "",
    }
    assert explain.parameters(b"target=" + b"x" * 255) is not None
    for query in (
        b"target=" + b"x" * 256,
        b"again=" + b"0" * 32,
        b"all_classes=1",
        b"all_classes=",
        b"a=1",
        b"target=a&target=a",
        b"request=1",
        b"target=\xff",
        b"&".join([b"target=a"] * 30),
    ):
        assert explain.parameters(query) is None, query
    assert set(routes["/v1/predict"].lengths) == {"model"}
    assert not routes["/predict"].switches


def test_a_fault_is_answered_and_raised_again_and_a_refusal_only_answered() -> None:
    raised: list[Exception] = []
    sent: list[Any] = []

    async def endpoint(request: Request) -> Response:
        raise raised[0]

    async def refuse(request: Request, error: Exception) -> Response:
        return Response(status_code=418)

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    async def elsewhere(*_: Any) -> None:
        sent.append("elsewhere")

    layer = Direct(elsewhere, [DirectRoute.of("/x", endpoint)], refuse, (KeyError,))
    scope = {"type": "http", "method": "POST", "path": "/x", "query_string": b"", "headers": []}
    raised[:] = [KeyError("foreseen")]
    asyncio.run(layer({**scope}, receive, send))
    raised[:] = [RuntimeError("a fault")]
    with pytest.raises(RuntimeError):
        asyncio.run(layer({**scope}, receive, send))
    assert [m["status"] for m in sent if m["type"] == "http.response.start"] == [418, 418]
    sent.clear()
    asyncio.run(layer({**scope, "method": "GET"}, receive, send))
    asyncio.run(layer({**scope, "path": "/y"}, receive, send))
    assert sent == ["elsewhere"] * 2
