"""Initial weights of a backbone: from a file, from the hub that its library uses, or none."""

from __future__ import annotations

import hashlib
from pathlib import Path

import timm
import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ..errors import WeightsError
from .catalogue import find_backbone


def load_initial_weights(backbone: nn.Module, name: str, weights: str) -> dict[str, str]:
    """Load `weights` (`none`, `imagenet` or a file) into a backbone; returns what to record of their source.

    Keys of a whole classifier are expected, as torchvision and timm name them; the classifier's own head is left out.
    Raises WeightsError when the file is missing or its keys or shapes do not fit, or the hub cannot be reached.
    """
    if weights == "none":
        return {"source": "none"}
    check_weights(name, weights)
    if weights == "imagenet":
        return _from_hub(backbone, name)
    path = Path(weights)
    state = read_state(path)
    fit_state(backbone, state, str(path))
    return {"source": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def check_weights(name: str, weights: str) -> None:
    """Raise WeightsError when `weights` cannot work for a backbone, before anything long begins."""
    if weights == "imagenet" and find_backbone(name)[0] == "own":
        raise WeightsError(
            f"The backbone {name!r} has no ImageNet weights; train it with --weights none, or give a file."
        )
    if weights not in {"none", "imagenet"} and not Path(weights).is_file():
        raise WeightsError(
            f"There is no weights file {weights}. Give --weights a .safetensors or .pth file, imagenet or none."
        )


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a .safetensors or .pth file, by name. Nothing in the file is executed."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError) as error:
        raise WeightsError(f"{path} cannot be read as weights: {error}") from error
    except Exception as error:  # torch.load raises UnpicklingError and others for files that hold more than tensors
        raise WeightsError(
            f"{path} holds more than plain tensors and is not loaded: {type(error).__name__}."
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(
            f"{path} is not a plain dictionary of tensors. Save it with torch.save(model.state_dict(), ...)."
        )
    return {str(k).removeprefix("module."): v for k, v in state.items()}


def fit_state(backbone: nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    """Load a state into a backbone, strictly: every parameter must be there with its shape."""
    wanted = backbone.state_dict()
    found = {_own_name(k, wanted): v for k, v in state.items()}
    optional = {k for k in wanted if k.endswith("num_batches_tracked")}
    missing = [k for k in wanted if k not in found and k not in optional]
    misshapen = [
        f"{k} {tuple(found[k].shape)} instead of {tuple(v.shape)}"
        for k, v in wanted.items()
        if k in found and found[k].shape != v.shape
    ]
    if missing or misshapen:
        parts = [f"missing {_some(missing)}"] if missing else []
        parts += [f"of another shape {_some(misshapen)}"] if misshapen else []
        raise WeightsError(
            f"The weights of {source} do not fit this backbone: {'; '.join(parts)}. Choose the backbone they are for."
        )
    backbone.load_state_dict({k: v for k, v in found.items() if k in wanted}, strict=False)


def _own_name(key: str, wanted: dict[str, torch.Tensor]) -> str:
    """A library's name of a parameter as our backbone has it (a wrapper may stand around the library's module)."""
    for prefix in ("", "features.", "transformer."):
        if prefix + key in wanted:
            return prefix + key
    return key


def _some(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _from_hub(backbone: nn.Module, name: str) -> dict[str, str]:
    source, bare = find_backbone(name)
    if source == "torchvision":
        choice = torchvision.models.get_model_weights(bare).DEFAULT
        where = Path(torch.hub.get_dir()) / "checkpoints" / Path(choice.url).name
        try:
            state = choice.get_state_dict(progress=False, check_hash=True)
        except OSError as error:
            raise WeightsError(_offline(name, where.name, str(where))) from error
        fit_state(backbone, dict(state), str(choice))
        return {
            "source": f"torchvision {choice}",
            "file": where.name,
            "sha256": hashlib.sha256(where.read_bytes()).hexdigest(),
        }
    try:
        model = timm.create_model(bare, pretrained=True, num_classes=0)
    except (
        Exception
    ) as error:  # huggingface_hub has a tree of its own, and raises OSError, ValueError and httpx errors too
        config = timm.get_pretrained_cfg(bare)
        wanted = getattr(config, "hf_hub_id", None) or bare
        raise WeightsError(_offline(name, f"model.safetensors of {wanted}", None)) from error
    fit_state(backbone, dict(model.state_dict()), f"timm {bare}")
    return {"source": f"timm {bare}"}


def _offline(name: str, file: str, place: str | None) -> str:
    put = f"put it at {place}, or anywhere and give" if place else "download it elsewhere and give"
    wanted = f"The file wanted is {file}: {put} its path by --weights."
    return f"The ImageNet weights of {name} could not be fetched (no network?). {wanted}"
