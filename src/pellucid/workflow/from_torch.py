"""Any torch module as a classifier that can be questioned."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .._optional import require
from .._version import __version__
from ..bundle.bundle import Bundle, load
from ..bundle.manifest import Manifest
from ..classifier import Task
from ..errors import InputError
from ..preprocessing import Preprocessing
from .importing import made_up_pictures
from .provenance import now

if TYPE_CHECKING:
    from torch import nn

Gives = Literal["logits", "probabilities"]


def from_torch(
    module: nn.Module,
    classes: Sequence[str],
    preprocessing: Preprocessing,
    *,
    layer: str | None = None,
    out: str | Path | None = None,
    gives: Gives | None = None,
    task: Task | None = None,
    images: Sequence[Any] = (),
    name: str = "torch module",
    every_method: bool = True,
) -> Bundle:
    """A bundle of a torch module that takes (N, 3, height, width) and gives (N, K), or (N, 1) for two classes.

    `classes` are in the order of the outputs, for one output (negative, positive). `layer` names the layer to explain,
    as `named_modules` does; by default the last that gives a feature map and that everything passes. `gives` says
    whether the outputs are logits or probabilities; it is found out where that can be told. `task` may be "regression"
    for one output. The export is proven on `images` (paths, arrays, PIL images), or on made-up pictures. The bundle is
    written to the new folder `out`, or kept until the program ends. The module itself is left as it was.
    Without `every_method` the export is faster, and integrated gradients and ablation-cam are not offered.

    Needs the extra `train`. Raises InputError when outputs and classes do not fit, or a layer gives no evidence;
    ParityError when the bundle would differ from the module.
    """
    require("torch", extra="train")
    from ..foreign.export import export_imported, placeholder
    from ..foreign.imported import ImportedNetwork, Source, answer_of, choose_layer, entry_of, strip_torch
    from ..foreign.open import settled
    from ..models.export import frozen_copy

    size = (preprocessing.height, preprocessing.width)
    pictures, source = _pictures(images, preprocessing)
    inner, activation = strip_torch(frozen_copy(module))
    origin, units = settled(Source("torch", inner, activation), size)
    if task is None and units == 1 and activation == "linear":
        task = "binary"
    if activation == "linear":
        inner = _as_logits(inner, pictures, units, gives, task)
    names = tuple(str(c) for c in classes)
    if len(names) != max(units, 2) or len(set(names)) != len(names):
        raise InputError(
            f"The module gives {units} outputs, so {max(units, 2)} different classes are needed, not {names}."
        )
    answer = answer_of(activation, units, task=task)
    network = ImportedNetwork(entry_of(3, "rgb"), inner, answer.module).eval()
    explained = choose_layer(network, size, answer.logits, layer)
    manifest = Manifest(
        pellucid_version=__version__,
        name=name,
        task=answer.task,
        classes=names,
        preprocessing=preprocessing,
        layer=None if explained is None else placeholder(explained),
        logits=answer.logits,
        architecture={"imported": f"torch {type(module).__name__}"},
        provenance={"created": now()},
    )
    folder = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="pellucid-")) / "bundle"
    export_imported(network, origin, manifest, folder, images=pictures, source=source, every_method=every_method)
    bundle = load(folder)
    if out is None:
        weakref.finalize(bundle, shutil.rmtree, folder.parent, ignore_errors=True)
    return bundle


def _pictures(images: Sequence[Any], preprocessing: Preprocessing) -> tuple[Any, str]:
    from ..images import as_image, read_image

    if not len(images):
        made = made_up_pictures(8, (preprocessing.height, preprocessing.width))
        return preprocessing.normalise(made), "made-up pictures, as no images were given"
    read = [read_image(i) if isinstance(i, str | Path | bytes) else as_image(i) for i in images]
    return preprocessing.tensors(read), "the images given"


def _as_logits(inner: nn.Module, pictures: Any, units: int, gives: Gives | None, task: Task | None) -> nn.Module:
    """The module, with a logarithm behind it where it gives probabilities; InputError where that cannot be told."""
    import torch
    from torch import nn as modules

    from ..foreign.imported import LogOfProbabilities

    with torch.no_grad():
        found = inner(torch.from_numpy(pictures)).flatten(1)
    shares = bool(((found >= 0) & (found <= 1)).all())
    sums = bool(((found.sum(1) - 1).abs() < 1e-3).all())
    if gives is None and task != "regression" and shares and (units == 1 or sums):
        if units == 1:
            raise InputError(
                "The module's output lies between 0 and 1 for every picture tried: say gives='probabilities' if it "
                "ends in "
                "a sigmoid, gives='logits' if not."
            )
        gives = "probabilities"
    if gives != "probabilities":
        return inner
    if not (shares and (units == 1 or sums)):
        raise InputError("The module's outputs are no probabilities: they are not within 0..1, or do not sum to 1.")
    return modules.Sequential(inner, modules.Flatten(1), LogOfProbabilities())
