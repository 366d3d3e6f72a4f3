"""What is said where a folder gives no labelled images: what was seen, and what to do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..errors import DataError
from ..images.formats import IMAGE_SUFFIXES
from .dataset import OmittedFile
from .labelling import counted, shorten
from .layout import FolderLayout

TABLES = (".csv", ".tsv")


def no_images(root: Path, others: Sequence[str], skipped: Sequence[OmittedFile], passed_over: Sequence[str]) -> str:
    """The message for a folder without images; `others` are its other files."""
    why = " ".join(passed_over) or (
        f"It holds {counted(len(others), 'other file')}." if others else "It holds no files."
    )
    why = " ".join((why, *unreached(skipped)))
    kinds = " ".join(sorted(s[1:] for s in IMAGE_SUFFIXES))
    return f"{root} holds no images ({kinds}). {why} Give a folder with one folder of images per class."


def unreached(skipped: Sequence[OmittedFile]) -> list[str]:
    """Sentences on folders and links that could not be followed, each with its paths."""
    kinds = {
        "closed-folder": "Folders that cannot be opened",
        "circle": "Links that run in circles",
        "dead-link": "Links that lead nowhere",
    }
    found = {kind: [s.path for s in skipped if s.code == kind] for kind in kinds}
    return [f"{kinds[kind]}: {shorten(paths)}." for kind, paths in found.items() if paths]


def no_classes(root: Path, pictures: Sequence[str], layout: FolderLayout, others: Sequence[str]) -> str:
    """The message for a folder of images whose classes are unknown: the layout, and how to name the classes."""
    splits = sorted(name for name, place in layout.places.items() if place.split)
    seen = "no class folders"
    if splits:
        seen = f"no class folders in its splits {shorten(splits)}"
    if layout.pooled:
        seen += f" (folders of folds, years or parts are no classes: {shorten(sorted(layout.pooled))})"
    first = min(splits, key=lambda name: (layout.places[name].split != "train", name), default="")
    where = f", for example {first}/CLASS," if splits else ""
    words = _first_words(pictures)
    names = (
        f" File names begin with {shorten(words)}: if these are the classes, sort the files by them." if words else ""
    )
    return (
        f"{root} holds {counted(len(pictures), 'image')} but {seen}, so that their classes are unknown: put each class "
        f"in a folder of its own{where} or give a table of paths and labels{_tables(root, others)}.{names}"
    )


def _tables(root: Path, others: Sequence[str]) -> str:
    """The tables that may hold the labels, the first with the columns that were recognised."""
    tables = [p for p in others if p.lower().endswith(TABLES)]
    if not tables:
        return ""
    from .manifest import describe_table

    about = []
    for table in tables[:3]:
        try:
            about.append(f"{root / table}{describe_table(root / table)}")
        except DataError:
            about.append(str(root / table))
    return f", perhaps {' or '.join(about)}"


def _first_words(pictures: Sequence[str]) -> list[str]:
    """The words that file names begin with, where there are a few and each is frequent; they may be the classes."""
    found: Counter[str] = Counter()
    for path in pictures:
        match = re.match(r"([^\W\d_]{2,})(?=[-_ .\d])", path.rpartition("/")[2])
        if match:
            found[match[1]] += 1
    words = [word for word, n in found.most_common() if n >= max(2, 0.02 * len(pictures))]
    named = sum(found[word] for word in words)
    return sorted(words) if 2 <= len(words) <= 20 and named >= 0.4 * len(pictures) else []
