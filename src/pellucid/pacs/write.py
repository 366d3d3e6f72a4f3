"""`pellucid pacs write`: the results about files, as files. No network."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..bundle.bundle import Bundle, load
from ..errors import ImageError, InputError, ResourceError
from ..files import write_whole
from ..images.read import read_file
from .captures import compressed
from .findings import Findings, find
from .key_objects import flagged, key_objects
from .kinds import check_kinds
from .make import make_results
from .objects import Result
from .origin import ResultOrigin
from .source import UnusableFilm, read_source


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """One result on disk: the film that it is about (None for those about a study), its kind and its file."""

    film: Path | None
    kind: str
    path: Path


@dataclass(frozen=True, slots=True)
class WrittenResults:
    """What was written, and each film that was not, with the reason."""

    files: tuple[WrittenFile, ...]
    skipped: tuple[tuple[Path, str], ...]


def write_results(
    origin: ResultOrigin,
    films: Sequence[Path],
    out: Path,
    kinds: Sequence[str],
    *,
    at: datetime.datetime | None = None,
    compress: bool = False,
) -> WrittenResults:
    """Write the results about DICOM files below `out`, a folder for each study.

    `out/STUDY/FILM.KIND.dcm` is named by UIDs; what is there already is replaced. `at` is the time that results bear,
    by default each film's own, so that the same files give the same bytes. With `compress`, captures are JPEG-LS.

    A film that cannot be used is skipped. Raises InputError for kinds that the bundle cannot give, and for an `out`
    that is no folder.
    """
    check_kinds(kinds, origin.bundle.manifest)
    make_folder(out)
    files: list[WrittenFile] = []
    skipped: list[tuple[Path, str]] = []
    listed: dict[str, list[Findings]] = {}
    for path in films:
        try:
            findings = _find(origin.bundle, path, at)
        except (ImageError, UnusableFilm) as error:
            skipped.append((path, str(error)))
            continue
        for result in make_results(findings, origin, kinds):
            files.append(WrittenFile(path, result.kind, _save(result, findings, out, compress)))
        if "ko" in kinds and flagged(findings.prediction, origin.bundle.manifest):
            listed.setdefault(findings.source.study, []).append(_without_pictures(findings))
    for study in listed.values():
        result = Result("ko", key_objects(study, origin))
        files.append(WrittenFile(None, "ko", _save(result, study[0], out, compress)))
    return WrittenResults(tuple(files), tuple(skipped))


def make_folder(out: Path) -> None:
    """Make an output folder. Raises InputError for a file of this name, ResourceError where it cannot be made."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: name a folder as `out=`.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(f"The folder {out} cannot be made ({error.strerror}): choose another `out=`.") from None


def _find(bundle: Bundle, path: Path, at: datetime.datetime | None) -> Findings:
    data = read_file(path)
    source = read_source(data)
    when = at or source.time
    if when is None:
        raise UnusableFilm("no-date", "The film states no date that its results could bear. State one by `at=`.")
    return find(bundle, data, source, when)


def _without_pictures(findings: Findings) -> Findings:
    return Findings(findings.source, findings.picture[:0], findings.prediction, None, findings.when)


def _save(result: Result, findings: Findings, out: Path, compress: bool) -> Path:
    made = compressed(result.object) if compress and result.kind == "sc" else result.object
    stem = findings.source.study if result.kind == "ko" else findings.source.uid
    path = out / findings.source.study / f"{stem}.{result.kind}.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, Result(result.kind, made).to_bytes())
    return path


def open_origin(
    run: Path, codes: Path | None, *, research: bool, sr: str = "comprehensive-3d", threads: int | None = None
) -> ResultOrigin:
    """Load a run or bundle and check that its results may be written.

    Raises BundleError, UnknownNameError for a class of the codes file or another SR class, and InputError for a bundle
    that is not for such use.
    """
    from ..bundle.run import find_bundle
    from ..errors import UnknownNameError
    from .codes import read_codes
    from .origin import SR_CLASSES, check_use

    table = read_codes(codes)
    chosen = next((name for name in SR_CLASSES if name == sr), None)
    if chosen is None:
        raise UnknownNameError("class of report", sr, SR_CLASSES, f"Use {', '.join(SR_CLASSES)}.")
    bundle = load(run, threads=threads)
    check_use(bundle, find_bundle(run).parent, research=research)
    table.check_classes(bundle.classes)
    return ResultOrigin(bundle, table, chosen)


def dicom_files(given: Sequence[Path]) -> list[Path]:
    """The files named, and those in folders named, in order of their names. InputError where no file is found."""
    found: list[Path] = []
    for path in given:
        if path.is_dir():
            found += sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
        elif path.exists():
            found.append(path)
        else:
            raise InputError(f"There is no file or folder {path}: check the path.")
    if not found:
        raise InputError(f"There is no file in {', '.join(map(str, given))}.")
    return found
