"""The use case: a run or bundle to a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bundle.manifest import MODEL
from ..errors import InputError
from ..files import write_whole
from ..progress import Progress, Silent
from ..storage import new_folder
from .facts import Exported, facts_document, read_exported, reference_bytes
from .licences import licence_texts
from .packagings import Contents, single_file, write_folder
from .packing import Part
from .runtime import Runtime, find_runtime
from .scripts import bundled

LARGEST_MODEL = 200 * 2**20
"""The largest graph that goes into one file: browsers hold the page's text several times while it opens."""


@dataclass(frozen=True, slots=True)
class WrittenPage:
    """Where a page was written, its size in bytes, and what was measured of it."""

    path: Path
    size: int
    proof: dict[str, Any] | None


def export_page(run: Path, out: Path, *, runtime: Path | None = None, progress: Progress | None = None) -> WrittenPage:
    """Write a run or bundle as a page that works in the browser alone.

    `out` is a new folder, or one file if its name ends in .html. `runtime` is where onnxruntime-web lies: see
    `find_runtime`. Raises BundleError, and InputError for a missing runtime or a model too large for one file.
    """
    progress = progress or Silent()
    single = out.suffix.lower() in (".html", ".htm")
    if single and out.exists():
        raise InputError(f"{out} is already there; nothing is overwritten. Choose another `web=`, or remove it.")
    program = find_runtime(runtime)
    exported = read_exported(run)
    _check_size(exported, single)
    contents = contents_of(exported, program)
    if single:
        data = single_file(contents)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, data)
        return WrittenPage(out, len(data), None)
    with new_folder(out) as draft:
        write_folder(contents, draft)
    return WrittenPage(out, sum(f.stat().st_size for f in out.rglob("*") if f.is_file()), None)


def contents_of(exported: Exported, program: Runtime, proof: dict[str, Any] | None = None) -> Contents:
    """Everything that either packaging holds."""
    licences = licence_texts()
    parts = [
        Part.of("facts", _json(facts_document(exported, proof=proof, licences=licences))),
        Part.of("worker", program.script + bundled("worker.js")),
        Part.of("model", (exported.bundle.folder / MODEL).read_bytes()),
        Part.of("runtime", program.program),
    ]
    if (reference := reference_bytes(exported.bundle)) is not None:
        parts.append(Part.of("reference", reference))
    return Contents(exported.bundle.manifest.name, tuple(parts), licences)


def _json(document: dict[str, Any]) -> str:
    import json

    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _check_size(exported: Exported, single: bool) -> None:
    size = (exported.bundle.folder / MODEL).stat().st_size
    if single and size > LARGEST_MODEL:
        raise InputError(
            f"The model has {size / 2**20:,.0f} MB, and one file takes {LARGEST_MODEL // 2**20} MB at most. "
            "Export a folder: name one that does not end in .html."
        )
