"""The two kinds of Keras files as plain values: a description in JSON, and arrays. Nothing in a file is executed.

`.h5` (Keras 1, 2, TF-Keras, and 3's legacy format) is HDF5 with the description in an attribute; `.keras` is a zip of
`config.json`, `metadata.json` and `model.weights.h5`. What could reach out of the file (links, external or virtual
storage), or claims far more memory than it has bytes, is refused before anything is read.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..._optional import require
from ...errors import InputError, PellucidError, WeightsError

if TYPE_CHECKING:
    import h5py

Arrays = npt.NDArray[np.float32]
MOST_OBJECTS = 100_000
MOST_TEXT = 64 << 20
INFLATION = 16
# HDF5's own filters, and LZF, which h5py carries; any other would be loaded from a plug-in.
FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scale-offset", 32000: "lzf"}


@dataclass(frozen=True)
class KerasFile:
    """What a Keras file says: `config` of the model, `weights`, the Keras version, and how it was compiled ({} if not).

    `weights` is for the old format {layer: [(name, array), ...]}, for the new one {path of a layer's group: [array,
    ...]}; `packed` tells which.
    """

    config: dict[str, Any]
    weights: dict[str, list[tuple[str, Arrays]]]
    version: str
    compiled: dict[str, Any]
    packed: bool


def read_keras_file(path: Path, *, arrays: bool = True) -> KerasFile:
    """Read a `.h5` or `.keras` file of a whole model; without `arrays` only its description.

    Raises InputError when it is no such file, is damaged, holds weights only, or has anything in it that is refused;
    MissingDependencyError without h5py.
    """
    require("h5py", extra="keras")
    with path.open("rb") as file:
        start = file.read(8)
    with _one_sentence(path):
        if start[:4] == b"PK\x03\x04":
            return _read_zip(path, arrays)
        return _read_h5(path, arrays)


@contextmanager
def _one_sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except (PellucidError, MemoryError):
        raise
    except RecursionError as error:
        raise InputError(f"The description in {path} is nested deeper than any model; it is not read.") from error
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is damaged or cut short and cannot be read as a Keras file. Copy or download it again."
        ) from error


def _read_h5(path: Path, arrays: bool) -> KerasFile:
    import h5py

    with h5py.File(path, "r", locking=False) as file:
        _check_tree(file, path, path.stat().st_size)
        if "model_config" not in file.attrs:
            raise WeightsError(
                f"{path} holds weights only, not the model they belong to. Save the whole model: "
                f"model.save('model.h5')."
            )
        config = _document(file.attrs["model_config"], path)
        compiled = _document(file.attrs["training_config"], path) if "training_config" in file.attrs else {}
        group = file["model_weights"]
        backend = _text(group.attrs.get("backend", file.attrs.get("backend", "tensorflow")))
        if backend == "theano":
            raise InputError(f"{path} was written with Theano, whose convolutions are turned round; it is not read.")
        names = _names(group, "layer_names") if arrays else []
        weights = {name: _layer_weights(group[name]) for name in names}
        version = _text(group.attrs.get("keras_version", file.attrs.get("keras_version", "1")))
    return KerasFile(config, weights, version, compiled, packed=False)


def _read_zip(path: Path, arrays: bool) -> KerasFile:
    import h5py

    with zipfile.ZipFile(path) as archive:
        held = set(archive.namelist())
        if not {"config.json", "model.weights.h5"} <= held:
            raise InputError(f"{path} is a zip file, but not of Keras: it has no config.json and model.weights.h5.")
        config = _document(_member(archive, "config.json", path), path)
        metadata = _document(_member(archive, "metadata.json", path), path) if "metadata.json" in held else {}
        version = _text(metadata.get("keras_version", "3"))
        if not arrays:
            return KerasFile(config, {}, version, config.get("compile_config") or {}, packed=True)
        data = _member(archive, "model.weights.h5", path)
    with h5py.File(io.BytesIO(data), "r") as file:
        _check_tree(file, path, len(data))
        found: dict[str, list[tuple[str, Arrays]]] = {}
        for place, group in _groups(file):
            if place.rpartition("/")[2] == "vars":
                name = _text(group.attrs.get("name", ""))
                keys = sorted(group, key=lambda key: (len(key), key))
                found[_place(place)] = [(name, _array(group[key])) for key in keys]
    return KerasFile(config, found, version, config.get("compile_config") or {}, packed=True)


def _place(group: str) -> str:
    """Where a layer's arrays lie, `layers/conv2d`; TF-Keras 2.12 had another word and stroke for it."""
    plain = group.replace("\\", "/").replace("_layer_checkpoint_dependencies", "layers")
    return plain.removesuffix("vars").strip("/")


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    entry = archive.getinfo(name)
    most = MOST_TEXT if name.endswith(".json") else INFLATION * entry.compress_size + MOST_TEXT
    if entry.file_size > most:
        raise InputError(
            f"{path} is refused: {name} would unpack to {entry.file_size:,} bytes from {entry.compress_size:,}."
        )
    with archive.open(entry) as file:
        data = file.read(entry.file_size + 1)
    if len(data) != entry.file_size:
        raise zipfile.BadZipFile(name)
    return data


def _groups(root: h5py.Group) -> Iterator[tuple[str, h5py.Group]]:
    """Every group with its path, parents first. The tree was checked: it has hard links only."""
    import h5py

    waiting, seen = [("", root)], {_address(root)}
    while waiting:
        place, group = waiting.pop()
        yield place, group
        for name in group:
            item = group[name]
            if isinstance(item, h5py.Group) and _address(item) not in seen:
                seen.add(_address(item))
                waiting.append((f"{place}/{name}".strip("/"), item))


def _check_tree(file: h5py.File, path: Path, size: int) -> None:
    """Refuse links, storage outside the file, foreign filters, and more memory than the file could fill."""
    import h5py

    most, claimed, objects = INFLATION * size + MOST_TEXT, 0, 0
    waiting, seen = [file["/"]], {_address(file["/"])}
    while waiting:
        group = waiting.pop()
        for name in group:
            objects += 1
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                kind = "an external link" if isinstance(link, h5py.ExternalLink) else "a link"
                raise InputError(
                    f"{path} is refused: {name!r} in it is {kind} to another place, which no Keras file has."
                )
            item = group[name]
            if objects > MOST_OBJECTS:
                raise InputError(f"{path} is refused: it holds more than {MOST_OBJECTS:,} objects.")
            if _address(item) in seen:
                continue
            seen.add(_address(item))
            if isinstance(item, h5py.Group):
                waiting.append(item)
            elif isinstance(item, h5py.Dataset):
                claimed += _check_dataset(item, path)
            if claimed > most:
                raise InputError(
                    f"{path} is refused: {name!r} brings its arrays to {claimed:,} bytes, in a file of {size:,} bytes."
                )


def _check_dataset(item: h5py.Dataset, path: Path) -> int:
    """The bytes that an array takes in memory; InputError for one that is not stored plainly inside the file."""
    if item.is_virtual or item.external:
        raise InputError(f"{path} is refused: the array {item.name!r} is stored in another file, as in no Keras file.")
    plan = item.id.get_create_plist()
    foreign = {plan.get_filter(i)[0] for i in range(plan.get_nfilters())} - set(FILTERS)
    if foreign:
        raise InputError(f"{path} is refused: the array {item.name!r} needs the HDF5 plug-in {foreign.pop()}.")
    return int(item.size or 0) * int(item.dtype.itemsize)


def _address(item: Any) -> tuple[int, int]:
    import h5py

    info = h5py.h5o.get_info(item.id)
    return int(info.fileno), int(info.addr)


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """A list of names in an attribute, which Keras spreads over several where it is long."""
    if attribute in group.attrs:
        return [_text(name) for name in group.attrs[attribute]]
    found: list[str] = []
    chunk = 0
    while f"{attribute}{chunk}" in group.attrs:
        found += [_text(name) for name in group.attrs[f"{attribute}{chunk}"]]
        chunk += 1
    return found


def _layer_weights(group: h5py.Group) -> list[tuple[str, Arrays]]:
    return [(name, _array(group[name])) for name in _names(group, "weight_names")]


def _array(item: Any) -> Arrays:
    import h5py

    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "fiub":
        raise WeightsError(f"The weight {item.name!r} is no array of numbers.")
    values: Arrays = np.asarray(item[()], np.float32)
    if not np.isfinite(values).all():
        raise WeightsError(f"The weight {item.name!r} holds values that are no finite numbers: the training diverged.")
    return values


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _document(text: Any, path: Path) -> dict[str, Any]:
    if len(text) > MOST_TEXT:
        raise InputError(f"{path} is refused: its description is {len(text):,} bytes long.")
    document = json.loads(_text(text))
    if not isinstance(document, dict):
        raise InputError(f"The description in {path} is not one of a Keras model.")
    return document
