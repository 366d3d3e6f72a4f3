"""Any torch module as a classifier that can be questioned."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._optional import require
from .._version import __version__
from ..bundle.bundle import Bundle, load
from ..bundle.manifest import Manifest
from ..classifier import Task
from ..errors import InputError
from ..preprocessing import FloatArray, Preprocessing
from .certifying import certify
from .provenance import now

if TYPE_CHECKING:
    from torch import nn

    from ..foreign.meaning import Gives


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
    """A bundle of a torch module that takes (N, 3 or 1, height, width) and gives (N, K), or one output for two classes.

    `classes` are in the order of the outputs, for one output (negative, positive). Of several outputs
    (two heads, features) the one with a number for each class is taken. `layer` names the layer to explain, as
    `named_modules` does; by default the last that gives a feature map and that everything passes. `gives` says
    whether the outputs are logits, probabilities that sum to 1, or independent ones (several sigmoids), which are
    scaled to a sum of 1; it is asked for where neither the module's end nor its answers tell. `task` may be
    "regression" for one output. The export is proven on `images` (paths, arrays, PIL images), or on made-up pictures.
    The bundle is written to the new folder `out`, or kept until the program ends. The module itself is left as it was.
    Without `every_method` the export is faster, and integrated gradients and ablation-cam are not offered.

    Needs the extra `train`. Raises InputError when outputs and classes do not fit, or a layer gives no evidence;
    ParityError when the bundle would differ from the module.
    """
    require("torch", extra="train")
    import torch

    from ..foreign.endings import strip_torch
    from ..foreign.export import export_imported, placeholder
    from ..foreign.imported import ImportedNetwork, Source, choose_layer, entry_of
    from ..foreign.meaning import gives_of, meaning_of
    from ..foreign.settle import settled
    from ..foreign.several_outputs import keep_one_answer
    from ..foreign.torch_files import channels_of, original_of
    from ..models.export import frozen_copy

    size = (preprocessing.height, preprocessing.width)
    pictures, source = _pictures(images, preprocessing)
    frozen = frozen_copy(module)
    channels = channels_of(frozen, size)
    chosen = keep_one_answer(frozen, len(classes), torch.zeros(2, channels, *size))
    inner, activation = strip_torch(frozen)
    kind = f"torch {type(module).__name__}"
    origin = Source(kind, inner, activation, channels, runtime=f"torch {torch_version()}", original=original_of(frozen))
    model = settled(origin, size)
    origin, units = model.source, model.units
    given = _answers(inner, entry_of(channels, "rgb"), pictures)
    meant = gives_of(activation, given, gives=gives, task=task)
    if task is None and units == 1 and activation == "linear":
        task = "binary"
    names = tuple(str(c) for c in classes)
    if len(names) != max(units, 2) or len(set(names)) != len(names):
        raise InputError(
            f"The module gives {units} outputs, so {max(units, 2)} different classes are needed, not {names}."
        )
    meaning = meaning_of(activation, units, task=task, gives=meant)
    network = ImportedNetwork(entry_of(channels, "rgb"), inner, meaning.module).eval()
    explained = choose_layer(network, size, meaning.logits, layer)
    manifest = Manifest(
        pellucid_version=__version__,
        name=name,
        task=meaning.task,
        classes=names,
        preprocessing=preprocessing,
        layer=None if explained is None else placeholder(explained),
        logits=meaning.logits,
        architecture={"imported": kind},
        provenance={"created": now(), "notes": [*chosen, *meaning.notes]},
    )
    folder = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="pellucid-")) / "bundle"
    export_imported(network, origin, manifest, folder, images=pictures, source=source, every_method=every_method)
    certify(folder)
    bundle = load(folder)
    if out is None:
        weakref.finalize(bundle, shutil.rmtree, folder.parent, ignore_errors=True)
    return bundle


def torch_version() -> str:
    """The version of the torch that is installed."""
    import torch

    return str(torch.__version__)


def _pictures(images: Sequence[Any], preprocessing: Preprocessing) -> tuple[Any, str]:
    from ..foreign.pictures import made_up_pictures
    from ..images import as_image, read_image

    if not len(images):
        made = made_up_pictures(8, (preprocessing.height, preprocessing.width))
        return preprocessing.normalise(made), "made-up pictures, as no images were given"
    read = [read_image(i) if isinstance(i, str | Path | bytes) else as_image(i) for i in images]
    return preprocessing.tensors(read), "the images given"


def _answers(inner: nn.Module, entry: nn.Module, pictures: FloatArray) -> FloatArray:
    """What the module gives for pictures, (N, K)."""
    import torch

    with torch.no_grad():
        answers: FloatArray = inner(entry(torch.from_numpy(pictures))).numpy()
    return answers.reshape(len(pictures), -1)
