"""A dataset from Kaggle, or a zip archive from the web, into a folder."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .._optional import require
from ..errors import InputError, MissingDependencyError, PellucidError, ResourceError
from ..progress import Progress, Silent
from .archive import CHUNK, check_limit, check_size, unpack, write_part
from .dataset import OmittedFile

RECORD = "pellucid-download.json"
LIMIT = 50 * 10**9
SECONDS = 60.0
KAGGLE = re.compile(
    r"(?:kaggle:|https?://(?:www\.)?kaggle\.com/datasets/)"
    r"(?P<owner>[\w.-]+)/(?P<name>[\w.-]+)(?:/versions/(?P<version>[1-9]\d{0,8}))?/?"
)
TOKEN = (
    "create a token at https://www.kaggle.com/settings/api (Generate New Token) and put it into the file "
    "~/.kaggle/access_token or the variable KAGGLE_API_TOKEN. An older kaggle.json belongs into ~/.kaggle/, or its two "
    "values into KAGGLE_USERNAME and KAGGLE_KEY."
)


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What was unpacked: the number of `files`, their `bytes` in all, and what was left out.

    `sha256` is that of the archive; `version` and `licence` are as Kaggle states them, otherwise None and "".
    """

    source: str
    files: int
    bytes: int
    sha256: str
    version: int | None = None
    licence: str = ""
    skipped: tuple[OmittedFile, ...] = ()


@dataclass(frozen=True, slots=True)
class _Answer:
    """A body to be read: its parts, its length where announced, and what reading it raises when the line breaks."""

    parts: Iterator[bytes]
    length: int | None
    failures: tuple[type[Exception], ...]
    version: int | None = None
    licence: str = ""


def download_dataset(source: str, out: Path, *, limit: int = LIMIT, progress: Progress | None = None) -> Downloaded:
    """Download `kaggle:OWNER/NAME` (or the address of its page), or the http(s) address of a zip archive.

    `out` is an empty folder; it is filled with what the archive holds, and with `pellucid-download.json`, which says
    where that came from. Neither the archive nor its contents may exceed `limit` bytes. Kaggle needs the extra
    `kaggle`, and credentials where a dataset is not public.

    Raises InputError for a source that is unknown or refused, and for an archive that is damaged or not to be trusted;
    ResourceError when the network or the disk gives out, or the limit does not suffice.
    """
    shown = progress or Silent()
    found = KAGGLE.fullmatch(source)
    archive = out / ".archive.part"
    with ExitStack() as stack:
        answer = _ask_kaggle(stack, found["owner"], found["name"], found["version"]) if found else _ask(stack, source)
        sha256 = _save(answer, archive, limit, shown)
    files, size, skipped = unpack(archive, out, limit=limit, progress=shown)
    archive.unlink()
    # What follows "?" may be a key.
    origin = source if found else urlsplit(source)._replace(query="", fragment="").geturl()
    record = {"source": origin, "version": answer.version, "licence": answer.licence, "archive_sha256": sha256}
    (out / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return Downloaded(origin, files, size, sha256, answer.version, answer.licence, skipped)


def _save(answer: _Answer, archive: Path, limit: int, progress: Progress) -> str:
    """Write the body to `archive`; returns its SHA-256."""
    check_size("The archive has", answer.length or 0, archive.parent, limit)
    digest, held = hashlib.sha256(), 0
    with archive.open("wb") as file, progress.bar("Downloading (MB)") as advance:
        try:
            for part in answer.parts:
                held += len(part)
                digest.update(part)
                check_limit("The archive has at least", held, limit)
                write_part(file, part)
                advance(held // 10**6, (answer.length or held) // 10**6)
        except answer.failures as error:
            raise _broken_off(held, answer.length) from error
    if answer.length is not None and held != answer.length:
        raise _broken_off(held, answer.length)
    return digest.hexdigest()


def _broken_off(held: int, length: int | None) -> ResourceError:
    of = f" of {length:,}" if length else ""
    return ResourceError(f"The download broke off after {held:,}{of} bytes: check the network and run it again.")


# ---- Kaggle


def _ask_kaggle(stack: ExitStack, owner: str, name: str, version: str | None) -> _Answer:
    """Ask Kaggle for the archive of a dataset. kagglehub finds the credentials and knows the interface."""
    hub, failures = require("kagglehub", extra="kaggle"), require("requests", extra="kaggle").exceptions
    clients = require("kagglehub.clients", extra="kaggle")
    messages = require("kagglesdk.datasets.types.dataset_api_service", extra="kaggle")
    _has_credentials()
    try:
        # On stdout kagglehub would say that there is a newer kagglehub.
        with redirect_stdout(sys.stderr):
            api = stack.enter_context(clients.build_kaggle_client()).datasets.dataset_api_client
            wanted = _filled(messages.ApiGetDatasetRequest(), owner_slug=owner, dataset_slug=name)
            about = api.get_dataset(wanted)
            number = int(version or about.current_version_number)
            wanted = _filled(messages.ApiDownloadDatasetRequest(), owner_slug=owner, dataset_slug=name)
            response = stack.enter_context(api.download_dataset(_filled(wanted, dataset_version_number=number)))
    except failures.HTTPError as error:
        raise _kaggle_refusal(f"{owner}/{name}", error.response.status_code) from None
    except failures.RequestException as error:
        distrusted = "CERTIFICATE_VERIFY_FAILED" in str(error)
        raise _no_certificate("Kaggle") if distrusted else _unreachable("Kaggle") from error
    except ValueError as error:
        raise ResourceError(
            "Kaggle's answer cannot be understood: check whether your network asks for a login first."
        ) from error
    except (AttributeError, TypeError) as error:
        raise MissingDependencyError(
            f"kagglehub {hub.__version__} is not of a version that pellucid knows: pip install 'kagglehub>=1.0,<2'"
        ) from error
    # Of a compressed answer iter_content gives more bytes than the length states.
    length = "" if "Content-Encoding" in response.headers else response.headers.get("Content-Length", "")
    parts = response.iter_content(CHUNK)
    stated = int(length) if length.isdecimal() else None
    return _Answer(parts, stated, (failures.RequestException,), number, about.license_name)


def _has_credentials() -> bool:
    """Whether there are Kaggle credentials. Raises InputError for some that cannot be read."""
    try:
        return require("kagglehub.config", extra="kaggle").get_kaggle_credentials() is not None
    except (ValueError, TypeError, OSError) as error:
        raise InputError(f"The Kaggle credentials cannot be read ({error}): {TOKEN}") from None


def _filled(message: Any, **values: Any) -> Any:
    for key, value in values.items():
        setattr(message, key, value)
    return message


def _kaggle_refusal(dataset: str, status: int) -> PellucidError:
    """What a status of Kaggle's means for the user; it answers 403 for names that do not exist, too."""
    page = f"https://www.kaggle.com/datasets/{dataset}"
    if status in (401, 403) and not _has_credentials():
        return InputError(
            f"Kaggle does not give {dataset} to everyone, and no Kaggle credentials were found: check the name at "
            f"{page}, and {TOKEN}"
        )
    if status == 401:
        return InputError(f"Kaggle does not accept the credentials that were found; if they have expired, {TOKEN}")
    if status == 403:
        return InputError(
            f"Kaggle refuses {dataset} to your account: see at {page} whether it exists, and whether you have to agree "
            "to its terms or be invited."
        )
    if status == 404:
        return InputError(f"Kaggle has no dataset {dataset}: check owner and name; its page would be {page}.")
    return _refused("Kaggle", status)


# ---- the web


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows only to https, or from http to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        schemes = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if schemes[1] != "https" and schemes != ("http", "http"):
            raise InputError(
                f"The address leads on to {schemes[1] or 'no'}:// from {schemes[0]}://, which is not followed."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _ask(stack: ExitStack, url: str) -> _Answer:
    """Ask a web server for an archive."""
    host = _host(url)
    request = urllib.request.Request(url, headers={"User-Agent": "pellucid"})
    opener = urllib.request.build_opener(_Redirects())
    broken = (OSError, http.client.HTTPException)
    try:
        response = stack.enter_context(opener.open(request, timeout=SECONDS))
    except urllib.error.HTTPError as error:
        raise _web_refusal(host, error.code) from None
    except urllib.error.URLError as error:
        distrusted = isinstance(error.reason, ssl.SSLCertVerificationError)
        raise _no_certificate(host) if distrusted else _unreachable(host) from error
    except (ValueError, http.client.InvalidURL) as error:
        raise InputError(f"{url!r} is not a web address ({error}).") from None
    except broken as error:
        raise _unreachable(host) from error
    return _Answer(iter(lambda: response.read(CHUNK), b""), response.length, broken)


def _host(url: str) -> str:
    """The host of an http(s) address. Raises InputError for anything else."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.username is None and parts.port != 0
        host = parts.hostname or ""
    except ValueError:
        host, good = "", False
    if not host or not good:
        raise InputError(
            f"{url!r} is nothing to download: give kaggle:OWNER/NAME, as in kaggle.com/datasets/OWNER/NAME, or the "
            "https:// address of a zip archive."
        )
    return host


def _web_refusal(host: str, status: int) -> PellucidError:
    if status in (401, 403):
        return InputError(f"{host} does not give this file without a login ({status}): download and unpack it by hand.")
    if status in (404, 410):
        return InputError(f"{host} has nothing at this address ({status}): check it.")
    return _refused(host, status)


def _refused(host: str, status: int) -> ResourceError:
    if status == 429:
        return ResourceError(f"{host} has been asked too often (429): wait some minutes and run it again.")
    return ResourceError(f"{host} answers with an error of its own ({status}): try again later.")


def _unreachable(host: str) -> ResourceError:
    return ResourceError(
        f"{host} cannot be reached: check the network; behind a proxy, set the variable HTTPS_PROXY to its address."
    )


def _no_certificate(host: str) -> ResourceError:
    return ResourceError(
        f"The certificate of {host} cannot be trusted: check the clock; behind a proxy that looks into traffic, set "
        "SSL_CERT_FILE and REQUESTS_CA_BUNDLE to its certificate."
    )
