"""`pacs.toml`: what the node listens to, takes, writes and sends, each key checked."""

from __future__ import annotations

import base64
import os
import re
import ssl
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ..errors import InputError, nearest
from .kinds import parse_kinds

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Port = Annotated[int, Field(ge=1, le=65535)]
_AE_TITLE = re.compile(r"[ -\[\]-~]{1,16}")


def _ae_title(value: str) -> str:
    if not _AE_TITLE.fullmatch(value) or not value.strip():
        raise ValueError(f"{value!r} is no AE title: 1 to 16 ASCII characters, not only spaces, without backslashes")
    return value.strip()


AeTitle = Annotated[str, AfterValidator(_ae_title)]
_URL = re.compile(r"https?://[^\s/]+(/\S*)?")


class Section(BaseModel):
    """A table of the file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# By the codes of OpenSSL.
_DATES = {9: "is not valid yet: check its dates and the clock.", 10: "has expired: renew it."}


class TlsFiles(Section):
    """Certificates in PEM. `ca` signs those of the other side; `certificate` and `key` are this side's own."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def context(self, *, server: bool) -> ssl.SSLContext:
        """A TLS 1.2+ context. A server asks for client certificates whenever `ca` is given.

        Raises InputError that names the file that cannot be used.
        """
        for path in (self.ca, self.certificate, self.key):
            if path is not None and (reason := unreadable(path)):
                raise InputError(f"The TLS file {path} cannot be read ({reason}): check the path and its permissions.")
        purpose = ssl.Purpose.CLIENT_AUTH if server else ssl.Purpose.SERVER_AUTH
        try:
            made = ssl.create_default_context(purpose, cafile=self.ca)
        except (OSError, ssl.SSLError):
            raise InputError(f"The TLS file {self.ca} holds no certificates: `ca` wants them as PEM.") from None
        if self.certificate is not None:
            self._load(made, self.certificate)
            self._check_dates(made if server else None, self.certificate)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        if server and self.ca is not None:
            made.verify_mode = ssl.CERT_REQUIRED
        return made

    def _load(self, made: ssl.SSLContext, certificate: Path) -> None:
        def locked() -> str:
            raise InputError(f"The key {self.key or certificate} is encrypted: store it without a password.")

        try:
            made.load_cert_chain(certificate, self.key, locked)
        except (OSError, ssl.SSLError):
            files = f"{certificate} and {self.key}" if self.key else f"{certificate} (there is no `key`)"
            raise InputError(f"The TLS files {files} are not a certificate and its own key, as PEM.") from None

    def _check_dates(self, own: ssl.SSLContext | None, certificate: Path) -> None:
        """InputError for a certificate of this side that no other side would take today.

        A handshake with ourselves, in memory, as `ssl` has no other way to look at a certificate's dates.
        """
        if own is None:
            own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._load(own, certificate)
        asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        asking.check_hostname = False
        asking.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        asking.load_verify_locations(certificate)
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        client, server = asking.wrap_bio(back, there), own.wrap_bio(there, back, server_side=True)
        for side in (client, server, client):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                if error.verify_code in _DATES:
                    raise InputError(f"The certificate {certificate} {_DATES[error.verify_code]}") from None
                return
            except ssl.SSLError:
                return


def unreadable(path: Path) -> str:
    """Why a file cannot be read; "" where it can."""
    try:
        with path.open("rb"):
            return ""
    except OSError as error:
        return error.strerror or "it cannot be opened"


class Listen(Section):
    """Films come by C-STORE. `callers` are the AE titles that may send."""

    port: Port
    address: str = "127.0.0.1"
    ae_title: AeTitle = "PELLUCID"
    callers: tuple[AeTitle, ...] = Field(min_length=1)
    associations: int = Field(default=8, ge=1, le=100)
    tls: TlsFiles | None = None


class WebAccess(Section):
    """How an HTTP service is reached. The password is in the environment variable `password_variable`."""

    user: str | None = None
    password_variable: str | None = None
    tls: TlsFiles | None = None
    timeout: float = Field(default=30, gt=0)

    @property
    def password(self) -> str:
        """The password; InputError where the environment lacks it."""
        if self.password_variable is None:
            return ""
        found = os.environ.get(self.password_variable)
        if found is None:
            raise InputError(f"The environment variable {self.password_variable} with the password is not set.")
        return found

    @property
    def authorization(self) -> str | None:
        """The Authorization header; None without a user."""
        return None if self.user is None else basic_authorization(self.user, self.password)


class Poll(WebAccess):
    """Films are looked for: among Orthanc's changes (`orthanc`, its root), or by QIDO (`qido`, the DICOMweb root)."""

    orthanc: str | None = None
    qido: str | None = None
    every: float = Field(default=5, gt=0)

    @model_validator(mode="after")
    def _one(self) -> Poll:
        _exactly_one(self, "orthanc", "qido")
        return self


class ArchiveStore(WebAccess):
    """Results go by STOW (`stow`, the DICOMweb root) or by C-STORE (`host`, `port`, `ae_title` of the archive)."""

    stow: str | None = None
    host: str | None = None
    port: Port = 104
    ae_title: AeTitle = "ARCHIVE"
    calling: AeTitle = "PELLUCID"
    compress: bool = False

    @model_validator(mode="after")
    def _one(self) -> ArchiveStore:
        _exactly_one(self, "stow", "host")
        return self


class Accept(Section):
    """Which films are answered; see `rules.py`. An empty list takes every value."""

    sop_classes: tuple[str, ...] = ("DX", "CR")
    modalities: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ("CHEST", "THORAX")
    unknown_body_part: Literal["skip", "take"] = "skip"
    views: tuple[Literal["PA", "AP", "LATERAL", "OBLIQUE"], ...] = ("PA", "AP")
    unknown_view: Literal["skip", "take"] = "skip"
    newest_days: int = Field(default=30, ge=0)

    @field_validator("sop_classes", "modalities", "body_parts", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return [v.upper() if isinstance(v, str) else v for v in value] if isinstance(value, list) else value


class Health(Section):
    """Where `/livez`, `/readyz` and `/metrics` answer."""

    port: int = Field(ge=0, le=65535)
    address: str = "127.0.0.1"


class NodeLimits(Section):
    """Attempts before an object becomes a dead letter, days that things are kept, and seconds.

    An archive that cannot be reached uses up no attempt. `free_mb` must be free on the disk of the state folder.
    """

    attempts: int = Field(default=8, ge=1)
    longest_pause: float = Field(default=300, gt=0)
    keep_days: float = Field(default=30, gt=0)
    drain: float = Field(default=30, ge=0)
    study_quiet: float = Field(default=60, ge=0)
    free_mb: int = Field(default=200, ge=0)


class PacsConfig(Section):
    """The whole file. `state` is the folder of spool and ledger; relative paths start at the file's own folder."""

    state: Path
    kinds: str = "sr,sc"
    codes: Path | None = None
    sr: Literal["comprehensive-3d", "comprehensive", "enhanced"] = "comprehensive-3d"
    listen: Listen | None = None
    poll: Poll | None = None
    store: ArchiveStore
    accept: Accept = Accept()
    health: Health | None = None
    limits: NodeLimits = NodeLimits()

    @field_validator("kinds")
    @classmethod
    def _kinds(cls, value: str) -> str:
        return ",".join(parse_kinds(value))

    @model_validator(mode="after")
    def _has_source(self) -> PacsConfig:
        if self.listen is None and self.poll is None:
            raise ValueError("films come from nowhere: add [listen] or [poll]")
        return self


def basic_authorization(user: str, password: str) -> str:
    """The Authorization header of a user with a password. Reference: RFC 7617."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _exactly_one(section: BaseModel, first: str, second: str) -> None:
    given = [getattr(section, name) for name in (first, second)]
    if sum(value is not None for value in given) != 1:
        raise ValueError(f"give one of {first} and {second}")
    address = getattr(section, first) if second != "qido" else given[0] or given[1]
    if address is not None and not _URL.fullmatch(address):
        raise ValueError(f"{address} is not an address: write http://HOST:PORT/PATH")


def read_config(path: Path) -> PacsConfig:
    """Read `pacs.toml`. Raises InputError that names the key and the rule."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The configuration {path} cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise InputError(f"The configuration {path} is not valid TOML: {error}.") from None
    try:
        config = PacsConfig.model_validate(document)
    except ValidationError as error:
        raise InputError(f"{path}: {_broken_rule(error)}.") from None
    return _resolved(config, path.resolve().parent)


def _broken_rule(error: ValidationError) -> str:
    """The key that is wrong, and how it must be."""
    first = error.errors()[0]
    *section, name = first["loc"] or ("the file",)
    key = ".".join(str(part) for part in (*section, name))
    if first["type"] == "extra_forbidden":
        known = _keys(section)
        near = nearest(str(name), known)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(known)}"
        return f"there is no key {key}; {hint}"
    if first["type"] == "missing":
        return f"{key} is missing"
    if "error" in first.get("ctx", {}):
        return f"{key}: {first['ctx']['error']}"
    return f"{key}: {first['msg'][0].lower()}{first['msg'][1:]}, not {str(first['input'])[:40]!r}"


def _keys(section: list[Any]) -> list[str]:
    """The keys that a table of the file may have."""
    model: type[BaseModel] = PacsConfig
    for part in section:
        kinds = get_args(model.model_fields[part].annotation) or (model.model_fields[part].annotation,)
        model = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return list(model.model_fields)


def _resolved(config: PacsConfig, folder: Path) -> PacsConfig:
    """The configuration with paths that start at its file."""
    changes: dict[str, Any] = {"state": folder / config.state}
    if config.codes is not None:
        changes["codes"] = folder / config.codes
    for name in ("listen", "poll", "store"):
        section = getattr(config, name)
        if section is not None and section.tls is not None:
            files = {k: folder / v for k in ("ca", "certificate", "key") if (v := getattr(section.tls, k)) is not None}
            changes[name] = section.model_copy(update={"tls": section.tls.model_copy(update=files)})
    return config.model_copy(update=changes)
