"""The proof of a page: the run's own images through headless Chromium, against Python."""

from __future__ import annotations

import base64
import functools
import http.server
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle.bundle import Bundle, load
from ..bundle.run import RunFolder
from ..classifier import gives_score
from ..data.walk import has_image_suffix, walk
from ..errors import DataError, ImageError, InputError
from ..explanation.explain import explain_tensors
from ..images import Image, read_image
from ..progress import Progress
from ..workflow.evaluation import own_split
from .facts import FORMATS

LEAST, USUAL = 50, 60
SECONDS = 120
"""The longest that the page may take to open, and for one image."""

_ASK = """async ({ file, query }) => {
  const bytes = Uint8Array.from(atob(file), (letter) => letter.charCodeAt(0));
  // Of some formats a page reads less than Python, and says so.
  const unread = (error) => (/^(unread|dicom)-/.test(error.code) ? null : Promise.reject(error));
  return pellucid.ask(new Blob([bytes]), query).catch(unread);
}"""


@dataclass(frozen=True, slots=True)
class DraftDifference:
    """What Python's usual decoding of large JPEGs changes: on how many images, and the answer by how much at most."""

    images: int
    difference: float


@dataclass(frozen=True, slots=True)
class Proof:
    """How far a page differs from Python, which decodes whole as the page does.

    `images` were compared: the largest difference of any `probability` (or of a regression's `output`), the least
    `correlation` of a heat map (None for a model without evidence), and how many decisions `changed`. `draft` says what
    Python's default of decoding large JPEGs at a reduced size changes in Python; None where no image is so large.
    """

    images: int
    probability: float | None
    output: float | None
    correlation: float | None
    changed: int
    browser: str
    draft: DraftDifference | None

    def to_document(self) -> dict[str, Any]:
        """Plain JSON values, as the page reads them."""
        return asdict(self)


def proof_images(run: Path, images: Path | None, bundle: Bundle) -> list[Path]:
    """Images to prove a page with: of a folder, or the run's own validation and training images; at most `USUAL`.

    Test images are left alone: they may be sealed. Empty where the run's data are not there now.
    """
    if images is not None:
        seen = [f.path for f in walk(images) if f.what == "file"] if images.is_dir() else []
        found = sorted(images / name for name in seen if has_image_suffix(name))
        if not found:
            raise InputError(f"{images} is no folder of images: name one as `images=`.")
    else:
        found = []
        for split in ("val", "train"):
            try:
                dataset = own_split(RunFolder(run), bundle, split)
            except (DataError, InputError):
                continue
            found += [dataset.root / sample.path for sample in dataset.samples]
            if len(found) >= USUAL:
                break
    step = max(1, len(found) // USUAL)
    return found[::step][:USUAL]


def prove(folder: Path, bundle: Bundle, images: Sequence[Path], progress: Progress) -> Proof | None:
    """Open the page in `folder` in headless Chromium and ask it about images; None without Playwright or Chromium."""
    compared = PageComparison(bundle)
    with _chromium() as browser:
        if browser is None:
            return None
        with _served(folder) as url:
            page = browser.new_page()
            page.set_default_timeout(1000 * SECONDS)
            page.goto(url)
            page.wait_for_selector("body[data-checked]")
            with progress.bar("Asking Chromium") as advance:
                for i, path in enumerate(images):
                    compared.ask(page, path)
                    advance(i + 1, len(images))
            return compared.proof(f"Chromium {browser.version}")


class PageComparison:
    """What was found so far of a page against a bundle that decodes whole."""

    def __init__(self, bundle: Bundle) -> None:
        self._drafting = bundle
        self._whole = load(bundle.folder, threads=1, decode="full")
        self._answers: list[float] = []
        self._correlations: list[float] = []
        self._drafts: list[float] = []
        self._changed = 0

    def ask(self, page: Any, path: Path) -> None:
        """Ask the page and Python about one file. A file that Python or a browser does not read is passed over."""
        try:
            data = path.read_bytes()
            image = read_image(data)
        except (ImageError, OSError):
            return
        if image.format not in FORMATS:
            return
        # A model without an explained layer answers without maps.
        method = self._whole.usual_method
        asked = method if self._whole.manifest.layer is not None else None
        query = {"method": asked, "all_classes": None, "target": None}
        found = page.evaluate(_ASK, {"file": base64.b64encode(data).decode("ascii"), "query": query})
        if found is None:
            return
        prediction = self._whole.predict(image)
        self._answers.append(_apart(found, prediction.output, prediction.probabilities))
        self._changed += found["label"] != prediction.label
        if found["explanations"]:
            self._correlations.append(self._map_correlation(image, method, found["explanations"][0]))
        if (draft := self._drafting.read(data)).reduction > 1:
            other = self._drafting.predict(draft)
            self._drafts.append(_apart(asdict(other), prediction.output, prediction.probabilities))

    def _map_correlation(self, image: Image, method: str, explanation: dict[str, Any]) -> float:
        grid = explanation["grid"]
        mine = np.frombuffer(base64.b64decode(grid["values"]), "<f4")
        batch = self._whole.preprocessing.tensors([image])
        size = (grid["height"], grid["width"])
        explained = explain_tensors(self._whole, batch, [size], method=method, target=explanation["target"])[0]
        placed = explained.attributions[0].values.ravel()
        if not (placed.std() > 0 and mine.std() > 0):
            return 1.0 if np.allclose(placed, mine) else 0.0
        return float(np.corrcoef(placed, mine)[0, 1])

    def proof(self, browser: str) -> Proof | None:
        """What was found; None for fewer than `LEAST` images."""
        if len(self._answers) < LEAST:
            return None
        most, regression = max(self._answers), gives_score(self._whole.task)
        return Proof(
            images=len(self._answers),
            probability=None if regression else most,
            output=most if regression else None,
            correlation=min(self._correlations, default=None),
            changed=self._changed,
            browser=browser,
            draft=DraftDifference(len(self._drafts), max(self._drafts)) if self._drafts else None,
        )


def _apart(answer: dict[str, Any], output: float | None, probabilities: dict[str, float]) -> float:
    if output is not None:
        return abs(float(answer["output"]) - output)
    return max(abs(float(answer["probabilities"][name]) - share) for name, share in probabilities.items())


@contextmanager
def _chromium() -> Iterator[Any]:
    """A headless Chromium by Playwright; None where either is missing."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        yield None
        return
    installed = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    with sync_playwright() as play:
        try:
            browser = play.chromium.launch(executable_path=installed, args=["--no-sandbox", "--disable-gpu"])
        except Error:
            yield None
            return
        try:
            yield browser
        finally:
            browser.close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        return


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """A folder on a port of this machine."""
    handler = functools.partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
