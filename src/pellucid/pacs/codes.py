"""Coded concepts: those of standards, those of the user's `codes.toml`, and private ones for everything else.

Reference: DICOM PS3.16 (content mapping resource), PS3.3 8 (encoding of coded entries).
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError, UnknownNameError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SCHEME = "99PELLUCID"
"""The designator of pellucid's own codes; 99 marks private schemes (PS3.16, 8)."""

RESEARCH = "For research and education, not for diagnosis"
VALUE_LIMIT, MEANING_LIMIT = 16, 64
# What the value representations of codes and names do not take: the backslash separates values, controls are not text.
_FORBIDDEN = re.compile(r"[\\\x00-\x1f\x7f]")


class Code(NamedTuple):
    """A coded concept: value (1 to 16 characters), coding scheme designator, and meaning (1 to 64 characters)."""

    value: str
    scheme: str
    meaning: str


def printable(text: str, most: int = MEANING_LIMIT) -> str:
    """Text as a short DICOM value: without backslashes, control characters and outer spaces, cut to `most`."""
    return _FORBIDDEN.sub("_", text).strip()[:most].strip() or "_"


def own(value: str, meaning: str) -> Code:
    """A code of pellucid's own scheme."""
    return Code(value, SCHEME, printable(meaning))


def class_code(name: str) -> Code:
    """The private code of a class: from its whole name, so that it means the same in every bundle."""
    return own("c" + hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:12], name)


# Of CID 100: for any other, the validator that IHE uses reports an error.
IMAGING = Code("363679005", "SCT", "Imaging procedure")


@dataclass(frozen=True, slots=True)
class ClassCodes:
    """The standard code of a class, and further codes that mean the same (EquivalentCodeSequence)."""

    finding: Code
    also: tuple[Code, ...] = ()


@dataclass(frozen=True, slots=True)
class CodeTable:
    """`codes.toml`: codes of classes, of the body region and of the procedure; empty without a file."""

    classes: dict[str, ClassCodes] = field(default_factory=dict)
    region: Code | None = None
    procedure: Code = IMAGING

    @property
    def texts(self) -> list[str]:
        """Every meaning in the table."""
        codes = [c for row in self.classes.values() for c in (row.finding, *row.also)]
        return [c.meaning for c in (*codes, self.procedure, *((self.region,) if self.region else ()))]

    def finding(self, name: str) -> ClassCodes:
        """The codes of a class, its private one last; only that where the table has none."""
        row = self.classes.get(name)
        return ClassCodes(class_code(name)) if row is None else ClassCodes(row.finding, (*row.also, class_code(name)))

    def check_classes(self, known: Sequence[str]) -> None:
        """Raise UnknownNameError for a class that the bundle does not have."""
        for name in self.classes:
            if name not in known:
                remedy = f"The bundle knows {', '.join(known)}."
                raise UnknownNameError("class of the codes file", name, known, remedy)


def read_codes(path: Path | None) -> CodeTable:
    """Read `codes.toml`; an empty table for None.

        procedure = ["363679005", "SCT", "Imaging procedure"]
        region = ["816094009", "SCT", "Chest"]
        [classes.opacity]
        finding = ["112001", "DCM", "Opacity"]
        also = [["112033", "DCM", "Abnormal opacity"]]

    Raises InputError for a missing file, other keys, and values that are no codes.
    """
    if path is None:
        return CodeTable()
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The codes file {path} cannot be read ({error.strerror}): check its path.") from None
    except ValueError as error:
        raise InputError(f"The codes file {path} is not valid TOML: {error}.") from None
    if unknown := set(document) - {"procedure", "region", "classes"}:
        raise UnknownNameError("key of a codes file", sorted(unknown)[0], ("procedure", "region", "classes"))
    classes = {name: _class(row, path, name) for name, row in _table(document.get("classes", {}), path).items()}
    procedure = document.get("procedure")
    region = document.get("region")
    return CodeTable(
        classes,
        None if region is None else _code(region, path, "region"),
        IMAGING if procedure is None else _code(procedure, path, "procedure"),
    )


def _table(value: Any, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(
            f"{path}: classes is not a table. Write [classes.NAME] and finding = [value, scheme, meaning]."
        )
    return value


def _class(row: Any, path: Path, name: str) -> ClassCodes:
    row = _table(row, path)
    if "finding" not in row or set(row) - {"finding", "also"}:
        raise InputError(f"{path}: the class {name} needs the key finding, may have also, and no other key.")
    also = row.get("also", [])
    if not isinstance(also, list):
        raise InputError(f"{path}: the key also of the class {name} is a list of codes, not {also!r}.")
    return ClassCodes(_code(row["finding"], path, name), tuple(_code(c, path, name) for c in also))


def _code(value: Any, path: Path, key: str) -> Code:
    texts = isinstance(value, list) and len(value) == 3 and all(isinstance(v, str) and v.strip() for v in value)
    if not texts or any(_FORBIDDEN.search(v) for v in value):
        raise InputError(f"{path}: {key}: a code is three texts, [value, scheme, meaning], not {value!r}.")
    code = Code(*value)
    limits = (("value", code.value, 16), ("scheme", code.scheme, 16), ("meaning", code.meaning, 64))
    for what, text, most in limits:
        if len(text) > most:
            raise InputError(
                f"{path}: {key}: the {what} {text!r} is longer than the {most} characters that DICOM takes."
            )
    return code
