"""Class names in the order of a model's outputs: a list, or a file as other programs write it."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError

LARGEST = 4 << 20
NUMBERED = re.compile(r"\s*(\d+)[\s:,;]+(.+)")


def as_class_names(classes: Sequence[str] | str | Path) -> tuple[str, ...]:
    """The names of a list as they are, or those in a file; see `read_class_names`."""
    if isinstance(classes, str | Path):
        return read_class_names(Path(classes))
    names = tuple(str(name).strip() for name in classes)
    if "" in names:
        raise InputError(f"`classes=` holds an empty name among {len(names)}: {', '.join(names)!r}.")
    return names


def read_class_names(path: Path) -> tuple[str, ...]:
    """Class names from a file: one a line, as `0 Avalanche` where all lines are numbered, or JSON.

    JSON is a list of names, {index: name}, or {name: index} as Keras' generators have it, also within `id2label`,
    `labels` or `classes`. Raises InputError when the file is none of these or its numbers have gaps.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path} is larger than any list of class names.")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"`classes={path}` cannot be read ({error.strerror}): check the path.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text in UTF-8: save the class names as such.") from error
    stripped = text.strip()
    if stripped[:1] in {"{", "["}:
        return _from_json(stripped, path)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path} holds no class names.")
    numbered = [NUMBERED.fullmatch(line) for line in lines]
    if all(numbered):
        return _by_number({int(m[1]): m[2].strip() for m in numbered if m}, len(lines), path)
    return tuple(lines)


def split_class_names(text: str) -> tuple[str, ...]:
    """Names separated by commas; one that holds a comma stands in double quotes."""
    rows = list(csv.reader([text], skipinitialspace=True))
    return tuple(name.strip() for name in rows[0]) if rows else ()


def _from_json(text: str, path: Path) -> tuple[str, ...]:
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no valid JSON: {error}.") from error
    if isinstance(document, dict):
        document = next((document[k] for k in ("id2label", "labels", "classes") if k in document), document)
    if isinstance(document, list) and document and all(isinstance(n, str) for n in document):
        return tuple(document)
    if isinstance(document, dict) and document:
        if all(isinstance(v, str) and str(k).isdecimal() for k, v in document.items()):
            return _by_number({int(k): v for k, v in document.items()}, len(document), path)
        if all(isinstance(v, int) and not isinstance(v, bool) for v in document.values()):
            return _by_number({v: k for k, v in document.items()}, len(document), path)
    raise InputError(f"{path} holds no class names: give one name a line, a JSON list, or an object of index and name.")


def _by_number(names: dict[int, str], count: int, path: Path) -> tuple[str, ...]:
    first = min(names)
    if len(names) < count or first not in (0, 1) or set(names) != set(range(first, first + count)):
        raise InputError(f"{path} numbers its class names with gaps or twice: number them 0, 1, 2, ...")
    return tuple(names[i] for i in sorted(names))
