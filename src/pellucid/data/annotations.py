"""Classes of images from the annotations of object detection: COCO, Pascal VOC and YOLO.

An image has a class where all of its objects are of one class. Images with objects of several classes, and those
without any, have none.
"""

from __future__ import annotations

import json
import os
import re
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DataError
from .dataset import Box, Split
from .layout import CONTAINERS, Parts, split_named

LABEL_FOLDERS = frozenset(("labels", "label", "annotations", "annotation", "xml", "xmls"))
LARGEST = 1 << 31
COMMENT = re.compile(r"\s#")


@dataclass(slots=True)
class Annotations:
    """What annotations say of images: classes and boxes (xmin, ymin, xmax, ymax) in pixels by path, splits by path.

    `form` is COCO, Pascal VOC or YOLO; `used` are the files that were read.
    """

    form: str
    classes: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    boxes: dict[str, list[Box]] = field(default_factory=lambda: defaultdict(list))
    splits: dict[str, Split] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)


def read_annotations(root: Path, images: Sequence[str], others: Sequence[str]) -> Annotations | None:
    """The annotations among the files `others` that name some of the `images`, all paths relative to `root`.

    None where no file has a form that is read. Raises DataError for a file of such a form that is damaged.
    """
    known = _Images(images)
    for read in (_read_coco, _read_voc, _read_yolo):
        found = read(root, known, others)
        if found is not None:
            return found
    return None


class _Images:
    """Images by their names, to be found from an annotation that lies elsewhere."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for path in paths:
            name = path.rpartition("/")[2]
            self._by_name[name].append(path)
            self._by_stem[name.rpartition(".")[0]].append(path)

    def named(self, name: str, beside: str) -> str | None:
        """The image that a file lying at `beside` calls `name`, a path or a file name."""
        parts = [p for p in name.replace("\\", "/").split("/") if p not in ("", ".", "..")]
        if not parts:
            return None
        found = self._by_name.get(parts[-1], [])
        whole = [p for p in found if f"/{p}".endswith("/" + "/".join(parts))]
        return _nearest(whole or found, beside)

    def of_stem(self, path: str) -> str | None:
        """The image with the stem of the annotation file at `path`, in the folder that corresponds to its own."""
        stem = path.rpartition("/")[2].rpartition(".")[0]
        return _nearest(self._by_stem.get(stem, []), path)


def _nearest(paths: Sequence[str], beside: str) -> str | None:
    """Of images of one name, that in the folder which corresponds to the one of `beside`; None where it is open."""
    if len(paths) < 2:
        return paths[0] if paths else None
    wanted = _meaning(beside)
    found = [p for p in paths if _meaning(p) == wanted]
    if not found:
        split = next((s for part in re.split(r"[/_.]", beside) if (s := split_named(part))), None)
        found = [p for p in paths if split and any(split_named(part) == split for part in p.split("/")[:-1])]
    return found[0] if len(found) == 1 else None


def _meaning(path: str) -> Parts:
    return tuple(f for f in path.split("/")[:-1] if f.casefold() not in CONTAINERS | LABEL_FOLDERS)


# ---- COCO


def _read_coco(root: Path, images: _Images, others: Sequence[str]) -> Annotations | None:
    found = Annotations("COCO")
    for path in others:
        document = _coco_document(root / path) if path.lower().endswith(".json") else None
        if document is None:
            continue
        try:
            _add_coco(document, path, images, found)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{root / path} looks like a COCO file but cannot be read ({type(error).__name__}: {error}): repair or "
                "remove it."
            ) from None
    return found if found.classes else None


def _coco_document(path: Path) -> dict[str, Any] | None:
    try:
        if path.stat().st_size > LARGEST:
            return None
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    lists = ("images", "annotations", "categories")
    whole = isinstance(document, dict) and all(isinstance(document.get(key), list) for key in lists)
    return document if whole else None


def _add_coco(document: Mapping[str, Any], path: str, images: _Images, found: Annotations) -> None:
    names = {c["id"]: str(c["name"]) for c in document["categories"]}
    paths = {i["id"]: images.named(str(i["file_name"]), path) for i in document["images"]}
    for annotation in document["annotations"]:
        image = paths.get(annotation.get("image_id"))
        if image is None or annotation.get("category_id") not in names:
            continue
        found.classes[image].add(names[annotation["category_id"]])
        if annotation.get("bbox"):
            left, top, width, height = (float(v) for v in annotation["bbox"])
            found.boxes[image].append((left, top, left + width, top + height))
    if any(paths.values()):
        found.used.add(path)


# ---- Pascal VOC


def _read_voc(root: Path, images: _Images, others: Sequence[str]) -> Annotations | None:
    found = Annotations("Pascal VOC")
    for path in others:
        image = images.of_stem(path) if path.lower().endswith(".xml") else None
        if image is not None and _add_voc(root / path, image, found):
            found.used.add(path)
    if not found.classes:
        return None
    _add_image_sets(root, images, others, found)
    return found


def _add_voc(path: Path, image: str, found: Annotations) -> bool:
    """Add the objects of one file; False where it is no annotation of Pascal VOC."""
    try:
        text = path.read_bytes()
        if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
            return False
        tree = ElementTree.fromstring(text)
    except (OSError, ElementTree.ParseError):
        return False
    if tree.tag != "annotation":
        return False
    for item in tree.iter("object"):
        name = (item.findtext("name") or "").strip()
        if name:
            found.classes[image].add(name)
        box = item.find("bndbox")
        if box is not None:
            sides = [box.findtext(side) or "" for side in ("xmin", "ymin", "xmax", "ymax")]
            try:
                left, top, right, bottom = (float(side) for side in sides)
            except ValueError:
                continue
            if left <= right and top <= bottom:
                found.boxes[image].append((left, top, right, bottom))
    return True


def _add_image_sets(root: Path, images: _Images, others: Sequence[str], found: Annotations) -> None:
    """Splits from `ImageSets/Main/train.txt` and its kind; a list of both train and val gives way to these."""
    lists = [p for p in others if re.search(r"(^|/)ImageSets/Main/[a-z]+\.txt$", p)]
    for path in sorted(lists, key=lambda p: p.endswith("trainval.txt")):
        split = split_named(path.rpartition("/")[2].removesuffix(".txt"))
        folder = path.partition("ImageSets/")[0]
        for line in _lines(root / path) if split else ():
            image = images.of_stem(f"{folder}{line.split()[0]}.x") if line.split() else None
            if image is not None:
                found.splits.setdefault(image, split or "")
    found.used.update(p for p in others if "ImageSets/" in p)


# ---- YOLO


def _read_yolo(root: Path, images: _Images, others: Sequence[str]) -> Annotations | None:
    found = Annotations("YOLO")
    names: list[str] | None = None
    for path in others:
        image = images.of_stem(path) if path.lower().endswith(".txt") else None
        rows = _yolo_rows(root / path) if image is not None else None
        if image is None or rows is None:
            continue
        names = _yolo_names(root, others) if names is None else names
        found.used.add(path)
        for number in rows:
            found.classes[image].add(names[number] if number < len(names) else str(number))
    if not found.classes:
        return None
    found.used.update(p for p in others if p.lower().endswith((".yaml", ".yml", ".names", "classes.txt", ".cache")))
    return found


def _yolo_rows(path: Path) -> set[int] | None:
    """The numbers of the classes in a file of lines `class x y width height ...`; None for any other file."""
    numbers = set()
    for line in _lines(path):
        cells = line.split()
        if not cells:
            continue
        try:
            values = [float(cell) for cell in cells[1:]]
        except ValueError:
            return None
        if not cells[0].isdigit() or len(values) < 4 or not all(-0.5 <= v <= 1.5 for v in values):
            return None
        numbers.add(int(cells[0]))
    return numbers


def _yolo_names(root: Path, others: Sequence[str]) -> list[str]:
    """The names of the classes by number, from `data.yaml`, `classes.txt` or `*.names`; empty if absent."""
    for path in others:
        if path.lower().endswith((".yaml", ".yml")):
            names = _names_in_yaml(_lines(root / path))
            if names:
                return names
    for path in others:
        if os.path.basename(path).lower() in ("classes.txt", "obj.names") or path.lower().endswith(".names"):  # noqa: PTH119
            return [line.strip() for line in _lines(root / path) if line.strip()]
    return []


def _names_in_yaml(lines: Sequence[str]) -> list[str]:
    """The entry `names` of a YOLO data file: `[a, b]`, `{0: a}`, lines `- a` or lines `0: a`."""
    start = next((i for i, line in enumerate(lines) if re.match(r"names\s*:", line)), None)
    if start is None:
        return []
    first = COMMENT.split(lines[start].partition(":")[2])[0].strip()
    if first:
        text = first + " ".join(line.strip() for line in lines[start + 1 :])
        inside = re.match(r"[\[{](.*?)[\]}]", text)
        cells = re.findall(r"""\s*(?:\d+\s*:\s*)?('[^']*'|"[^"]*"|[^,]+)""", inside[1]) if inside else []
        return [cell.strip().strip("'\"") for cell in cells if cell.strip()]
    names: dict[int, str] = {}
    for line in lines[start + 1 :]:
        text = COMMENT.split(line)[0]
        found = re.match(r"\s*-\s+(.+)|\s+(\d+)\s*:\s*(.+)", text)
        if found:
            names[int(found[2]) if found[2] else len(names)] = (found[1] or found[3]).strip().strip("'\"")
        elif text.strip() and not text.lstrip().startswith("#"):
            break
    return [names.get(i, str(i)) for i in range(max(names, default=-1) + 1)]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
