"""The runtime of the page: two files of onnxruntime-web, checked byte for byte. Nothing is downloaded here."""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..files import write_whole
from ..storage import cache_folder

VERSION = "1.30.0"
COMMAND = f"npm pack onnxruntime-web@{VERSION}"
PACKAGE = f"onnxruntime-web-{VERSION}.tgz"
FILES = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
"""The files that a page needs, and their sha256: the module with its loader, and the program for one thread or more."""

GRAPHICS_FILES = {
    "ort.webgpu.bundle.min.mjs": "0730816731ce2cdfb06f273da065d4a1c7091eb9d1756a83b2916c8a89d015e2",
    "ort-wasm-simd-threaded.asyncify.wasm": "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da",
}
"""The same two of the build that computes on graphics cards, by WebGPU."""

_PLACES = ("", "dist", "package/dist", "node_modules/onnxruntime-web/dist")


@dataclass(frozen=True, slots=True)
class Runtime:
    """The text of the module, and the bytes of the WebAssembly program."""

    module: str
    program: bytes

    @property
    def script(self) -> str:
        """The module as a classic script that sets `globalThis.ort`.

        A script in a blob or in a page has no address of its own. A made-up one is never asked for, as the program is
        handed over; a file's own would make the runtime resolve it against the origin, which is "null" for files.
        """
        text = re.sub(r"//# sourceMappingURL.*", "", self.module)
        *_, last = re.finditer(r"export\{([^}]*)\};?", text)
        pairs = [name.split(" as ") for name in last[1].split(",")]
        exported = ",".join(f"{pair[-1]}:{pair[0]}" for pair in pairs)
        text = f"{text[: last.start()]}{text[last.end() :]}\nreturn {{{exported}}};"
        text = text.replace("import.meta.url", '"https://inline.invalid/ort.mjs"')
        return f"globalThis.ort = (() => {{\n{text}\n}})();\n"


def find_runtime(given: Path | None = None, *, graphics: bool = False) -> Runtime:
    """The runtime in a folder or package file, or else in the working folder or the cache, where it is kept afterwards.

    `given` is the file that npm made, what was unpacked of it, or a folder with `node_modules`. With `graphics` it is
    the build for graphics cards. Raises InputError, with the command that gets it, where it is missing or is not the
    version that this program was tried with.
    """
    files = GRAPHICS_FILES if graphics else FILES
    kept = None if (cache := cache_folder()) is None else cache / f"onnxruntime-web-{VERSION}"
    found = _read(given, files) if given is not None else None
    if given is not None and found is None:
        what = "onnxruntime-web for graphics cards" if graphics else "onnxruntime-web"
        raise InputError(f"{given} holds no {what}. {_remedy()}")
    if found is None:
        places = [Path(PACKAGE), Path(), *([kept] if kept else [])]
        found = next((read for place in places if (read := _read(place, files)) is not None), None)
    if found is None:
        what = f"onnxruntime-web {VERSION}" + (" with its build for graphics cards" if graphics else "")
        raise InputError(f"The page needs {what}, which is not here. {_remedy()}")
    if kept is not None:
        _keep(found, kept)
    module, program = (found[name] for name in files)
    return Runtime(module.decode("utf-8"), program)


def _remedy() -> str:
    return (
        f"Get it once, where there is a network, by `{COMMAND}`, and name the file that this makes, "
        f"`runtime={PACKAGE}`; from then on no network is needed."
    )


def _read(place: Path, files: dict[str, str]) -> dict[str, bytes] | None:
    """The two files below a place, checked; None where they are not there."""
    reader = _packed(place) if place.is_file() else _loose(place)
    found = {name: data for name in files for data in reader(name)}
    if len(found) < len(files):
        return None
    for name, expected in files.items():
        if (actual := hashlib.sha256(found[name]).hexdigest()) != expected:
            raise InputError(
                f"{place}: {name} is not that of onnxruntime-web {VERSION} (its sha256 begins with {actual[:12]}, "
                f"not {expected[:12]}). {_remedy()}"
            )
    return found


def _loose(folder: Path) -> Callable[[str], Iterator[bytes]]:
    def read(name: str) -> Iterator[bytes]:
        for place in _PLACES:
            if (path := folder / place / name).is_file():
                yield path.read_bytes()
                return

    return read


def _packed(file: Path) -> Callable[[str], Iterator[bytes]]:
    def read(name: str) -> Iterator[bytes]:
        try:
            with tarfile.open(file) as archive:
                member = archive.extractfile(f"package/dist/{name}")
                if member is not None:
                    yield member.read()
        except KeyError:
            return
        except (tarfile.TarError, OSError, EOFError) as error:
            raise InputError(f"{file} is not a package of npm: {error}. {_remedy()}") from error

    return read


def _keep(found: dict[str, bytes], folder: Path) -> None:
    """Keep the files in the cache; a cache that cannot be written to is no reason to fail."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in found.items():
            if not (folder / name).is_file():
                write_whole(folder / name, data)
    except OSError:
        return
