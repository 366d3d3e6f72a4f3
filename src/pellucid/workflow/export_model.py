"""Any torch classifier, by what it is called, as a bundle with a certificate."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._optional import require
from ..bundle.export_certificate import ExportCertificate
from ..classifier import Task
from ..errors import InputError, UnknownNameError
from ..preprocessing import Fit, Interpolation, Preprocessing
from ..progress import Progress, Silent
from .class_names import as_class_names

if TYPE_CHECKING:
    from torch import nn

    from ..foreign.meaning import Gives

FILES = {".pt", ".pth", ".ts", ".torchscript", ".pt2", ".ep"}
IMAGENET_SIZE = (224, 224)
CROP_SHARE = 0.875
PROBE_CLASSES = 1009
"""A number of outputs that no layer has by chance: a prime."""


@dataclass(frozen=True)
class ModelExport:
    """What is to be exported and how; see `export_model`."""

    model: str
    out: Path
    weights: Path | None = None
    classes: tuple[str, ...] = ()
    size: tuple[int, int] | None = None
    rescale: str | None = None
    fit: Fit | None = None
    interpolation: Interpolation | None = None
    images: Sequence[Path] = ()
    layer: str | None = None
    gives: Gives | None = None
    task: Task | None = None
    name: str | None = None
    allow_code: bool = False
    every_method: bool = True


@dataclass(frozen=True)
class ModelExported:
    """A bundle folder and its certificate."""

    bundle: Path
    certificate: ExportCertificate


def looks_like_model(text: str) -> bool:
    """Whether an argument names a model rather than a run: a file of torch, `package.module:function`, or a name."""
    path = Path(text)
    return not path.is_dir() and (path.suffix.lower() in FILES or ":" in path.name or not path.exists())


def export_model(
    model: str | Path,
    out: str | Path,
    *,
    weights: str | Path | None = None,
    classes: Sequence[str] | Path = (),
    size: tuple[int, int] | None = None,
    rescale: str | None = None,
    fit: Fit | None = None,
    interpolation: Interpolation | None = None,
    images: Sequence[Path] = (),
    layer: str | None = None,
    gives: Gives | None = None,
    task: Task | None = None,
    name: str | None = None,
    allow_code: bool = False,
    every_method: bool = True,
    progress: Progress | None = None,
) -> ModelExported:
    """Export a torch classifier into the new bundle folder `out`, with `certificate.json` and its page.

    `model` is a TorchScript file, an exported program (.pt2), the name of a classifier of timm (`timm/NAME`) or
    torchvision with a file of `weights`, or `package.module:function`, which is called without arguments and returns
    a module. Loading a file of torch and calling a function run code, so both need `allow_code`. `classes` are by
    default the numbers of the outputs. Size and pixel values are by default those that timm states for its model, and
    ImageNet's for torchvision; elsewhere `size` (height, width) and `rescale` (see RESCALINGS) must be given. Needs the
    extra `train`. Raises InputError as `from_torch` does, ParityError when the bundle would differ from the model.
    """
    require("torch", extra="train")
    job = ModelExport(
        str(model), Path(out), None if weights is None else Path(weights), as_class_names(classes), size, rescale, fit,
        interpolation, tuple(images), layer, gives, task, name, allow_code, every_method,
    )  # fmt: skip
    shown = progress or Silent()
    if job.out.exists():
        raise InputError(f"{job.out} already exists, and a bundle is never overwritten. Choose another `out=`.")
    if Path(job.model).suffix.lower() in FILES:
        return _of_file(job, shown)
    module, preprocessing = _of_function(job) if ":" in job.model else _of_name(job)
    shown.say("Exporting to ONNX and comparing with the model ...")
    return _exported(job, module, preprocessing)


def _of_file(job: ModelExport, shown: Progress) -> ModelExported:
    """By way of `import_model`, whose run holds the bundle; only that is kept."""
    import shutil
    import tempfile

    from .certifying import certify
    from .importing import import_model

    path = Path(job.model)
    if not path.is_file():
        raise InputError(f"{path} is not there.")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        import_model(
            path,
            run,
            classes=job.classes,
            size=job.size,
            fit=job.fit or "stretch",
            interpolation=job.interpolation or "bilinear",
            rescale=job.rescale,
            gives=job.gives,
            layer=job.layer,
            task=job.task,
            name=job.name,
            allow_code=job.allow_code,
            every_method=job.every_method,
            progress=shown,
        )
        certify(run / "model")
        job.out.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(str(run / "model"), job.out)
    return _read(job.out)


def _of_function(job: ModelExport) -> tuple[nn.Module, Preprocessing]:
    """The module that `package.module:function` returns."""
    from torch import nn

    if not job.allow_code:
        raise InputError(f"{job.model} is code that would be run. If you trust it, repeat with `allow_code=`.")
    path, _, attribute = job.model.partition(":")
    with _importable(str(Path.cwd())):
        try:
            made: Any = importlib.import_module(path)
            for part in attribute.split("."):
                made = getattr(made, part)
        except (ImportError, AttributeError, ValueError) as error:
            raise InputError(f"{job.model} cannot be found: {error}. Write package.module:function.") from error
        module = made() if not isinstance(made, nn.Module) else made
    if not isinstance(module, nn.Module):
        raise InputError(f"{job.model} gives a {type(module).__name__}, not a torch module.")
    if job.weights is not None:
        _load(module, job)
    if job.size is None or job.rescale is None:
        raise InputError(
            f"{job.model} does not say what its images were: give `size=` (224) and `rescale=` (imagenet)."
        )
    return module.eval(), _preprocessing(job, job.size)


@contextmanager
def _importable(folder: str) -> Iterator[None]:
    """While open, modules of the working folder can be imported, as `python -m` allows."""
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _of_name(job: ModelExport) -> tuple[nn.Module, Preprocessing]:
    """A classifier of timm or torchvision with the weights of a file."""
    from ..models.catalogue import find_backbone
    from ..models.weights import read_state

    source, bare = find_backbone(job.model)
    if source == "own":
        raise UnknownNameError("model", job.model, [], "A network of `pellucid train` is exported when it is trained.")
    if job.weights is None:
        raise InputError(
            f"{job.model} has no weights yet: give `weights=`, a .safetensors or .pth file of the whole classifier."
        )
    build = _builder(source, bare, job.size)
    outputs = _outputs(build, read_state(job.weights)) or len(job.classes)
    if not outputs:
        raise InputError(f"{job.weights} does not show how many classes the model has: give `classes=`.")
    module = build(outputs)
    _load(module, job)
    if source == "timm":
        from timm.data import config

        stated: dict[str, Any] = config.resolve_model_data_config(module)  # type: ignore[no-untyped-call]
        return module.eval(), _of_timm(job, stated)
    return module.eval(), _preprocessing(job, job.size or IMAGENET_SIZE)


def _builder(source: str, name: str, size: tuple[int, int] | None) -> Callable[[int], nn.Module]:
    """A function from a number of outputs to an untrained classifier of timm or torchvision."""

    def build(outputs: int) -> nn.Module:
        if source == "torchvision":
            import torchvision

            made: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=outputs)
            return made
        import timm

        try:
            sized: dict[str, Any] = {"img_size": size} if size else {}
            return timm.create_model(name, num_classes=outputs, **sized)
        except TypeError:  # only what depends on the image's size takes it
            return timm.create_model(name, num_classes=outputs)

    return build


def _outputs(build: Callable[[int], nn.Module], state: dict[str, Any]) -> int | None:
    """How many classes the weights of a file are for: the rows of the layer that has one for each class."""
    import torch

    try:
        with torch.device("meta"):
            shapes = build(PROBE_CLASSES).state_dict()
    except (RuntimeError, NotImplementedError, ValueError):  # some are built by operations that need values
        return None
    heads = [k for k, v in shapes.items() if v.ndim > 1 and v.shape[0] == PROBE_CLASSES and k in state]
    return int(state[heads[-1]].shape[0]) if heads else None


def _load(module: nn.Module, job: ModelExport) -> None:
    from ..models.weights import fit_state, read_state

    if job.weights is not None:
        fit_state(module, read_state(job.weights), str(job.weights))


def _of_timm(job: ModelExport, stated: dict[str, Any]) -> Preprocessing:
    """The preprocessing that timm states for its model, where nothing else is asked for."""
    size = job.size or (int(stated["input_size"][1]), int(stated["input_size"][2]))
    if job.rescale is not None:
        return _preprocessing(job, size)
    share = float(stated.get("crop_pct") or CROP_SHARE)
    known = str(stated.get("interpolation", "bilinear"))
    return Preprocessing(
        height=size[0],
        width=size[1],
        fit=job.fit or "crop",
        crop_share=share,
        interpolation=job.interpolation or (known if known in ("bilinear", "bicubic", "lanczos") else "bilinear"),
        mean=tuple(stated["mean"]),
        deviation=tuple(stated["std"]),
    )


def _preprocessing(job: ModelExport, size: tuple[int, int]) -> Preprocessing:
    from .rescaling import find_rescaling

    plain = find_rescaling(job.rescale or "imagenet").preprocessing(
        size, job.fit or "crop", job.interpolation or "bilinear"
    )
    return plain.model_copy(update={"crop_share": CROP_SHARE}) if plain.fit == "crop" else plain


def _exported(job: ModelExport, module: nn.Module, preprocessing: Preprocessing) -> ModelExported:
    from .from_torch import from_torch

    classes = tuple(job.classes) or _numbered(module, preprocessing)
    from_torch(
        module,
        classes,
        preprocessing,
        layer=job.layer,
        out=job.out,
        gives=job.gives or "logits",
        task=job.task,
        images=job.images,
        name=job.name or job.model,
        every_method=job.every_method,
    )
    return _read(job.out)


def _numbered(module: nn.Module, preprocessing: Preprocessing) -> tuple[str, ...]:
    """`0`, `1`, ...: one name for each output."""
    import torch

    with torch.no_grad():
        answer: Any = module(torch.zeros(1, 3, preprocessing.height, preprocessing.width))
    return tuple(str(i) for i in range(max(2, int(answer.flatten(1).shape[1]))))


def _read(folder: Path) -> ModelExported:
    from ..bundle.export_certificate import CERTIFICATE

    return ModelExported(folder, ExportCertificate.model_validate_json((folder / CERTIFICATE).read_bytes()))
