"""`/v1/batch`: many images at once, as a job that is asked for its progress and its results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from .. import answers, jobs
from ..archives import Archive
from ..forms import MOST_PARTS, FormReader, media_type
from ..problems import Problem
from ..replies import json_reply, spooled_reply
from ..service import service_of
from ..spools import Spool, beside
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
WRITERS: dict[str, tuple[Callable[[jobs.BatchJob], bytes | Spool], str]] = {
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
    service.jobs.pool.refuse_when_full()
    spool = Spool()
    try:
        files = await _files(request, spool, service.settings.max_batch_files)
        job = service.jobs.start(served, files, spool, method)
    except BaseException:
        spool.close()
        raise
    return json_reply(job.progress(), status=202)


async def _files(request: Request, spool: Spool, most: int) -> jobs.Files:
    """Read a body into a spool, and say where in it each file lies. Raises Problem."""
    content_type = request.headers.get("content-type", "")
    kind = media_type(content_type)
    if kind in ("application/zip", "application/x-zip-compressed"):
        async for piece in request.stream():
            spool.append(piece)
            await spool.settle()
        await spool.finish()
        return await beside(Archive, spool, 0, spool.size, most)
    if kind != "multipart/form-data":
        declared = request.headers.get("content-length") or request.headers.get("transfer-encoding")
        raise Problem(
            400 if declared in (None, "0") else 415, "content-type", "Send a form with many `files`, or a ZIP."
        )
    form = FormReader(content_type, most + MOST_PARTS, spool)
    async for piece in request.stream():
        form.feed(piece)
        await spool.settle()
    await spool.finish()
    files = [p for p in form.parts() if p.name in ("files", "file") and (p.chosen or p.length)]
    if not files:
        raise Problem(400, "no-file", "No file was sent. Send a form with the images in the field `files`, or a ZIP.")
    if len(files) > most:
        raise Problem(413, "too-many-files", f"At most {most:,} files can be sent at once. Send several batches.")
    if len(files) == 1 and await beside(spool.read, files[0].start, 4) == b"PK\x03\x04":
        return await beside(Archive, spool, files[0].start, files[0].length, most)
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
    headers = {"Content-Disposition": f'attachment; filename="results.{format}"'}
    if isinstance(data, Spool):
        return spooled_reply(data, kind, headers)
    return Response(data, media_type=kind, headers=headers)


@router.delete("/{job}")
async def cancel(request: Request, job: JobId) -> Response:
    """Call a batch off; what was found so far stays."""
    return json_reply(service_of(request).jobs.cancel(job).progress())
