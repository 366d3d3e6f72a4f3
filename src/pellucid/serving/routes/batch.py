"""`/v1/batch`: many images at once, as a job that is asked for its progress and its results."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from .. import answers, jobs, uploads
from ..archives import Archive
from ..problems import Problem
from ..replies import json_reply
from ..service import Service, service_of
from .documents import REFUSALS
from .v1 import ModelName

router = APIRouter(prefix="/v1/batch", tags=["batch"], responses=REFUSALS)

JobId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="What the batch's first reply names.")]
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            },
            "application/zip": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
WRITERS = {
    "json": (jobs.as_json, "application/json"),
    "csv": (jobs.as_csv, "text/csv; charset=utf-8"),
    "zip": (jobs.as_zip, "application/zip"),
}


@router.post("", status_code=202, openapi_extra=BODY)
async def start(
    request: Request,
    model: ModelName = None,
    method: Annotated[str | None, Query(max_length=64, description="Explain each image by this method.")] = None,
) -> Response:
    """Hand over many files, or one ZIP. Files are numbered in the order sent, from 0."""
    service = service_of(request)
    served = service.model(model)
    if method is not None:
        answers.check_usable(served.bundle, method)
    service.jobs.lane.refuse_when_full()
    body = await request.body()
    files = await run_in_threadpool(_files, service, body, request.headers.get("content-type", ""))
    job = service.jobs.start(served, files, method)
    return json_reply(job.progress(), status=202)


def _files(service: Service, body: bytes, content_type: str) -> jobs.Files:
    most = service.settings.max_batch_files
    kind = uploads.media_type(content_type)
    if kind in ("application/zip", "application/x-zip-compressed"):
        return Archive(body, most)
    if kind != "multipart/form-data":
        raise Problem(415 if body else 400, "content-type", "Send a form with many `files`, or a ZIP.")
    parts = uploads.parse_form(body, content_type, most + uploads.MOST_PARTS)
    files = [(bytes(p.body), p.declared) for p in parts if p.name in ("files", "file") and (p.chosen or p.body)]
    if not files:
        raise Problem(400, "no-file", "No file was sent. Send a form with the images in the field `files`, or a ZIP.")
    if len(files) > most:
        raise Problem(413, "too-many-files", f"At most {most:,} files can be sent at once. Send several batches.")
    if len(files) == 1 and files[0][0][:4] == b"PK\x03\x04":
        return Archive(files[0][0], most)
    return files


@router.get("/{job}")
async def progress(request: Request, job: JobId) -> Response:
    """How far a batch is."""
    return json_reply(service_of(request).jobs.find(job).progress())


@router.get("/{job}/results")
async def results(
    request: Request, job: JobId, format: Annotated[Literal["json", "csv", "zip"], Query()] = "json"
) -> Response:
    """What has been found so far."""
    found = service_of(request).jobs.find(job)
    write, kind = WRITERS[format]
    data = await run_in_threadpool(write, found)
    return Response(data, media_type=kind, headers={"Content-Disposition": f'attachment; filename="results.{format}"'})


@router.delete("/{job}")
async def cancel(request: Request, job: JobId) -> Response:
    """Call a batch off; what was found so far stays."""
    return json_reply(service_of(request).jobs.cancel(job).progress())
