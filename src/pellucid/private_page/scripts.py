"""The page's modules as one classic script, which runs from any place: a static host, a file, a blob.

Only what these modules use is understood: named imports on one line, and exports of functions, classes and constants.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from .. import serving

OWN = Path(__file__).parent / "js"
PRODUCT = Path(serving.__file__).parent / "static" / "js"

_IMPORT = re.compile(r'^import (?:\{([^}]*)\} from )?"\./([\w-]+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async function|function|class|const) (\w+))", re.MULTILINE)
_COMMENT = re.compile(r"^[ \t]*(?://.*|/\*\*(?:.|\n)*?\*/)\n", re.MULTILINE)


def bundled(entry: str, folders: Sequence[Path] = (OWN, PRODUCT)) -> str:
    """The module `entry` with all that it imports, as one script in strict mode.

    A module is looked for in `folders` in turn, so that the page's own `api.js` takes the place of the product's. Each
    becomes a function that gives its exports. Raises ValueError for a circle and for syntax that is not understood.
    """
    order: list[str] = []
    texts: dict[str, str] = {}
    _visit(entry, folders, texts, order, ())
    return '"use strict";\n' + "".join(texts[name] for name in order)


def _visit(name: str, folders: Sequence[Path], texts: dict[str, str], order: list[str], path: tuple[str, ...]) -> None:
    if name in path:
        raise ValueError(f"modules import each other in a circle: {' -> '.join((*path, name))}")
    if name in texts:
        return
    source = next((f / name).read_text(encoding="utf-8") for f in folders if (f / name).is_file())
    for _, other in _IMPORT.findall(source):
        _visit(other, folders, texts, order, (*path, name))
    texts[name] = _wrapped(name, source)
    order.append(name)


def _wrapped(name: str, source: str) -> str:
    """A module as a constant that holds its exports."""
    taken = "".join(
        f"const {{ {names.strip()} }} = {_id(other)};\n" for names, other in _IMPORT.findall(source) if names
    )
    exported = _EXPORT.findall(source)
    body = _COMMENT.sub("", _EXPORT.sub("", _IMPORT.sub("", source)))
    if left := re.search(r"^(?:import|export)\b.*", body, re.MULTILINE):
        raise ValueError(f"{name}: not understood: {left[0]}")
    return f"const {_id(name)} = (() => {{\n{taken}{body}return {{ {', '.join(exported)} }};\n}})();\n"


def _id(name: str) -> str:
    return "$" + name.removesuffix(".js").replace("-", "_")
