"""An imported model to a bundle: with evidence where there is a layer to explain, as a black box elsewhere.

Beside the comparison of graph and network that every export has, the bundle is compared with the model in the runtime
that it came from, where that runs here; the larger difference is what the certificate says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from safetensors.torch import save
from torch import nn

from ..bundle.io import model_session, read_bundle, write_bundle
from ..bundle.manifest import MANIFEST, MODEL, WEIGHTS, Layer, Manifest, Parity
from ..bundle.onnx_classifier import OnnxClassifier
from ..bundle.stored_answers import ANSWERS, LOGITS, exactly_stored, pack_answers
from ..classifier import gives_score, probabilities_from_logits
from ..errors import InputError, ParityError
from ..models.export import TOLERANCE, export_bundle, frozen_copy
from ..models.further_graphs import root_sentence
from ..models.onnx_file import StoredWeights, onnx_program_by_torch, save_beside
from ..preprocessing import FloatArray
from .imported import ImportedNetwork, Source
from .onnx_black_box import OnnxModule, black_box_graph


class _WithoutEvidence(nn.Module):
    """The inputs of an evidence graph, of which only the image counts."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor, target: torch.Tensor, contrast: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(image)
        return logits


def export_imported(
    network: ImportedNetwork,
    origin: Source,
    manifest: Manifest,
    folder: Path,
    *,
    images: FloatArray,
    source: str,
    every_method: bool = False,
) -> Manifest:
    """Write an imported network as a bundle into the new folder `folder`; see `export_bundle`.

    `manifest.layer` is None for a black box. Raises ParityError when the bundle differs from the original by more than
    1e-3 of a probability.
    """
    if manifest.layer is None:
        written = _export_black_box(network, manifest, folder, images, source)
    else:
        written = export_bundle(network, manifest, folder, images=images, source=source, every_method=every_method)
    try:
        return _certify(network, origin, written, folder, images)
    except BaseException:
        _remove(folder)
        raise


def placeholder(name: str) -> Layer:
    """A layer known by its name only; the export fills in the rest."""
    return Layer(name=name, channels=0, height=0, width=0, stride=(1, 1), offset=(0.5, 0.5))


def _export_black_box(
    network: ImportedNetwork, manifest: Manifest, folder: Path, images: FloatArray, source: str
) -> Manifest:
    frozen = frozen_copy(network)
    with write_bundle(folder, manifest) as draft:
        path = draft.folder / MODEL
        weights = StoredWeights(save({k: v.clone().contiguous() for k, v in frozen.state_dict().items()}))
        (draft.folder / WEIGHTS).write_bytes(weights.content)
        if isinstance(network.model, OnnxModule):
            path.write_bytes(black_box_graph(network.entry, network.model, network.answer, manifest))
        else:
            save_beside(_program(frozen, manifest), path, weights)
        exported = OnnxClassifier(manifest, model_session(path))
        probability = _difference(network.answers, exported, images, "torch")
        asked = exactly_stored(images)
        (draft.folder / ANSWERS).write_bytes(pack_answers(asked, {LOGITS: network.answers(asked)}))
        draft.manifest = manifest.model_copy(update={"parity": _parity(probability, None, images, source)})
    return read_bundle(folder)


def _program(frozen: nn.Module, manifest: Manifest) -> Any:
    size = (manifest.preprocessing.height, manifest.preprocessing.width)
    example = (torch.zeros(3, 3, *size), torch.zeros(3, 2, manifest.logits), torch.tensor(1.0))
    try:
        traced = torch.export.export(_WithoutEvidence(frozen), example, dynamic_shapes=_free()).module()
        return onnx_program_by_torch(traced, example, ("image", "target", "contrast"), ("logits",))
    except Exception as error:  # torch's tracer, its exporter and onnxscript share no base
        raise InputError(
            f"{manifest.name} cannot be written as an ONNX graph: {root_sentence(error)}. `pellucid.from_function` "
            "explains any network as a black box."
        ) from error


def _free() -> Any:
    images, targets = torch.export.Dim("images", min=1, max=65536), torch.export.Dim("targets", min=1, max=65536)
    return {0: images}, {0: images, 1: targets}, None


def _certify(
    network: ImportedNetwork, origin: Source, manifest: Manifest, folder: Path, images: FloatArray
) -> Manifest:
    """Compare the bundle with the original runtime, and write what came out into the manifest."""
    parity = manifest.parity
    if parity is None:
        return manifest
    versions = {**parity.versions, **origin.versions}
    update: dict[str, Any] = {"runtime": origin.runtime, "versions": versions}
    if origin.original is not None:
        exported = OnnxClassifier(manifest, model_session(folder / MODEL))
        difference = _difference(original_logits(network, origin), exported, images, origin.runtime)
        update["probability"] = max(parity.probability, difference)
    certified = manifest.model_copy(update={"parity": parity.model_copy(update=update)})
    (folder / MANIFEST).write_text(certified.model_dump_json(indent=2), encoding="utf-8")
    return certified


def original_logits(network: ImportedNetwork, origin: Source) -> Any:
    """The function from tensors to logits by way of the original runtime."""

    def logits(batch: FloatArray) -> FloatArray:
        if origin.original is None:
            raise ValueError("the source has no runtime of its own")
        with torch.no_grad():
            prepared = network.entry(torch.from_numpy(batch)).numpy()
            answers = np.asarray(origin.original(prepared), np.float64).reshape(len(batch), -1)
            if origin.activation in {"softmax", "sigmoid"}:
                kept = np.clip(answers, 1e-30, 1)
                answers = np.log(kept) - (np.log(np.clip(1 - kept, 1e-30, 1)) if origin.activation == "sigmoid" else 0)
            result: FloatArray = network.answer(torch.from_numpy(answers)).numpy().astype(np.float32)
            return result

    return logits


def _difference(reference: Any, exported: OnnxClassifier, images: FloatArray, runtime: str) -> float:
    """The largest difference of a probability (of an output for a regression); ParityError over the tolerance."""
    if not len(images):
        raise InputError("An export is proven on images: give at least one.")
    largest = 0.0
    for start in range(0, len(images), 16):
        batch = images[start : start + 16]
        ours, theirs = exported.logits(batch), reference(batch)
        if not gives_score(exported.task):
            ours, theirs = probabilities_from_logits(ours), probabilities_from_logits(theirs)
        largest = float(np.maximum(largest, np.abs(ours - theirs).max()))
    if not largest <= TOLERANCE:
        raise ParityError(
            f"The bundle differs from the model that it was made from, as {runtime} runs it, by {largest:.2g} of a "
            f"probability on {len(images)} images; up to {TOLERANCE:g} is accepted. No bundle was written; please "
            "report this with the model."
        )
    return largest


def _parity(probability: float, heat_map: float | None, images: FloatArray, source: str) -> Parity:
    return Parity(
        images=len(images),
        source=source,
        probability=probability,
        heat_map=heat_map,
        tolerance=TOLERANCE,
        versions={"torch": torch.__version__, "onnxruntime": onnxruntime.__version__},
    )


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
