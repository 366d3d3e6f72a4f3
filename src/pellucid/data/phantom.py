"""Phantoms: a folder of chest-film look-alikes with known truth, to try, test and audit classifiers on.

Half of the films carry one to three faint opacities in the lungs. For each of them it is known which pixels are the
opacity, which are lung, and which patient it is; and, on request, a shortcut betrays the class in a chosen share.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
from scipy import ndimage

from ..errors import InputError, ResourceError, UnknownNameError
from ..preprocessing import Uint8Array
from .dataset import SPLITS
from .phantom_anatomy import draw_patient
from .phantom_film import MASK_SHARE, Film, Picture, draw_film, draw_opacities, expose

ShortcutKind = Literal["corner-tag", "border", "blur"]
CLASSES = ("normal", "opacity")
VERSION = 1
NOTICE = "Synthetic picture made by a formula. It shows no patient. Not for diagnosis, and not for training for it."

# The letter R, five pixels wide and seven high.
TAG = np.array([[c == "#" for c in row] for row in "####. #...# #...# ####. #.#.. #..#. #...#".split()])


@dataclass(frozen=True, slots=True)
class Shortcut:
    """A sign that has nothing to do with the lungs and agrees with the label in a share of the films.

    `kind` is `corner-tag` (a small bright letter in the upper left corner), `border` (a thin bright frame) or `blur`
    (the whole film slightly blurred). `agreement` lies in 0.5..1: at 1 the sign is on every film with an opacity and
    on no other, at 0.5 it tells nothing.
    """

    kind: ShortcutKind
    agreement: float

    def __post_init__(self) -> None:
        if self.kind not in get_args(ShortcutKind):
            raise UnknownNameError("shortcut", self.kind, get_args(ShortcutKind), _known_shortcuts())
        if not 0.5 <= self.agreement <= 1:
            raise InputError(
                f"The agreement of the shortcut {self.kind} must lie between 0.5 (tells nothing) and 1 (tells all); "
                f"it is {self.agreement:g}."
            )

    @staticmethod
    def parse(text: str) -> Shortcut:
        """Read `kind=agreement`, as in `corner-tag=0.95`. Raises InputError, for an unknown kind UnknownNameError."""
        kind, _, share = (part.strip() for part in text.partition("="))
        known = {name: name for name in get_args(ShortcutKind)}
        if kind not in known:
            raise UnknownNameError("shortcut", kind, known, _known_shortcuts())
        try:
            agreement = float(share)
        except ValueError:
            raise InputError(
                f"A shortcut is written as kind=agreement, such as {kind}=0.95; {text!r} has no number after '='."
            ) from None
        return Shortcut(known[kind], agreement)


def _known_shortcuts() -> str:
    return f"Known are {', '.join(get_args(ShortcutKind))}; write for example corner-tag=0.95."


@dataclass(frozen=True, slots=True)
class PhantomSummary:
    """What was written: the folder, {split: {class: images}}, {split: patients}, opacities in all."""

    out: Path
    counts: dict[str, dict[str, int]]
    patients: dict[str, int]
    opacities: int

    @property
    def images(self) -> int:
        """Number of films, masks not counted."""
        return sum(sum(of.values()) for of in self.counts.values())


@dataclass(frozen=True, slots=True)
class _Entry:
    """One film of the plan: where it goes and which shortcuts it carries."""

    split: str
    patient: int
    number: int
    positive: bool
    signs: tuple[ShortcutKind, ...] = ()

    @property
    def place(self) -> str:
        """The path below the root, and below `masks/` and `lungs/`."""
        return f"{self.split}/{CLASSES[self.positive]}/patient{self.patient:04d}_{self.number:02d}.png"


def generate_phantoms(
    out: Path,
    *,
    images: int = 600,
    size: int = 224,
    seed: int = 0,
    shortcuts: Sequence[Shortcut] = (),
    progress: Callable[[int, int], None] | None = None,
) -> PhantomSummary:
    """Write a dataset of synthetic chest films, two to four of each patient, half of them with opacities.

    `out/{train,val,test}/{normal,opacity}/patient0001_01.png` are 8-bit grey films of `size` x `size` pixels (about
    60 % train, 15 % val, 25 % test; no patient in two splits); `out/masks/...` and `out/lungs/...` hold, under the
    same path, white where the opacities and the lung fields lie (`masks` only for films with opacities);
    `out/phantom.json` tells the truth of every film and `out/README.md` says what this is. The same arguments give the
    same bytes. `progress` is called with (films written, films in all). All is written beside `out` and then renamed.

    Raises InputError for fewer than 20 images, a size outside 32..2048, a negative seed, a kind of shortcut given
    twice, or an `out` that is not empty; ResourceError when the disk gives out.
    """
    out = Path(out)
    _check(out, images, size, seed, shortcuts)
    plan = _plan(images, seed, shortcuts)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", suffix=".part", dir=out.parent))
    except OSError as error:
        raise InputError(f"The folder {out} cannot be made: {error.strerror or error}. Choose another place.") from error
    try:
        films = []
        for done, (entry, film) in enumerate(_films(plan, size, seed), start=1):
            _write(work, entry, film)
            films.append(_truth(entry, film))
            if progress is not None:
                progress(done, images)
        settings = {"images": images, "size": size, "seed": seed, "shortcuts": [asdict(s) for s in shortcuts]}
        _describe(work, settings, films)
        work.chmod(0o755)
        # Replaces `out` where it is an empty folder, and fails where it has been filled meanwhile.
        os.replace(work, out)
    except OSError as error:
        raise ResourceError(f"Writing to {out.parent} failed: {error.strerror or error}. Is the disk full?") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return _summary(out, plan, films)


def _check(out: Path, images: int, size: int, seed: int, shortcuts: Sequence[Shortcut]) -> None:
    if images < 20:
        raise InputError(f"At least 20 images are needed for three splits with both classes; {images} were asked for.")
    if not 32 <= size <= 2048:
        raise InputError(f"The size must lie between 32 and 2048 pixels; it is {size}.")
    if seed < 0:
        raise InputError(f"The seed must be 0 or more; it is {seed}.")
    kinds = [shortcut.kind for shortcut in shortcuts]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise InputError(f"The shortcut {kind} is given twice; give each kind once.")
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(f"{out} exists and is not a folder; choose another name.")
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"The folder {out} is not empty; choose a new one, or remove it first.")


def _plan(images: int, seed: int, shortcuts: Sequence[Shortcut]) -> list[_Entry]:
    """Which film goes where: patients to splits, labels to films, signs to labels."""
    rng = np.random.default_rng((seed, 0))
    val, test = 2 * round(images * 0.15 / 2), 2 * round(images * 0.25 / 2)
    plan: list[_Entry] = []
    patient = 0
    for split, count in zip(SPLITS, (images - val - test, val, test), strict=True):
        positive = rng.permutation(np.arange(count) < count // 2)
        signs = {shortcut.kind: _signs(rng, positive, shortcut.agreement) for shortcut in shortcuts}
        at = 0
        for films in _films_per_patient(rng, count):
            patient += 1
            for number in range(1, films + 1):
                shown = tuple(kind for kind, on in signs.items() if on[at])
                plan.append(_Entry(split, patient, number, bool(positive[at]), shown))
                at += 1
    return plan


def _films_per_patient(rng: np.random.Generator, count: int) -> Iterator[int]:
    """Two to four at a time until `count` is reached."""
    while count > 4:
        films = int(rng.integers(2, 5))
        films -= count - films == 1
        yield films
        count -= films
    yield count


def _signs(rng: np.random.Generator, positive: np.ndarray[Any, np.dtype[np.bool_]], agreement: float) -> Any:
    """Which films carry a sign, so that it equals the label in exactly round(agreement * films), evenly over classes."""
    wrong = len(positive) - math.floor(agreement * len(positive) + 0.5)
    order = rng.permutation(len(positive))
    # Taking turns between the classes: the k-th of each class comes before the k + 1st of either.
    rank = np.empty(len(positive))
    for label in (False, True):
        members = order[positive[order] == label]
        rank[members] = np.arange(len(members)) + rng.random() / 2
    signs = positive.copy()
    flipped = np.argsort(rank, kind="stable")[:wrong]
    signs[flipped] = ~signs[flipped]
    return signs


def _films(plan: Sequence[_Entry], size: int, seed: int) -> Iterator[tuple[_Entry, Film]]:
    """The film of each entry. Patient, pose and opacities have random streams of their own."""
    for entry in plan:
        if entry.number == 1:
            patient = draw_patient(np.random.default_rng((seed, 1, entry.patient)))
        film = draw_film(np.random.default_rng((seed, 2, entry.patient, entry.number)), patient, size)
        if entry.positive:
            rng = np.random.default_rng((seed, 3, entry.patient, entry.number))
            film = replace(film, opacities=draw_opacities(rng, film))
        yield entry, film


def _write(root: Path, entry: _Entry, film: Film) -> None:
    picture: Picture = expose(film)
    pixels = picture.pixels
    for kind in entry.signs:
        pixels = _DRAW[kind](pixels)
    _save(root / entry.place, pixels)
    _save(root / "lungs" / entry.place, picture.lungs * np.uint8(255))
    if entry.positive:
        _save(root / "masks" / entry.place, picture.mask * np.uint8(255))


def _save(path: Path, pixels: Uint8Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    words = PIL.PngImagePlugin.PngInfo()
    words.add_text("Comment", NOTICE)
    PIL.Image.fromarray(pixels).save(path, format="PNG", pnginfo=words, compress_level=4)


def _with_tag(pixels: Uint8Array) -> Uint8Array:
    size = pixels.shape[0]
    letter = np.kron(TAG, np.ones((max(1, round(size / 112)),) * 2, np.bool_))
    corner = max(1, size // 28)
    marked = pixels.copy()
    marked[corner : corner + letter.shape[0], corner : corner + letter.shape[1]][letter] = 235
    return marked


def _with_border(pixels: Uint8Array) -> Uint8Array:
    width = max(1, round(pixels.shape[0] / 112))
    framed = np.full_like(pixels, 200)
    framed[width:-width, width:-width] = pixels[width:-width, width:-width]
    return framed


def _with_blur(pixels: Uint8Array) -> Uint8Array:
    blurred = ndimage.gaussian_filter(pixels.astype(np.float32), max(0.6, pixels.shape[0] / 224))
    return np.rint(blurred).astype(np.uint8)


_DRAW: dict[ShortcutKind, Callable[[Uint8Array], Uint8Array]] = {
    "corner-tag": _with_tag,
    "border": _with_border,
    "blur": _with_blur,
}


def _truth(entry: _Entry, film: Film) -> dict[str, Any]:
    """What phantom.json says of one film: lengths in pixels, contrast in attenuation."""
    return {
        "path": entry.place,
        "split": entry.split,
        "label": CLASSES[entry.positive],
        "patient": f"patient{entry.patient:04d}",
        "mask": f"masks/{entry.place}" if entry.positive else None,
        "lungs": f"lungs/{entry.place}",
        "opacities": [
            {
                "x": round(o.x * film.size, 2),
                "y": round(o.y * film.size, 2),
                "radius": round(o.radius * film.size, 2),
                "contrast": round(o.contrast, 4),
            }
            for o in film.opacities
        ],
        "shortcuts": list(entry.signs),
    }


def _describe(root: Path, settings: dict[str, Any], films: list[dict[str, Any]]) -> None:
    about = {
        "what": "pellucid phantom",
        "version": VERSION,
        "notice": NOTICE,
        "settings": settings,
        "mask_rule": f"brightened by the opacities by at least {MASK_SHARE:g} of the film's largest brightening",
        "films": films,
    }
    (root / "phantom.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    command = f"pellucid data phantom OUT --images {settings['images']} --size {settings['size']}"
    command += f" --seed {settings['seed']}"
    signs = ""
    for shortcut in settings["shortcuts"]:
        command += f" --shortcut {shortcut['kind']}={shortcut['agreement']:g}"
        signs += f"- Planted shortcut: `{shortcut['kind']}` agrees with the label in {shortcut['agreement']:.1%}.\n"
    (root / "README.md").write_text(
        README.format(notice=NOTICE, command=command, signs=signs, share=MASK_SHARE), encoding="utf-8"
    )


README = """# Synthetic chest films

**{notice}**

Every picture in this folder, masks included, was computed by pellucid's phantom generator:

    {command}

- `train/`, `val/`, `test/`, each with `normal/` and `opacity/`: the films. The file name carries the patient.
- `masks/`: white where the opacities brighten the film by at least {share:.0%} of their largest brightening; same path.
- `lungs/`: white on the lung fields; same path.
- `phantom.json`: settings, and of every film its opacities (in pixels), patient and shortcuts.
{signs}"""


def _summary(out: Path, plan: Sequence[_Entry], films: Sequence[dict[str, Any]]) -> PhantomSummary:
    counts = {
        split: {name: sum(e.split == split and e.positive == i for e in plan) for i, name in enumerate(CLASSES)}
        for split in SPLITS
    }
    patients = {split: len({e.patient for e in plan if e.split == split}) for split in SPLITS}
    return PhantomSummary(out, dict(counts), dict(patients), sum(len(f["opacities"]) for f in films))
