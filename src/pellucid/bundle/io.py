"""Reading and writing bundle folders: written whole or not at all, and read only when no file has changed."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from ..errors import BundleError
from ..files import write_whole
from .manifest import MANIFEST, MODEL, SCHEMA_VERSION, WEIGHTS, Manifest

if TYPE_CHECKING:
    import onnxruntime

PICKLES = {".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib"}


@dataclass
class Draft:
    """A bundle being written: put `model.onnx` and `weights.safetensors` into `folder`."""

    folder: Path
    manifest: Manifest


@contextmanager
def write_bundle(folder: Path, manifest: Manifest) -> Iterator[Draft]:
    """Write a bundle under a temporary name; on success add checksums and the manifest, and rename it to `folder`.

    When the body raises, nothing is left. Raises BundleError when `folder` exists.
    """
    if folder.exists():
        raise BundleError(f"{folder} already exists, and a bundle is never overwritten. Choose another `out=`.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Draft(folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part"), manifest)
    draft.folder.mkdir()
    try:
        yield draft
        files = {f.name: checksum(f) for f in sorted(draft.folder.iterdir())}
        text = draft.manifest.model_copy(update={"files": files}).model_dump_json(indent=2)
        (draft.folder / MANIFEST).write_text(text, encoding="utf-8")
        draft.folder.rename(folder)
    finally:
        shutil.rmtree(draft.folder, ignore_errors=True)


def amend_bundle(folder: Path, changes: Mapping[str, object], files: Mapping[str, bytes] | None = None) -> Manifest:
    """Change fields of a bundle's manifest, and add small files with their checksums; returns the new manifest.

    This is for what is fitted after the export: calibration, operating point, reference. The graph and its weights do
    not change. The manifest is replaced in one step, after the files are written. Raises BundleError as `read_bundle`.
    """
    manifest = read_bundle(folder)
    added = dict(files or {})
    refused = [name for name in added if name in {MANIFEST, MODEL, WEIGHTS} or Path(name).name != name]
    if refused:
        raise BundleError(f"{', '.join(refused)} of the bundle {folder} is never overwritten. Export another bundle.")
    for name, content in added.items():
        write_whole(folder / name, content)
    checksums = {name: checksum(folder / name) for name in added}
    values = {**manifest.model_dump(), **changes, "files": {**manifest.files, **checksums}}
    amended = Manifest.model_validate(values)
    write_whole(folder / MANIFEST, amended.model_dump_json(indent=2))
    return amended


def read_bundle(folder: Path) -> Manifest:
    """Read and check a bundle's manifest and files.

    Raises BundleError when a file is missing, changed or unexpected, or the schema is newer than this program.
    """
    manifest = read_manifest(folder)
    _check_files(folder, manifest)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Read a bundle's manifest, and no other file; raises BundleError as `read_bundle`."""
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{folder} is not a bundle: {MANIFEST} cannot be read ({error.strerror}).") from error
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        _refuse_newer(text, path)
        first = error.errors()[0]
        key = ".".join(str(p) for p in first["loc"]) or "the document"
        rule = first.get("ctx", {}).get("error", first["msg"])
        raise BundleError(f"{path} is not a valid manifest: {key}: {rule}. Copy the bundle again.") from error
    _refuse_newer(text, path)
    return manifest


def _refuse_newer(text: bytes, path: Path) -> None:
    import json

    try:
        version = json.loads(text).get("schema_version", 0)
    except (ValueError, AttributeError, RecursionError):
        return
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BundleError(
            f"{path} has schema version {version}, this pellucid reads up to {SCHEMA_VERSION}: upgrade pellucid."
        )


def _check_files(folder: Path, manifest: Manifest) -> None:
    present = {f.name for f in folder.iterdir() if f.is_file()} - {MANIFEST}
    for name in (MODEL, WEIGHTS):
        if name not in manifest.files or name not in present:
            raise BundleError(f"The bundle {folder} lacks {name}. Copy the whole folder, or export it again.")
    for name in sorted(present):
        if Path(name).suffix.lower() in PICKLES:
            raise BundleError(
                f"The bundle {folder} holds {name}: a pickle can run code and is never accepted. Remove it."
            )
    for name, expected in manifest.files.items():
        if Path(name).name != name or name not in present or checksum(folder / name) != expected:
            raise changed(folder, name)


def changed(folder: Path, name: str) -> BundleError:
    """The error for a file whose checksum is not the manifest's."""
    return BundleError(
        f"{name} in {folder} is not the file that the manifest names (sha256 differs). Copy the bundle again."
    )


def checksum(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def model_session(path: Path, threads: int | None = None, *, optimised: bool = True) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session for a graph. `threads` limits the cores of one pass; all by default.

    Unless `optimised`, the graph is run as it is written.
    """
    import onnxruntime

    # Some builds send usage data to their makers.
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Idle threads sleep instead of spinning: beside another busy program a pass took half the time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads = threads
    available = onnxruntime.get_available_providers()
    providers = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in available]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions share no public base
        raise BundleError(f"{path} cannot be loaded by ONNX Runtime {onnxruntime.__version__}: {error}") from error
