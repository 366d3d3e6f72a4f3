"""Every Keras layer whose settings name an axis or a layout, over ranks and axes, against Keras itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.foreign.keras_files import keras, layers, randomise, write_old

from pellucid.errors import InputError, WeightsError
from pellucid.foreign.keras.model import read_keras_model
from pellucid.foreign.open import open_model
from pellucid.foreign.settle import settled

# Sides that agree, so that an axis taken for another one shows in the values only.
SQUARE = (4, 4, 3)
TO_RANK: dict[int, tuple[int, ...] | None] = {2: (48,), 3: (12, 4), 4: None, 5: (2, 2, 4, 3)}


def around(layer: Any, rank: int = 4, seed: int = 3) -> Any:
    """A model from an image to the layer's answer; before it the image is brought to a rank of axes."""
    image = layers.Input(SQUARE)
    shape = TO_RANK[rank]
    given = image if shape is None else layers.Reshape(shape)(image)
    given = layers.Activation("tanh")(given * 3.0)
    return randomise(keras.Model(image, layer(given)), seed)


def compare(model: Any, path: Path) -> None:
    """Ours equals Keras' answer to images whose values differ in each place."""
    model.save(path)
    image = np.random.default_rng(1).normal(0, 1, (3, *model.input_shape[1:])).astype(np.float32)
    wanted = model.predict(image, verbose=0)
    with torch.no_grad():
        ours = read_keras_model(path).network(torch.from_numpy(np.moveaxis(image, -1, 1).copy())).numpy()
    ours = np.moveaxis(ours, 1, -1) if ours.ndim == 4 else ours
    assert ours.shape == wanted.shape
    np.testing.assert_allclose(ours, wanted, atol=2e-5, rtol=1e-4)


RANKED = [(rank, axis) for rank in TO_RANK for axis in range(-rank + 1, rank) if axis]
PAIRS = [(4, list(pair)) for pair in itertools.combinations((1, 2, 3), 2)] + [
    (4, [1, 2, 3]),
    (3, [1, 2]),
    (4, [-2, -1]),
]
LAYERS: dict[str, Callable[[Any], Any]] = {
    "Softmax": lambda axis: layers.Softmax(axis=axis),
    "BatchNormalization": lambda axis: layers.BatchNormalization(axis=axis, epsilon=1e-2),
    "UnitNormalization": lambda axis: layers.UnitNormalization(axis=axis),
    "ops.softmax": lambda axis: lambda x: keras.ops.softmax(x, axis=axis),
    "ops.log_softmax": lambda axis: lambda x: keras.ops.log_softmax(x, axis=axis),
    "ops.mean": lambda axis: lambda x: keras.ops.mean(x, axis=axis),
    "ops.max, kept": lambda axis: lambda x: keras.ops.max(x, axis=axis, keepdims=True),
    "ops.sum": lambda axis: lambda x: keras.ops.sum(x, axis=axis),
    "Concatenate": lambda axis: lambda x: layers.Concatenate(axis=axis)([x, x * 2.0]),
    "ops.concatenate": lambda axis: lambda x: keras.ops.concatenate([x, x * 2.0], axis=axis),
}


@pytest.mark.parametrize(("rank", "axis"), RANKED)
@pytest.mark.parametrize("kind", LAYERS)
def test_one_axis(kind: str, rank: int, axis: int, tmp_path: Path) -> None:
    compare(around(LAYERS[kind](axis), rank), tmp_path / "model.keras")


@pytest.mark.parametrize("suffix", ["h5", "keras"])
@pytest.mark.parametrize(("rank", "axes"), PAIRS)
@pytest.mark.parametrize("kind", ["Softmax", "UnitNormalization", "ops.mean", "ops.max, kept"])
def test_several_axes(kind: str, rank: int, axes: list[int], suffix: str, tmp_path: Path) -> None:
    compare(around(LAYERS[kind](axes), rank), tmp_path / f"model.{suffix}")


@pytest.mark.parametrize(("scale", "center"), [(True, False), (False, True), (False, False)])
@pytest.mark.parametrize("axis", [1, 2, -1])
def test_normalisations_without_scale_or_centre(scale: bool, center: bool, axis: int, tmp_path: Path) -> None:
    compare(around(layers.BatchNormalization(axis=axis, scale=scale, center=center)), tmp_path / "b.keras")
    if axis == -1:
        compare(around(layers.LayerNormalization(axis=axis, scale=scale, center=center)), tmp_path / "l.keras")


@pytest.mark.parametrize("axis", [-1, 3, 1, 2, [1], [1, 2], [2, 3], [1, 3], [-2, -1], [1, 2, 3], [3, 1]])
@pytest.mark.parametrize("version", ["2.9.0", "3.5.0"])
def test_layer_normalisation(axis: Any, version: str, tmp_path: Path) -> None:
    """Against the definition: Keras 3 on torch takes neighbouring axes for the last ones."""
    axes = sorted([axis] if isinstance(axis, int) else axis)
    side = (6, 5, 3)
    kept = [(0, *side)[a] for a in axes]
    rng = np.random.default_rng(4)
    gamma, beta = rng.uniform(0.5, 2, kept), rng.normal(0, 1, kept)
    layer = {"class_name": "LayerNormalization",
             "config": {"name": "n", "axis": axis, "epsilon": 0.01, "batch_input_shape": [None, *side]}}  # fmt: skip
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": [layer]}}
    arrays = [("n/gamma:0", gamma), ("n/beta:0", beta)]
    path = write_old(tmp_path / "m.h5", config, {"n": arrays}, keras_version=version)
    image = rng.normal(0, 1, (2, *side)).astype(np.float32)
    over = tuple(axes)
    shape = [1, 1, 1, 1]
    for a, length in zip(axes, kept, strict=True):
        shape[a] = length
    mean, variance = image.mean(over, keepdims=True), image.var(over, keepdims=True)
    wanted = (image - mean) / np.sqrt(variance + 0.01) * gamma.reshape(shape) + beta.reshape(shape)
    with torch.no_grad():
        ours = read_keras_model(path).network(torch.from_numpy(np.moveaxis(image, -1, 1).copy())).numpy()
    np.testing.assert_allclose(np.moveaxis(ours, 1, -1), wanted, atol=1e-5)


@pytest.mark.parametrize("axis", [1, 2, [1, 2]])
def test_layer_normalisation_whose_answer_depends_on_the_backend(axis: Any, tmp_path: Path) -> None:
    image = layers.Input(SQUARE)
    keras.Model(image, layers.LayerNormalization(axis=axis)(layers.Conv2D(4, 1)(image))).save(tmp_path / "m.keras")
    network = read_keras_model(tmp_path / "m.keras").network
    with pytest.raises(ValueError, match="on torch and not on TensorFlow and JAX"):
        network(torch.zeros(1, 3, 4, 4))


@pytest.mark.parametrize("rank", TO_RANK)
@pytest.mark.parametrize("kind", [layers.LayerNormalization, layers.RMSNormalization])
def test_normalisations_of_the_last_axis(kind: Any, rank: int, tmp_path: Path) -> None:
    compare(around(kind(), rank), tmp_path / "a.keras")
    compare(around(kind(axis=rank - 1), rank), tmp_path / "b.keras")


def test_root_mean_square_of_another_axis(tmp_path: Path) -> None:
    image = layers.Input(SQUARE)
    keras.Model(image, layers.RMSNormalization(axis=1)(layers.Conv2D(4, 1)(image))).save(tmp_path / "m.keras")
    with pytest.raises(ValueError, match="only the last one can be read"):
        read_keras_model(tmp_path / "m.keras").network(torch.zeros(1, 3, 4, 4))


@pytest.mark.parametrize("rank", [3, 4])
@pytest.mark.parametrize("axis", [1, 2, -2, -1])
@pytest.mark.parametrize("groups", [1, 2, -1])
def test_group_normalisation(rank: int, axis: int, groups: int, tmp_path: Path) -> None:
    length = (*SQUARE, 0)[axis - 1] if rank == 4 and axis > 0 else {-1: 3, -2: 4}.get(axis, 4)
    if rank == 4 and groups == 2 and length % 2:
        groups = 3
    compare(around(layers.GroupNormalization(groups, axis=axis), rank), tmp_path / "model.keras")


AXES: list[Any] = [None, -1, 1, 2, 3, -3, (1, 2), (1, 3), (-1,), (1, 2, 3), (3, 1)]


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("invert", [False, True])
def test_normalization_that_was_adapted(axis: Any, invert: bool, tmp_path: Path) -> None:
    layer = layers.Normalization(axis=axis, invert=invert)
    rng = np.random.default_rng(0)
    layer.adapt(rng.normal(rng.normal(0, 2, SQUARE), rng.uniform(0.5, 2, SQUARE), (64, *SQUARE)).astype(np.float32))
    image = layers.Input(SQUARE)
    compare(keras.Model(image, layer(image)), tmp_path / "model.keras")


@pytest.mark.parametrize(
    ("axis", "shape"),
    [
        (-1, ()),
        (-1, (3,)),
        (1, (4,)),
        (1, (1,)),
        (2, (4,)),
        (None, ()),
        ((1, 3), (4, 3)),
        ((1, 3), (3,)),
        ((1, 2), (4, 1)),
    ],
)
def test_normalization_by_numbers(axis: Any, shape: tuple[int, ...], tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    mean, variance = rng.normal(0, 1, shape).tolist(), rng.uniform(0.5, 2, shape).tolist()
    layer = layers.Normalization(axis=axis, mean=mean, variance=variance)
    compare(around(layer), tmp_path / "model.keras")


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize("rank", TO_RANK)
def test_flatten(layout: str, rank: int, tmp_path: Path) -> None:
    compare(around(layers.Flatten(data_format=layout), rank), tmp_path / "model.keras")


@pytest.mark.parametrize("dims", list(itertools.permutations((1, 2, 3))))
def test_permute(dims: tuple[int, ...], tmp_path: Path) -> None:
    def call(x: Any) -> Any:
        return layers.Softmax(axis=1)(layers.Permute(dims)(x))

    compare(around(call), tmp_path / "model.keras")
    axes = (0, *dims)
    compare(around(lambda x: keras.ops.transpose(x, axes)), tmp_path / "transposed.keras")


@pytest.mark.parametrize("shape", [(48,), (16, 3), (3, 16), (2, 8, 3), (8, 2, 3), (2, 2, 4, 3), (-1, 6)])
def test_reshape(shape: tuple[int, ...], tmp_path: Path) -> None:
    compare(around(layers.Reshape(shape)), tmp_path / "layer.keras")
    if -1 not in shape:
        compare(around(lambda x: keras.ops.reshape(x, (-1, *shape))), tmp_path / "operation.keras")


@pytest.mark.parametrize("axis", [1, 2, 3, -1, -2])
def test_axes_of_length_1(axis: int, tmp_path: Path) -> None:
    compare(around(lambda x: keras.ops.squeeze(keras.ops.max(x, axis=axis, keepdims=True), axis)), tmp_path / "a.keras")
    compare(around(lambda x: keras.ops.expand_dims(keras.ops.max(x, axis=axis), axis)), tmp_path / "b.keras")


@pytest.mark.parametrize("shared", [None, [1], [1, 2], [2, 3], [1, 2, 3]])
def test_parametric_relu(shared: list[int] | None, tmp_path: Path) -> None:
    model = around(layers.PReLU(shared_axes=shared))
    for weight in model.weights:
        weight.assign(np.random.default_rng(0).uniform(0.1, 0.9, tuple(weight.shape)))
    compare(model, tmp_path / "model.keras")


@pytest.mark.parametrize(
    "name",
    ["log_softmax", "hard_tanh", "squareplus", "tanh_shrink", "hard_shrink", "soft_shrink", "sparse_plus",
     "sparse_sigmoid", "gelu", "leaky_relu", "hard_sigmoid", "hard_silu", "celu", "softsign", "exponential"],
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_activations(name: str, suffix: str, tmp_path: Path) -> None:
    compare(around(layers.Activation(name)), tmp_path / f"model.{suffix}")


@pytest.mark.parametrize(
    "call",
    [
        lambda x: keras.ops.gelu(x),
        lambda x: keras.ops.gelu(x, approximate=False),
        lambda x: keras.ops.leaky_relu(x, 0.3),
        lambda x: keras.ops.elu(x, alpha=0.7),
        lambda x: keras.ops.nn.hard_tanh(x),
        lambda x: keras.ops.nn.squareplus(x),
        lambda x: keras.ops.nn.hard_silu(x),
        lambda x: keras.ops.exp(x),
        lambda x: keras.ops.min(x, axis=(1, 2)),
        lambda x: 1.0 - x,
        lambda x: x / np.array([2.0, 3.0, 4.0], np.float32),
    ],
)
def test_operations(call: Callable[[Any], Any], tmp_path: Path) -> None:
    compare(around(call), tmp_path / "model.keras")


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (2, 2), (5, 3), (1, 2), (4, 1), (2, 3)])
def test_transposed_convolutions(kernel: int, stride: int, padding: str, tmp_path: Path) -> None:
    layer = layers.Conv2DTranspose(5, kernel, stride, padding=padding, activation="relu")
    compare(around(layer), tmp_path / "model.keras")


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("more", [0, 1])
def test_transposed_convolutions_with_output_padding_and_dilation(more: int, padding: str, tmp_path: Path) -> None:
    compare(around(layers.Conv2DTranspose(2, 3, 2, padding=padding, output_padding=more)), tmp_path / "a.keras")
    compare(around(layers.Conv2DTranspose(2, (3, 2), padding=padding, dilation_rate=2)), tmp_path / "b.keras")


@pytest.mark.parametrize("size", [(7, 9), (2, 3), (4, 4), (1, 1), (11, 5)])
@pytest.mark.parametrize("options", [{}, {"interpolation": "nearest"}, {"antialias": True},
                                     {"crop_to_aspect_ratio": True}])  # fmt: skip
def test_resizing(size: tuple[int, int], options: dict[str, Any], tmp_path: Path) -> None:
    compare(around(layers.Resizing(*size, **options)), tmp_path / "model.keras")


@pytest.mark.parametrize("length", [5, 7, 12, 13, 28, 33])
@pytest.mark.parametrize("goal", [3, 6, 7, 9, 14, 24, 32, 45])
def test_resizing_by_other_ratios(length: int, goal: int, tmp_path: Path) -> None:
    for options in ({"interpolation": "nearest"}, {}, {"antialias": True}):
        image = layers.Input((length, 8, 3))
        model = keras.Model(image, layers.Resizing(goal, 8, **options)(image))
        compare(model, tmp_path / f"{len(options)}{'antialias' in options}.keras")


@pytest.mark.parametrize("factor", [2, (3, 1)])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_upsampling(factor: Any, interpolation: str, tmp_path: Path) -> None:
    compare(around(layers.UpSampling2D(factor, interpolation=interpolation)), tmp_path / "model.keras")


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ({"class_name": "Softmax", "config": {"name": "odd", "axis": 4}}, "axis 4 of a value that has 4 axes"),
        ({"class_name": "Softmax", "config": {"name": "odd", "axis": 0}}, "axis 0, which runs over the images"),
        ({"class_name": "Softmax", "config": {"name": "odd", "axis": [1, -3]}}, "one of which is named twice"),
        ({"class_name": "Concatenate", "config": {"name": "odd", "axis": 0}}, "axis 0, which runs over the images"),
        ({"class_name": "UnitNormalization", "config": {"name": "odd", "axis": 7}}, "axis 7 of a value that has 4"),
        ({"class_name": "Mean", "config": {"name": "odd", "axis": None}}, "all axes, which mixes the images"),
    ],
)  # fmt: skip
def test_axes_that_cannot_be(layer: dict[str, Any], said: str, tmp_path: Path) -> None:
    layer["config"]["batch_input_shape"] = [None, 8, 8, 3]
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": [layer]}}
    with pytest.raises(InputError, match=said):
        settled(open_model(write_old(tmp_path / "m.h5", config, {"odd": []}, keras_version="2.9.0")), (8, 8))


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ({"class_name": "Softmax", "config": {"name": "odd", "axis": "last"}}, "axis = 'last'"),
        ({"class_name": "Resizing", "config": {"name": "odd", "height": 8, "width": 8, "interpolation": "bicubic"}},
         "bilinear or nearest"),
        ({"class_name": "MaxPooling2D", "config": {"name": "odd", "data_format": "channels_first"}}, "channels_last"),
    ],
)  # fmt: skip
def test_settings_that_are_not_known(layer: dict[str, Any], said: str, tmp_path: Path) -> None:
    layer["config"]["batch_input_shape"] = [None, 8, 8, 3]
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": [layer]}}
    with pytest.raises(InputError, match=said):
        open_model(write_old(tmp_path / "m.h5", config, {"odd": []}, keras_version="2.9.0"))


def test_statistics_that_do_not_fit_their_axis(tmp_path: Path) -> None:
    layer = {"class_name": "BatchNormalization",
             "config": {"name": "odd", "axis": 2, "batch_input_shape": [None, 8, 6, 3]}}  # fmt: skip
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": [layer]}}
    arrays = [(f"odd/{name}:0", np.ones(3)) for name in ("gamma", "beta", "moving_mean", "moving_variance")]
    path = write_old(tmp_path / "m.h5", config, {"odd": arrays}, keras_version="2.9.0")
    with pytest.raises((InputError, WeightsError), match="3 means for 6 values along axis 2"):
        settled(open_model(path), (8, 6))
