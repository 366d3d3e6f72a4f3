"""Which array of a Keras file belongs to which layer.

The new format keeps arrays under the layer's class and its number among those of that class. The old one lists them by
layer, and for a nested model in one list, trainable arrays first: names identify them, and where they do not (after a
layer was renamed), Keras' order does.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import torch

from ...errors import WeightsError
from .configuration import LayerSpec, ModelSpec
from .container import Arrays, KerasFile

Path = tuple[str, ...]
Named = Sequence[tuple[str, Arrays]]
NOT_TRAINED = {"moving_mean", "moving_variance", "mean", "variance", "count"}


def assign_weights(
    file: KerasFile, spec: ModelSpec, wanted: Mapping[Path, tuple[str, ...]]
) -> dict[Path, list[torch.Tensor]]:
    """The arrays of every layer by its path; `wanted` names those that each must have.

    Raises WeightsError when a layer has too few or too many.
    """
    found = _packed(file, spec, "", ()) if file.packed else _listed(file, spec, wanted)
    result: dict[Path, list[torch.Tensor]] = {}
    for path, names in wanted.items():
        arrays = found.get(path, [])
        if len(arrays) != len(names) and names:
            raise WeightsError(
                f"The layer {'/'.join(path)!r} should have {len(names)} arrays of weights ({', '.join(names)}), but "
                f"the file "
                f"holds {len(arrays)} for it. The file is damaged, or was written by a Keras that is not known here."
            )
        result[path] = [torch.from_numpy(a) for a in arrays[: len(names)]]
    return result


def _packed(file: KerasFile, spec: ModelSpec, prefix: str, path: Path) -> dict[Path, list[Arrays]]:
    """From `model.weights.h5`: `layers/conv2d_1/vars`, nested models as `layers/functional/layers/...`."""
    found: dict[Path, list[Arrays]] = {}
    met: Counter[str] = Counter()
    for layer in spec.layers:
        kind = snake_case(layer.kind)
        number = met[kind]
        met[kind] += 1
        place = f"{prefix}layers/{kind}" + (f"_{number}" if number else "")
        if layer.inner is not None:
            found |= _packed(file, layer.inner, f"{place}/", (*path, layer.name))
        else:
            found[(*path, layer.name)] = [array for _, array in file.weights.get(place, [])]
    return found


def snake_case(name: str) -> str:
    """A class name as Keras makes a group's name of it: `BatchNormalization` -> `batch_normalization`."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _listed(file: KerasFile, spec: ModelSpec, wanted: Mapping[Path, tuple[str, ...]]) -> dict[Path, list[Arrays]]:
    found: dict[Path, list[Arrays]] = {}
    for layer in spec.layers:
        named = file.weights.get(layer.name, [])
        if layer.inner is None:
            found[(layer.name,)] = [array for _, array in named]
        else:
            leaves = {p: (leaf, wanted[p]) for p, leaf in layer.inner.leaves((layer.name,))}
            found |= (
                _by_name(named, leaves, strip=False) or _by_name(named, leaves, strip=True) or _by_order(named, leaves)
            )
    return found


def _by_name(
    named: Named, leaves: Mapping[Path, tuple[LayerSpec, tuple[str, ...]]], *, strip: bool
) -> dict[Path, list[Arrays]] | None:
    """By names such as `block1_conv1/kernel:0`; None unless every layer then has all of its arrays.

    With `strip` a number that TensorFlow added to the scope (`block1_conv1_2/kernel:0`) is taken off.
    """
    found: dict[Path, list[Arrays]] = {path: [] for path in leaves}
    longest_first = sorted(leaves, key=lambda path: -len(path[-1]))
    for name, array in named:
        scope = "/" + name.rpartition("/")[0]
        if strip:
            scope = re.sub(r"_\d+$", "", scope)
        fitting = [path for path in longest_first if scope.endswith("/" + path[-1])]
        if not fitting:
            return None
        best = [path for path in fitting if len(path[-1]) == len(fitting[0][-1])]
        if len(best) > 1:
            within = [path for path in best if scope.endswith("/" + "/".join(path[1:]))]
            if len(within) != 1:
                return None
            best = within
        found[best[0]].append(array)
    complete = all(not names or len(found[path]) == len(names) for path, (_, names) in leaves.items())
    return found if complete else None


def _by_order(named: Named, leaves: Mapping[Path, tuple[LayerSpec, tuple[str, ...]]]) -> dict[Path, list[Arrays]]:
    """In Keras' order: what is trained, layer by layer, then what is not; a frozen layer's all belong to the latter."""
    order = [
        (path, index, later)
        for later in (False, True)
        for path, (leaf, names) in leaves.items()
        for index, name in enumerate(names)
        if (name in NOT_TRAINED or leaf.config.get("trainable") is False) is later
    ]
    if len(order) != len(named):
        first = next(iter(leaves))[0]
        raise WeightsError(
            f"The nested model {first!r} should have {len(order)} arrays of weights, but the file holds {len(named)} "
            f"for it. "
            "The file is damaged, or was written by a Keras that is not known here."
        )
    placed = {(path, index): array for (path, index, _), (_, array) in zip(order, named, strict=True)}
    return {path: [placed[path, i] for i in range(len(names))] for path, (_, names) in leaves.items()}
