"""The page, the dashboard, and the files that they load: exactly those that were shipped, read at the start."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response

from ..problems import Problem

router = APIRouter(include_in_schema=False)

HERE = Path(__file__).parents[1]
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
}


@cache
def _shipped(path: Path, stamp: int) -> tuple[bytes, bytes, str]:
    """A file's bytes, the same squeezed, and its tag; read once for each `stamp` (when it was last changed)."""
    data = path.read_bytes()
    return data, gzip.compress(data, 6, mtime=0), f'"{hashlib.sha256(data).hexdigest()[:20]}"'


def _file(request: Request, path: Path) -> Response:
    kind = TYPES.get(path.suffix)
    if kind is None or not path.is_file():
        raise Problem(404, "not-found", "There is no such page on this server.")
    data, squeezed, tag = _shipped(path, path.stat().st_mtime_ns)
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", "") and len(squeezed) < len(data):
        return Response(squeezed, headers={**headers, "Content-Encoding": "gzip"}, media_type=kind)
    return Response(data, headers=headers, media_type=kind)


@router.get("/")
async def page(request: Request) -> Response:
    """The page."""
    return _file(request, HERE / "templates" / "index.html")


@router.get("/dashboard")
async def dashboard(request: Request) -> Response:
    """The dashboard."""
    return _file(request, HERE / "templates" / "dashboard.html")


@router.get("/favicon.ico")
async def icon(request: Request) -> Response:
    """The icon that browsers request by themselves."""
    return _file(request, HERE / "static" / "favicon.ico")


@router.get("/static/{name:path}")
async def static(request: Request, name: str) -> Response:
    """A file of the page. Only paths that are in the shipped folder are looked at."""
    return _file(request, _static_files().get(name, HERE / "static" / "nothing"))


def _static_files() -> dict[str, Path]:
    """Every shipped file by its path: a name is looked up and never joined to a folder."""
    root = HERE / "static"
    return {f.relative_to(root).as_posix(): f for f in root.rglob("*") if f.is_file()}
