"""Refusals as a client sees them: `application/problem+json` (RFC 9457), a stable code and a sentence for people."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import Response

from ..errors import BundleError, ImageError, InputError, ResourceError, UnknownNameError

MEDIA_TYPE = "application/problem+json"

# ImageError's codes that say "not one of the formats that are read"; all others are of the right type and unusable.
# A full disk, or too many open files.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE})
WRONG_TYPE = frozenset({"not-an-image", "unsupported-format"})


class Problem(Exception):
    """A refusal: HTTP status, stable code, sentence for people, and headers that belong to it."""

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.headers = dict(headers or {})


class ClientGone(Exception):
    """The client hung up; there is nobody to answer."""


def busy(detail: str, *, after: int = 1, code: str = "busy") -> Problem:
    """503 with the seconds after which to try again."""
    return Problem(503, code, detail, {"Retry-After": str(after)})


def problem_of(error: Exception) -> Problem:
    """What an error raised on purpose means for a client; an unexpected one is a 500 that quotes nothing."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, ImageError):
        return Problem(415 if error.code in WRONG_TYPE else 422, error.code, error.reason)
    if isinstance(error, UnknownNameError):
        return Problem(422, f"unknown-{error.kind.rsplit(' ', 1)[-1]}", str(error))
    if isinstance(error, BundleError):
        # Its sentence names folders of this machine; the log has it.
        return Problem(422, "bundle", "A model's files cannot be used. The server's log says which and why.")
    if isinstance(error, InputError):
        return Problem(422, "not-possible", str(error))
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return busy("The server has no room left for this. Try again later.", after=30, code="no-room")
    if isinstance(error, ResourceError | MemoryError):
        return busy("Memory ran out on this request. Try again, or send a smaller image.", after=5, code="memory")
    return Problem(500, "internal", "Something went wrong on the server; the log says what. Nothing was stored.")


def document(problem: Problem, *, classic: bool = False) -> dict[str, object]:
    """The body of a refusal. `classic` is the older `/predict` contract: there `status` is the word "error"."""
    fields: dict[str, object] = {
        "type": f"urn:pellucid:problem:{problem.code}",
        "title": HTTPStatus(problem.status).phrase,
        "status": "error" if classic else problem.status,
        "code": problem.code,
        "detail": problem.detail,
    }
    return {**fields, "error": problem.detail} if classic else fields


def response(problem: Problem, path: str) -> Response:
    """A refusal as the response to a request for `path`."""
    body = json.dumps(document(problem, classic=path == "/predict"), ensure_ascii=False).encode("utf-8", "replace")
    return Response(body, problem.status, problem.headers, MEDIA_TYPE)
