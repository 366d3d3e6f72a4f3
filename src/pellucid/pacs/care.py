"""Looking after a node's folder: overview, dead letters, forgetting, and asking the archive what it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError, ResourceError
from .captures import SECONDARY_CAPTURE
from .config import PacsConfig
from .dimse import EXPLICIT, IMPLICIT, Offer, echo, reach
from .key_objects import KEY_OBJECTS
from .ledger import Ledger
from .objects import JPEG_LS_LOSSLESS
from .origin import SR_CLASSES
from .parametric import PARAMETRIC_MAP
from .presentations import PRESENTATION_STATE
from .segments import SEGMENTATION
from .spool import FilmSpool, is_uid
from .trouble import REMEDIES, Unreachable
from .web import WebClient


@dataclass(frozen=True, slots=True)
class Overview:
    """Counts of films and results by state; (what, state, code, how many); dead letters (what, UID, code, reason)."""

    counts: dict[str, dict[str, int]]
    codes: list[tuple[str, str, str, int]]
    dead: list[tuple[str, str, str, str]]


def overview(state: Path) -> Overview:
    """What became of everything. Raises InputError where no node has run."""
    ledger = _ledger(state)
    try:
        return Overview(ledger.counts(), ledger.codes(), ledger.dead())
    finally:
        ledger.close()


class Cared(NamedTuple):
    """How many films and results something was done with, and which of the UIDs that were named are not known."""

    films: int
    results: int
    unknown: tuple[str, ...]


def retry(state: Path, uids: Sequence[str] = ()) -> Cared:
    """Put dead letters back, all or those named. A running node takes them up."""
    ledger, spool = _ledger(state), FilmSpool(state)
    try:
        wanted = set(uids)
        for what, uid, _, _ in ledger.dead():
            if not wanted or uid in wanted:
                spool.move(uid, "dead", "films" if what == "film" else "outbox")
        films, results = ledger.revive(uids)
    finally:
        ledger.close()
    return Cared(len(films), len(results), tuple(uid for uid in uids if uid not in (*films, *results)))


def forget(state: Path, uids: Sequence[str]) -> Cared:
    """Remove films or whole studies, by UID, from ledger and spool.

    What the archive holds stays there. A film that comes again is answered again, by results with the same UIDs.
    Raises InputError, before anything is removed, where nothing is named.
    """
    if not uids:
        raise InputError("Name at least one film, result or study by its UID.")
    ledger, spool = _ledger(state), FilmSpool(state)
    try:
        unknown = tuple(uid for uid in uids if not ledger.knows(uid))
        films, results = ledger.forget(uids)
        named = [uid for uid in uids if is_uid(uid)]
        for uid in (*named, *films, *results):
            spool.remove(uid)
    finally:
        ledger.close()
    return Cared(len(films), len(results), unknown)


def _ledger(state: Path) -> Ledger:
    try:
        found = (state / "ledger.sqlite").is_file()
    except OSError as error:
        raise ResourceError(
            f"The state folder {state} cannot be read ({error.strerror}): run this as the node's user."
        ) from None
    if not found:
        raise InputError(
            f"No node has run in {state}: it holds no ledger. Check `state` in the configuration, or start the node."
        )
    return Ledger(state)


def result_classes(config: PacsConfig) -> dict[str, str]:
    """The SOP classes of the configured kinds, by name."""
    by_group = {
        "sr": ("Structured report", SR_CLASSES[config.sr]),
        "sc": ("Secondary capture", SECONDARY_CAPTURE),
        "seg": ("Segmentation", SEGMENTATION),
        "map": ("Parametric map", PARAMETRIC_MAP),
        "gsps": ("Presentation state", PRESENTATION_STATE),
        "ko": ("Key objects", KEY_OBJECTS),
    }
    return dict(by_group[name] for name in config.kinds.split(","))


def ask_archive(config: PacsConfig) -> list[Offer]:
    """Ask the archive whether it answers, and by C-STORE what it takes; by STOW the list is empty.

    Raises ResourceError with the code of the trouble.
    """
    store = config.store
    where = store.stow or f"{store.ae_title} at {store.host}:{store.port}"
    try:
        if store.stow is not None:
            WebClient(store.stow, store).check_service()
            return []
        return echo(store, list(result_classes(config).values()), [EXPLICIT, IMPLICIT, JPEG_LS_LOSSLESS])
    except Unreachable as error:
        code = error.code
    if store.stow is None and code == "no-association":
        code = reach(store) or code
    remedy = REMEDIES.get(code)
    raise ResourceError(f"The archive {where} does not answer ({code})" + (f": {remedy}." if remedy else "."))
