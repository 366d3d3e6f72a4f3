"""What the store tells: days for the dashboard, feedback for the next training."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from .. import answers, stats, weeks
from ..promises import Promised, promises
from ..replies import json_reply
from ..service import Service, service_of
from .documents import REFUSALS
from .v1 import ModelName

router = APIRouter(prefix="/v1", tags=["insight"], responses=REFUSALS)

Days = Annotated[int, Query(ge=1, le=366, description="How many days, today included.")]

Weeks = Annotated[int, Query(ge=1, le=26, description="How many weeks, this one included.")]


async def _by_day(service: Service, days: int, model: str | None) -> list[dict[str, Any]]:
    served = service.model(model)
    # Distances of different models have no common scale.
    name, reference = None if model is None else served.name, answers.reference_distances(served)
    return await service.ask_store(lambda store: stats.by_day(store, days, name, reference))


@router.get("/stats")
async def stats_by_day(request: Request, days: Days = 30, model: ModelName = None) -> Response:
    """Requests, times, classes, sureness, flags, feedback and drift, day by day; and whether promises hold."""
    service = service_of(request)
    served = service.model(model)
    kept = await service.ask_store(lambda store: promises(store, days, served.name, Promised.of(served)))
    return json_reply({"days": await _by_day(service, days, model), "answering": kept})


@router.get("/stats.csv", response_class=Response)
async def stats_csv(request: Request, days: Days = 30, model: ModelName = None) -> Response:
    """The same as CSV."""
    service = service_of(request)
    return _csv(stats.days_csv(await _by_day(service, days, model)), "stats.csv")


@router.get("/stats/weeks")
async def stats_by_week(request: Request, last: Weeks = 8, model: ModelName = None) -> Response:
    """Week by week, without labels: estimated accuracy and class mix, whether the images have moved, and what to do."""
    service = service_of(request)
    served = service.model(model)
    return json_reply({"weeks": await service.ask_store(lambda store: weeks.by_week(store, last, served))})


@router.get("/feedback.csv", response_class=Response)
async def feedback_csv(request: Request) -> Response:
    """Feedback as a labelled CSV, as `pellucid train` reads it where images are kept."""
    service = service_of(request)
    folder = service.settings.keep_images
    return _csv(await service.ask_store(lambda store: stats.feedback_csv(store, folder)), "feedback.csv")


def _csv(text: str, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text.encode("utf-8", "replace"), media_type="text/csv; charset=utf-8", headers=headers)
