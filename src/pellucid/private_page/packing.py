"""The parts of a page as bytes, and as text inside a single file."""

from __future__ import annotations

import base64
import gzip
import hashlib
from dataclasses import dataclass

from .compact import compacted

GRAPHICS = "graphics-"
"""How the names of parts begin that are only for computing on a graphics card: no page needs them."""

# Four bytes in five letters, none of which means anything to HTML within a script element.
_OTHER = str.maketrans("<", ",")


def written(data: bytes) -> str:
    """Bytes as text that may stand in a script element, a quarter longer; base64 would be a third longer.

    The code is `base64.b85encode` with a comma for "<". `js/parts.js` reads it.
    """
    return base64.b85encode(data).decode("ascii").translate(_OTHER)


@dataclass(frozen=True, slots=True)
class Part:
    """A part that the scripts read by its name: `data` is what they are to have, kept as gzip."""

    name: str
    packed: bytes

    @classmethod
    def of(cls, name: str, data: bytes | str) -> Part:
        """A part of these bytes, or of text as UTF-8."""
        raw = data.encode("utf-8") if isinstance(data, str) else data
        return cls(name, gzip.compress(raw, 9, mtime=0))

    @classmethod
    def of_graph(cls, name: str, graph: bytes) -> Part:
        """A part of an ONNX graph: its weights on grids where that is smaller."""
        return min(cls.of(name, compacted(graph)), cls.of(name, graph), key=lambda part: len(part.packed))

    @property
    def file(self) -> str:
        """The name of its file in a folder: it changes with the content."""
        return f"parts/{self.name}-{short_hash(self.packed)}.bin"

    @property
    def element(self) -> str:
        """The part inside a page."""
        return f'<script type="text/plain" id="part-{self.name}">{written(self.packed)}</script>\n'


def short_hash(data: bytes) -> str:
    """Enough of a sha256 to tell files apart."""
    return hashlib.sha256(data).hexdigest()[:12]


def csp_hash(text: str) -> str:
    """A text as a source of a Content-Security-Policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"
