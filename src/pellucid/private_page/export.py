"""The use case: a run or bundle to a page."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bundle.bundle import ProvenRuntime, open_bundle
from ..bundle.embedding import whole_graph
from ..bundle.manifest import MODEL
from ..errors import InputError
from ..files import write_whole
from ..progress import Progress, Silent
from ..storage import new_folder, refuse_taken
from .checks import check_document
from .facts import Exported, concept_bytes, facts_document, read_exported, reference_bytes
from .further import further_parts, is_shared, whole_parts
from .graphics import named
from .licences import licence_texts
from .packagings import Contents, single_file, write_folder
from .packing import GRAPHICS, Part
from .proof import LEAST, Proof, proof_images, prove
from .rounding import BITS, Precision, check_precision, rounded
from .runtime import Runtime, find_runtime
from .scripts import bundled

LARGEST_MODEL = 200 * 2**20
"""The largest graph that goes into one file: browsers hold the page's text several times while it opens."""


@dataclass(frozen=True, slots=True)
class WrittenPage:
    """Where a page was written, its size in bytes, and what was measured of it."""

    path: Path
    size: int
    proof: Proof | None


def export_page(
    run: Path,
    out: Path,
    *,
    runtime: Path | None = None,
    images: Path | None = None,
    proof: bool = True,
    every_method: bool | None = None,
    weights: str = "float32",
    webgpu: bool = False,
    progress: Progress | None = None,
) -> WrittenPage:
    """Write a run or bundle as a page that works in the browser alone.

    `out` is a new folder, or one file if its name ends in .html. `runtime` is where onnxruntime-web lies: see
    `find_runtime`. With `proof` the run's own images, or those of the folder `images`, go through headless Chromium,
    and the page says how far it differs from Python. `every_method` adds the bundle's further graphs, for further
    layers, several layers together, saliency, integrated gradients and ablation-cam: by default, but to a single file
    not those of early bundles, whose weights it would hold twice. `weights` is float32, float16 or int8; with fewer
    bits the page is smaller, and a proof is demanded. `webgpu` adds to a folder the runtime's build for graphics cards,
    7 MB, which the page uses where there is a card on which it measures the same answers in less time.

    Raises BundleError, and InputError for a missing runtime, a model too large for one file, or weights of fewer bits
    without a proof.
    """
    precision = check_precision(weights)
    progress = progress or Silent()
    single = out.suffix.lower() in (".html", ".htm")
    if single and out.exists():
        raise InputError(f"{out} is already there; nothing is overwritten. Choose another `web=`, or remove it.")
    if not single:
        refuse_taken(out, "web")
    elif webgpu:
        raise InputError("The build for graphics cards would make one file too large: export a folder for `webgpu`.")
    exported = read_exported(run)
    _check_size(exported, single)
    program = find_runtime(runtime)
    shared = is_shared(exported)
    every = shared or not single if every_method is None else every_method
    card = find_runtime(runtime, graphics=True) if webgpu else None
    made = _made(exported, program, card, every, shared, precision)
    contents = made.contents(None)
    found = _proved(run, images, exported, contents, progress) if proof else None
    if found is None and precision != "float32":
        raise InputError(f"What {precision} weights change must be measured, and there is no proof of this page.")
    if found is not None:
        contents = made.contents(found)
    if single:
        data = single_file(contents)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, data)
        return WrittenPage(out, len(data), found)
    with new_folder(out) as draft:
        write_folder(contents, draft)
    return WrittenPage(out, sum(f.stat().st_size for f in out.rglob("*") if f.is_file()), found)


def _proved(run: Path, images: Path | None, exported: Exported, contents: Contents, progress: Progress) -> Proof | None:
    """The proof of a page; None, with a line that says why, where it cannot be had."""
    chosen = proof_images(run, images, exported.bundle)
    if len(chosen) < LEAST:
        progress.say(
            f"The page is not verified: that takes {LEAST} images, and there are {len(chosen)}. Name a folder of such "
            "images as `images=`."
        )
        return None
    with tempfile.TemporaryDirectory(prefix="pellucid-page-") as folder:
        write_folder(contents, Path(folder))
        found = prove(Path(folder), exported.bundle, chosen, progress)
    if found is None:
        progress.say(
            "The page is not verified: that takes Playwright (`pip install playwright`) and Chromium (your system's "
            "package, or `playwright install chromium`). Then export it again."
        )
    return found


@dataclass(frozen=True, slots=True)
class _Made:
    """A page without its facts, which are written twice: before and after the proof."""

    exported: Exported
    parts: tuple[Part, ...]
    check: dict[str, Any]
    bits: int
    shared: bool

    def contents(self, proof: Proof | None) -> Contents:
        """Everything that either packaging holds; the facts come first."""
        licences = licence_texts()
        document = facts_document(
            self.exported,
            proof=None if proof is None else proof.to_document(),
            licences=licences,
            parts=[part.name for part in self.parts],
            check=self.check,
            bits=self.bits,
            shared=self.shared,
        )
        facts = Part.of("facts", json.dumps(document, ensure_ascii=False, separators=(",", ":")))
        return Contents(self.exported.bundle.manifest.name, (facts, *self.parts), licences)


def _made(
    exported: Exported, program: Runtime, card: Runtime | None, every_method: bool, shared: bool, precision: Precision
) -> _Made:
    graph = whole_graph(exported.bundle.folder)
    own = rounded(graph, precision)
    check = check_document(exported.bundle) if own is graph else _check_of(exported, own)
    if card is not None:
        own = named(own)
    parts = [
        Part.of("worker", program.script + bundled("worker.js")),
        Part.of_graph("model", own),
        Part.of("runtime", program.program),
    ]
    if (reference := reference_bytes(exported.bundle)) is not None:
        parts.append(Part.of("reference", reference))
    if (factors := concept_bytes(exported)) is not None:
        parts.append(Part.of("concepts", factors))
    if every_method and shared:
        parts += further_parts(exported, own, named if card is not None else None)
    elif every_method and precision == "float32":
        parts += whole_parts(exported)
    if card is not None:
        parts += _graphics_parts(card)
    return _Made(exported, tuple(parts), check, BITS[precision], shared)


def _graphics_parts(program: Runtime) -> list[Part]:
    """The worker and the runtime that compute on a graphics card."""
    worker = Part.of(f"{GRAPHICS}worker", program.script + bundled("worker.js"))
    return [worker, Part.of(f"{GRAPHICS}runtime", program.program)]


def _check_of(exported: Exported, graph: bytes) -> dict[str, Any]:
    """What a browser is to find of another graph than the bundle's."""
    bundle = exported.bundle
    with tempfile.TemporaryDirectory(prefix="pellucid-page-") as folder:
        path = Path(folder) / MODEL
        path.write_bytes(graph)
        return check_document(open_bundle(bundle.folder, bundle.manifest, ProvenRuntime(), 1, graph=path))


def _check_size(exported: Exported, single: bool) -> None:
    size = len(whole_graph(exported.bundle.folder))
    if single and size > LARGEST_MODEL:
        raise InputError(
            f"The model has {size / 2**20:,.0f} MB, and one file takes {LARGEST_MODEL // 2**20} MB at most. "
            "Export a folder: name one that does not end in .html."
        )
