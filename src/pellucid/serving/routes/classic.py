"""The older contract: `GET /health` and `POST /predict`, exactly as existing clients call them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from .. import answers
from ..service import service_of
from ..uploads import Upload
from ..workers import CancelToken
from .documents import IMAGE_BODY, REFUSALS, ClassicReply

router = APIRouter(tags=["classic"])


@router.get("/health")
async def health(request: Request) -> dict[str, object]:
    """Whether the server is there."""
    service = service_of(request)
    gradcam = service.model(None).bundle.manifest.layer is not None
    return {
        "status": "healthy",
        "model_loaded": True,
        "gradcam_enabled": gradcam,
        "api_version": "2.0",
        "models": service.registry.names,
    }


@router.post("/predict", responses={**REFUSALS, 200: {"model": ClassicReply}}, openapi_extra=IMAGE_BODY)
async def predict(request: Request, model: Annotated[str | None, Query(max_length=64)] = None) -> Response:
    """Classify an image, with Grad-CAM for the class answered as a picture."""
    service = service_of(request)
    served = service.model(model)
    with_map = served.bundle.manifest.layer is not None

    def work(upload: Upload, token: CancelToken) -> answers.ServedAnswer:
        if not with_map:
            return answers.predict(served, upload, service.settings, token)
        wanted = frozenset({"overlay"})
        method = served.bundle.usual_method
        return answers.explain(served, upload, service.settings, token, method=method, pictures=wanted)

    return await service.answer(request, work, answers.classic_document)
