"""The films of an archive as a source of batches: found by QIDO-RS, fetched one by one by WADO-RS.

    dicomweb://HOST[:PORT]/ROOT[/studies/UID[/series/UID[/instances/UID]]][?Attribute=value&...]

`dicomwebs://` is the same over TLS. Credentials come from `~/.netrc` (or the file in NETRC) or from the environment,
and never stand in the URL, which is written into the folder of the batch.

Reference: DICOM PS3.18, 10.4 (WADO-RS), 10.6 (QIDO-RS), 8.3.4 (query parameters).
"""

from __future__ import annotations

import netrc
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ..errors import ImageError, InputError, ResourceError
from .config import TlsFiles, basic_authorization
from .trouble import Unreachable
from .web import OBJECT, SERIES, STUDY, ReplyTooLong, WebClient, value_of

SCHEMES = {"dicomweb": "http", "dicomwebs": "https"}
USER, PASSWORD, TOKEN = (f"PELLUCID_DICOMWEB_{name}" for name in ("USER", "PASSWORD", "TOKEN"))
CERTIFICATE, KEY, CA, TIMEOUT = (f"PELLUCID_DICOMWEB_{name}" for name in ("CERTIFICATE", "KEY", "CA", "TIMEOUT"))
LOCAL = ("localhost", "127.0.0.1", "::1")
ATTEMPTS, PAUSE = 4, 0.5
"""How many times a search is asked, and the seconds before the second time (doubled each time)."""
ENVELOPE = 2**16
"""What the parts of a reply may hold beside the object."""

_LEVELS = ("studies", "series", "instances")
_UID = re.compile(r"[0-9][0-9.]{0,63}")
_PAGING = ("limit", "offset", "includefield")
_CLASS, _MAKER = "00080016", "00080070"
# Which attributes a search for studies takes; all others belong to the search for the objects of a study.
_STUDY_KEYS = """
StudyDate StudyTime AccessionNumber ModalitiesInStudy ReferringPhysicianName PatientName PatientID PatientBirthDate
PatientSex StudyInstanceUID StudyID StudyDescription IssuerOfPatientID
fuzzymatching
"""
_OF_STUDIES = frozenset(_STUDY_KEYS.split())
# Storage classes without a picture of their own: structured reports and key objects, presentation states, documents,
# waveforms, raw data and registrations and segmentations, maps, surfaces, and all of radiotherapy but its images.
_PICTURELESS = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.((88|11|104|9|66|67|68|30)(\.|$)|481\.(?!1$))")


@dataclass(frozen=True, slots=True)
class DicomwebPlace:
    """What a URL names: the service's `root` (http or https), UIDs down to some level, and what is searched for."""

    scheme: str
    root: str
    host: str
    uids: tuple[str, ...] = ()
    query: tuple[tuple[str, str], ...] = ()

    def item(self, study: str, series: str, uid: str) -> str:
        """The URL of one object."""
        base = self.root.partition("://")[2]
        return f"{self.scheme}://{base}/studies/{study}/series/{series}/instances/{uid}"


@dataclass(frozen=True)
class SourceAccess:
    """How the service is reached. The header is not shown when the object is."""

    timeout: float = 30.0
    tls: TlsFiles | None = None
    authorization: str | None = field(default=None, repr=False)


def is_dicomweb(path: str) -> bool:
    """Whether a path is the URL of a DICOMweb service."""
    return path.partition("://")[0].lower() in SCHEMES and "://" in path


def parse_place(url: str) -> DicomwebPlace:
    """Read a URL. Raises InputError that says what is wrong, and for a password in it."""
    parts = urlsplit(url)
    form = "write dicomweb://HOST:PORT/ROOT, then /studies/UID or ?Attribute=value where not all is wanted"
    if parts.username is not None or parts.password is not None:
        raise InputError(
            f"A user or password in a URL ends up in histories and records: put it into ~/.netrc, or into {USER} and "
            f"{PASSWORD}, and give the URL without it."
        )
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise InputError(f"{url} names no host: {form}.")
    root, uids = _levels(url, parts.path)
    query = tuple(parse_qsl(parts.query, keep_blank_values=True))
    for name, _ in query:
        if name.lower() in _PAGING:
            raise InputError(f"{url}: {name} is not for a search of images: pellucid reads all pages. Leave it out.")
    scheme = parts.scheme.lower()
    shown = f"[{host}]" if ":" in host else host
    address = f"{SCHEMES[scheme]}://{shown}{f':{port}' if port else ''}{root}"
    return DicomwebPlace(scheme, address, host, uids, query)


def _levels(url: str, path: str) -> tuple[str, tuple[str, ...]]:
    """The root in a path, and the UIDs that follow it."""
    names = [name for name in path.split("/") if name]
    start = len(names)
    for count in (6, 4, 2):
        tail = names[-count:]
        if len(names) >= count and tail[::2] == list(_LEVELS[: count // 2]):
            start = len(names) - count
            break
    uids = tuple(names[start + 1 :: 2])
    if any(not _UID.fullmatch(uid) for uid in uids) or (names and names[-1] in _LEVELS):
        raise InputError(f"{url} is not complete: after studies, series and instances a UID must follow.")
    return "".join(f"/{name}" for name in names[:start]), uids


def find_access(place: DicomwebPlace) -> SourceAccess:
    """Credentials and certificates for a host. Raises InputError for a variable or a netrc that cannot be used."""
    environment = os.environ
    try:
        timeout = float(environment.get(TIMEOUT, 30))
    except ValueError:
        timeout = 0.0
    if not timeout > 0:
        raise InputError(f"{TIMEOUT} is not a number of seconds.")
    names = {"ca": CA, "certificate": CERTIFICATE, "key": KEY}
    files = {role: Path(environment[name]) for role, name in names.items() if environment.get(name)}
    return SourceAccess(timeout, TlsFiles(**files) if files else None, _authorization(place.host))


def _authorization(host: str) -> str | None:
    """The Authorization header: of a token, of a user in the environment, or of the host's line in a netrc."""
    token, user = os.environ.get(TOKEN), os.environ.get(USER)
    if token:
        return f"Bearer {token}"
    if user:
        if PASSWORD not in os.environ:
            raise InputError(f"{USER} is set, and {PASSWORD} is not: set both.")
        return basic_authorization(user, os.environ[PASSWORD])
    named = os.environ.get("NETRC")
    path = Path(named) if named else Path.home() / ".netrc"
    try:
        found = netrc.netrc(path).authenticators(host) if named or path.is_file() else None
    except (OSError, netrc.NetrcParseError) as error:
        reason = getattr(error, "strerror", None) or "it is not a netrc file, or others may read it"
        raise InputError(f"The passwords in {path} cannot be used ({reason}).") from None
    return basic_authorization(found[0], found[2] or "") if found else None


class DicomwebArchive:
    """The objects of one service. Each thread needs an object of its own; close it in the end."""

    def __init__(self, place: DicomwebPlace) -> None:
        self.place = place
        self._query = [(_keyword(name), value) for name, value in place.query]
        plain = [(n, v) for n, v in self._query if n not in _OF_STUDIES and not set(v) & set("*?-,\\")]
        self._exact = [(_tag(name), value) for name, value in plain]
        self._access = find_access(place)
        self._web = WebClient(place.root, self._access)

    def close(self) -> None:
        """Close the connection."""
        self._web.close()

    @property
    def in_clear(self) -> bool:
        """Whether a password would be sent unencrypted to another machine."""
        exposed = self.place.scheme == "dicomweb" and self.place.host not in LOCAL
        return exposed and self._access.authorization is not None

    def pictures(self, say: Callable[[str], None]) -> Iterator[str]:
        """The URL of each object that holds a picture: study by study and series by series, in order of their UIDs.

        What pellucid wrote is passed over, and `say` is told. Raises InputError for a search that the service does not
        understand, ResourceError where it does not answer.
        """
        place = self.place
        if len(place.uids) == 3:
            yield place.item(*place.uids)
            return
        own = 0
        for study in [place.uids[0]] if place.uids else sorted(self._studies()):
            found: list[tuple[str, str]] = []
            for row in self._objects(study):
                if value_of(row, _MAKER) == "pellucid":
                    own += 1
                elif not _PICTURELESS.match(value_of(row, _CLASS)) and self._matches(row):
                    found.append((value_of(row, SERIES), value_of(row, OBJECT)))
            for series, uid in sorted(found):
                if _UID.fullmatch(series) and _UID.fullmatch(uid):
                    yield place.item(study, series, uid)
        if own:
            say(f"Passed over {own:,} object{'' if own == 1 else 's'} that pellucid wrote.")

    def _studies(self) -> set[str]:
        query = [(name, value) for name, value in self._query if name in _OF_STUDIES]
        modality = dict(self._query).get("Modality")
        if modality and "ModalitiesInStudy" not in dict(query):
            query.append(("ModalitiesInStudy", modality))
        rows = self._search("/studies", {name: value for name, value in query}, STUDY)
        return {uid for row in rows if _UID.fullmatch(uid := value_of(row, STUDY))}

    def _objects(self, study: str) -> list[dict[str, Any]]:
        series = f"/series/{self.place.uids[1]}" if len(self.place.uids) == 2 else ""
        query: dict[str, Any] = {name: value for name, value in self._query if name not in _OF_STUDIES}
        rows = self._search(f"/studies/{study}{series}/instances", {**query, "includefield": _MAKER}, OBJECT)
        for row in rows:
            # In the answer to a search below a series, its UID may be left out.
            row.setdefault(SERIES, {"Value": [self.place.uids[1] if series else ""]})
        return rows

    def _matches(self, row: dict[str, Any]) -> bool:
        """Whether an object is what was searched: a service may ignore an attribute that it does not know."""
        return all(value_of(row, tag) in ("", value) for tag, value in self._exact)

    def _search(self, path: str, query: dict[str, Any], key: str) -> list[dict[str, Any]]:
        for attempt in range(ATTEMPTS):
            try:
                return list(self._web.search(path, query, key))
            except ReplyTooLong:
                raise ResourceError(f"{self.place.root} answers a search by more than can be read.") from None
            except Unreachable as error:
                self._refuse(error.code)
                if attempt == ATTEMPTS - 1:
                    raise ResourceError(f"The archive {self.place.root} does not answer ({error.code}).") from None
                time.sleep(PAUSE * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _refuse(self, code: str) -> None:
        """Raise what another attempt would not change."""
        root = self.place.root
        if code in ("http-401", "http-403"):
            raise ResourceError(
                f"The archive {root} asks for other credentials ({code}): put a line for {self.place.host} into "
                f"~/.netrc, or set {USER} and {PASSWORD}, or {TOKEN}."
            )
        if code == "certificate":
            raise ResourceError(
                f"The certificate of {root} is not trusted: name the file of its authority in {CA}, in PEM."
            )
        if code == "http-404":
            raise InputError(f"There is no DICOMweb service at {root}, or no such study: check the path of the URL.")
        if code == "http-400":
            raise InputError(f"The archive {root} does not understand this search: check the attributes after the ?.")

    def fetch(self, url: str, most: int) -> bytes:
        """The file of one object.

        Raises FileNotFoundError for one that is gone, PermissionError for one that is refused, ConnectionError for a
        service that does not answer, ImageError for one of more than `most` bytes, ResourceError where another attempt
        would not help.
        """
        try:
            study, series, uid = parse_place(url).uids
        except ValueError:
            reason = "The URL names no object: write it down to /studies/UID/series/UID/instances/UID."
            raise ImageError("unreadable", reason) from None
        try:
            data = self._web.retrieve(study, series, uid, most + ENVELOPE)
        except ReplyTooLong:
            reason = f"The file is larger than {most / 2**20:g} MB, the most that is read."
            raise ImageError("too-large", reason) from None
        except Unreachable as error:
            if error.code == "http-403":
                raise PermissionError(url) from None
            if error.code in ("http-401", "certificate"):
                self._refuse(error.code)
            raise ConnectionError(error.code) from None
        if data is None:
            raise FileNotFoundError(url)
        return data


def _keyword(name: str) -> str:
    """An attribute by its keyword, where it is given by its tag of eight digits."""
    if not re.fullmatch(r"[0-9A-Fa-f]{8}", name):
        return name
    from pydicom.datadict import keyword_for_tag

    return keyword_for_tag(int(name, 16)) or name


def _tag(keyword: str) -> str:
    from pydicom.datadict import tag_for_keyword

    number = tag_for_keyword(keyword)
    return "" if number is None else f"{number:08X}"
