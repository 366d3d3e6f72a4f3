"""`/v1`: models, predictions, explanations, feedback."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from ...classifier import Target
from ...classifier import against as one_against_another
from ...errors import UnknownNameError
from .. import answers, cards
from ..json_bodies import parse_json
from ..problems import Problem
from ..replies import json_reply
from ..service import service_of
from ..store import Feedback
from ..store_writer import no_store
from ..uploads import Upload
from ..workers import CancelToken
from .documents import IMAGE_BODY, REFUSALS, ExplanationReply, FeedbackRequest, PredictionReply

router = APIRouter(prefix="/v1", tags=["v1"], responses=REFUSALS)

ModelName = Annotated[str | None, Query(max_length=64, description="A name of /v1/models; the first by default.")]
Again = Annotated[
    str | None,
    Query(
        pattern="^[0-9a-f]{32}$",
        description="The id of an earlier answer to this image, which is then not counted twice.",
    ),
]
MOST_TARGETS = 20


@router.get("/models")
async def models(request: Request) -> dict[str, Any]:
    """The models of this server."""
    return {"models": cards.listed(service_of(request).registry)}


@router.get("/model")
async def model_card(request: Request, model: ModelName = None) -> Response:
    """What a model knows, how well, and what can be asked of it."""
    service = service_of(request)
    return json_reply(cards.card(service.model(model), service.settings))


@router.get("/examples/{number}", response_class=Response, responses={200: {"content": {"image/png": {}}}})
async def example(request: Request, number: int, model: ModelName = None) -> Response:
    """One of the images that a model's card offers to try."""
    found = service_of(request).model(model).examples
    if not 0 <= number < len(found):
        raise Problem(404, "not-found", "There is no such example; the model's card lists them.")
    data = await run_in_threadpool(found[number].read_bytes)
    return Response(data, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


@router.post("/predict", responses={200: {"model": PredictionReply}}, openapi_extra=IMAGE_BODY)
async def predict(request: Request, model: ModelName = None) -> Response:
    """Classify an image."""
    service = service_of(request)
    served = service.model(model)

    def work(upload: Upload, token: CancelToken) -> answers.ServedAnswer:
        return answers.predict(served, upload, service.settings, token)

    return await service.answer(request, work, answers.prediction_document)


@router.post("/explain", responses={200: {"model": ExplanationReply}}, openapi_extra=IMAGE_BODY)
async def explain(
    request: Request,
    model: ModelName = None,
    method: Annotated[
        str | None, Query(max_length=64, description="A method of the model's card; the model's usual one by default.")
    ] = None,
    target: Annotated[str | None, Query(max_length=255, description="A class; the predicted one by default.")] = None,
    against: Annotated[str | None, Query(max_length=255, description="A class: why `target` and not this one.")] = None,
    layer: Annotated[str | None, Query(max_length=255, description="A layer of the model's card.")] = None,
    all_classes: Annotated[bool, Query(description="One map for every class.")] = False,
    pictures: Annotated[str, Query(max_length=64, description="Any of overlay, map, seen, preview, by commas.")] = "",
    again: Again = None,
) -> Response:
    """Classify an image and say where the evidence lies. The map comes as values, pictures on demand."""
    service = service_of(request)
    served = service.model(model)
    method = method or served.bundle.usual_method
    answers.check_usable(served.bundle, method, layer)
    wanted, targets = _wanted(pictures), _targets(served.bundle.classes, target, against, all_classes)

    def work(upload: Upload, token: CancelToken) -> answers.ServedAnswer:
        settings = service.settings
        return answers.explain(
            served, upload, settings, token, method=method, target=targets, layer=layer, pictures=wanted
        )

    slow = answers.is_slow(method)
    return await service.answer(request, work, answers.explanation_document, slow=slow, again=again)


def _targets(classes: tuple[str, ...], target: str | None, against: str | None, every: bool) -> Target:
    if every and against is None:
        return classes[:MOST_TARGETS]
    for name in (target, against):
        if name is not None and name not in classes:
            raise UnknownNameError("class", name[:80], classes, f"The model knows {', '.join(classes[:20])}.")
    return one_against_another(target, against)


def _wanted(pictures: str) -> frozenset[str]:
    wanted = frozenset(p for p in pictures.split(",") if p)
    if not wanted <= answers.PICTURES:
        raise Problem(422, "parameter", "pictures takes overlay, map, seen and preview, separated by commas.")
    return wanted


@router.post(
    "/feedback",
    status_code=204,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": FeedbackRequest.model_json_schema()}},
        }
    },
)
async def feedback(request: Request) -> Response:
    """Say whether an answer was right."""
    service = service_of(request)
    given = _feedback(parse_json(await request.body()))
    if service.store is None:
        raise Problem(422, "no-store", "This server keeps no results, and so no feedback.")
    served = service.registry
    classes = {c for name in served.names for c in served.find(name).bundle.classes}
    if given.label is not None and given.label not in classes:
        raise Problem(422, "unknown-class", "The label is none of the classes of this server's models.")
    said = Feedback(given.id, given.correct, given.label, given.comment or None)
    try:
        known = await asyncio.wait_for(
            asyncio.wrap_future(service.store.feedback(said)), service.settings.store_deadline
        )
    except asyncio.TimeoutError:
        raise no_store() from None
    if not known:
        raise Problem(404, "unknown-answer", "There is no answer of that id in the store.")
    service.metrics.feedback.labels("any", str(given.correct).lower()).inc()
    return Response(status_code=204)


def _feedback(document: Any) -> FeedbackRequest:
    try:
        return FeedbackRequest.model_validate(document)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "the document"
        known = where if where in FeedbackRequest.model_fields else "an unknown field"
        raise Problem(422, "parameter", f"The feedback does not fit its form at {known}; see /openapi.json.") from None
