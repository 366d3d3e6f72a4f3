"""The KServe v2 inference protocol (Open Inference Protocol), in JSON, for clients that speak it already.

Input `image`: either FP32 (N, 3, height, width), preprocessed as the model's card says, or BYTES (N), each an image
file in base64, decoded and preprocessed here. Outputs: `probabilities` FP32 (N, K) and `logits` FP32 (N, L).

Reference: https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..._version import __version__
from ...classifier import gives_score
from ...preprocessing import FloatArray
from ..answers import read
from ..json_bodies import LargeJson, from_base64
from ..problems import Problem
from ..registry import Served
from ..replies import json_reply
from ..service import Service, service_of
from ..uploads import Upload
from ..workers import CancelToken
from .documents import REFUSALS

router = APIRouter(prefix="/v2", tags=["kserve"], responses=REFUSALS)

MOST_IMAGES = 64


class InferInput(BaseModel):
    """One input tensor."""

    name: str = Field(max_length=64)
    shape: list[int] = Field(max_length=8)
    datatype: str = Field(max_length=16)
    data: list[Any]
    parameters: dict[str, Any] | None = None


class InferRequest(BaseModel):
    """A request for inference."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["iVBORw0KGgo..."]}]}]
        }
    )

    id: str | None = Field(default=None, max_length=128)
    inputs: list[InferInput] = Field(min_length=1, max_length=1)
    outputs: list[dict[str, Any]] | None = None
    parameters: dict[str, Any] | None = None


@router.get("")
async def server() -> dict[str, Any]:
    """What this server is."""
    return {"name": "pellucid", "version": __version__, "extensions": []}


@router.get("/health/live")
async def live() -> dict[str, bool]:
    """Whether the process answers."""
    return {"live": True}


@router.get("/health/ready")
async def ready(request: Request) -> Response:
    """Whether all models are ready; 503 once the server is stopping."""
    draining = service_of(request).draining
    return json_reply({"ready": not draining}, status=503 if draining else 200)


@router.get("/models/{name}")
async def model(request: Request, name: str) -> dict[str, Any]:
    """A model's inputs and outputs."""
    manifest = service_of(request).model(name).bundle.manifest
    size = manifest.preprocessing
    classes = 1 if gives_score(manifest.task) else len(manifest.classes)
    return {
        "name": name,
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [
            {"name": "image", "datatype": "FP32", "shape": [-1, 3, size.height, size.width]},
            {"name": "image", "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, classes]},
            {"name": "logits", "datatype": "FP32", "shape": [-1, manifest.logits]},
        ],
    }


@router.get("/models/{name}/ready")
async def model_ready(request: Request, name: str) -> dict[str, Any]:
    """Whether a model is ready."""
    return {"name": service_of(request).model(name).name, "ready": True}


@router.post(
    "/models/{name}/infer",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"type": "object", "required": ["inputs"]}}},
        }
    },
)
async def infer(request: Request, name: str) -> Response:
    """Probabilities and logits of a batch."""
    service = service_of(request)
    served = service.model(name)
    service.fast.refuse_when_full()
    pieces = [piece async for piece in request.stream()]

    def work(token: CancelToken) -> Response:
        body, asked = _asked(b"".join(pieces))
        logits, probabilities = _infer(service, served, body, asked, token)
        outputs = [_output("probabilities", probabilities), _output("logits", logits)]
        wanted = {o.get("name") for o in asked.outputs or []} or {"probabilities", "logits"}
        reply = {"model_name": name, "model_version": "1", "outputs": [o for o in outputs if o["name"] in wanted]}
        return json_reply({**reply, "id": asked.id} if asked.id is not None else reply)

    return await service.fast.run(work, request)


def _output(name: str, values: FloatArray) -> dict[str, Any]:
    return {"name": name, "datatype": "FP32", "shape": list(values.shape), "data": values.ravel().tolist()}


def _asked(body: bytes) -> tuple[LargeJson, InferRequest]:
    read = LargeJson(body)
    try:
        return read, InferRequest.model_validate(read.document)
    except (ValidationError, RecursionError):
        raise _unfit("The request does not follow the v2 protocol: it needs one input named image.") from None


def _infer(
    service: Service, served: Served, body: LargeJson, asked: InferRequest, token: CancelToken
) -> tuple[FloatArray, FloatArray]:
    given = asked.inputs[0]
    batch = _files(service, served, body, given) if given.datatype == "BYTES" else _tensor(served, body, given)
    token.check()
    logits = served.session(token.alone).logits(batch)
    if gives_score(served.bundle.task):
        return logits, logits
    return logits, served.bundle.manifest.probabilities(logits)


def _files(service: Service, served: Served, body: LargeJson, given: InferInput) -> FloatArray:
    if not 1 <= len(given.data) <= MOST_IMAGES or given.shape not in ([len(given.data)], [len(given.data), 1]):
        raise _unfit(f"BYTES must be of shape [N] with N image files in base64, at most {MOST_IMAGES}.")
    images = []
    for text in given.data:
        encoded = text[0] if isinstance(text, list) and len(text) == 1 else text
        try:
            data = from_base64(body.text(encoded))
        except (Problem, AttributeError):
            raise _unfit("BYTES must hold image files in base64.") from None
        image = read(served, Upload(data), service.settings)
        images.append(served.bundle.preprocessing.resize_image(image))
    return served.bundle.preprocessing.normalise(np.stack(images))


def _tensor(served: Served, body: LargeJson, given: InferInput) -> FloatArray:
    size = served.bundle.preprocessing
    wanted = [3, size.height, size.width]
    if (
        given.datatype != "FP32"
        or len(given.shape) != 4
        or given.shape[1:] != wanted
        or not 1 <= given.shape[0] <= MOST_IMAGES
    ):
        raise _unfit(f"The image must be FP32 of shape [N, 3, {size.height}, {size.width}], N from 1 to {MOST_IMAGES}.")
    count = math.prod(given.shape)
    try:
        values = body.numbers(given.data, count)
        fits = values.size == count and bool(np.isfinite(values).all())
    except (ValueError, TypeError, OverflowError):
        fits = False
    if not fits:
        raise _unfit("The image's data must be as many finite numbers as its shape says.")
    return values.reshape(given.shape)


def _unfit(detail: str) -> Problem:
    return Problem(422, "tensor", detail)
