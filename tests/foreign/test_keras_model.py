from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from scipy import signal
from tests.foreign import keras_files
from tests.foreign.keras_files import FORMATS, images_for, randomise, write_old

from pellucid.bundle.bundle import load
from pellucid.bundle.manifest import Manifest
from pellucid.errors import InputError, UnknownNameError, WeightsError
from pellucid.foreign.export import export_imported, placeholder
from pellucid.foreign.imported import ImportedNetwork, choose_layer, entry_of
from pellucid.foreign.keras.model import first_rescaling, read_keras_model
from pellucid.foreign.meaning import meaning_of
from pellucid.foreign.modules import same_padding
from pellucid.foreign.open import keras_source, open_model
from pellucid.preprocessing import Preprocessing

MODELS: dict[str, Callable[[], Any]] = {
    "odd sizes": lambda: keras_files.mixed(33, 41),
    "even sizes": lambda: keras_files.mixed(32, 46),
    "backbone, part of it frozen": lambda: keras_files.nested(frozen=60),
    "backbone, all of it frozen": lambda: keras_files.nested(frozen=999),
    "nested twice, BGR": keras_files.twice_nested,
    "activations": keras_files.activated,
}


class Saved(NamedTuple):
    model: Any
    folder: Path


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Saved]:
    """A model of MODELS, with the folder that holds it as `model.h5` and `model.keras`."""

    @lru_cache
    def save(name: str) -> Saved:
        keras_files.keras.utils.set_random_seed(1)
        model = randomise(MODELS[name]())
        folder = tmp_path_factory.mktemp("keras")
        for suffix in FORMATS:
            model.save(folder / f"model.{suffix}")
        return Saved(model, folder)

    return save


def answers(path: Path, pixels: Any) -> Any:
    with torch.no_grad():
        return read_keras_model(path).network(torch.from_numpy(np.moveaxis(pixels, -1, 1).copy())).numpy()


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", MODELS)
def test_the_same_answers_as_keras(saved: Callable[[str], Saved], name: str, suffix: str) -> None:
    model, folder = saved(name)
    pixels = images_for(model)
    wanted = model.predict(pixels, verbose=0)
    assert np.ptp(wanted, axis=0).max() > 1e-4  # it depends on the image
    np.testing.assert_allclose(answers(folder / f"model.{suffix}", pixels), wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 2), (2, 2), (4, 3), (3, 1), (1, 2)])
def test_same_padding_is_tensorflows(size: int, kernel: int, stride: int) -> None:
    before, after = same_padding(size, kernel, stride)
    assert 0 <= after - before <= 1
    assert (size + before + after - kernel) // stride + 1 == -(-size // stride)
    assert before + after == 0 or (size + before + after - 1 - kernel) // stride + 1 < -(-size // stride)


def keras_2(classes: int = 2) -> tuple[dict[str, Any], dict[str, list[tuple[str, Any]]]]:
    """A sequential model as Keras 2.3 wrote it: "same" padding, stride 2, channels-last flattening, two classes."""
    rng = np.random.default_rng(2)
    config = {
        "class_name": "Sequential",
        "config": {
            "name": "sequential_1",
            "layers": [
                {
                    "class_name": "Conv2D",
                    "config": {
                        "name": "conv2d_1",
                        "trainable": True,
                        "batch_input_shape": [None, 7, 8, 3],
                        "dtype": "float32",
                        "filters": 4,
                        "kernel_size": [3, 3],
                        "strides": [2, 2],
                        "padding": "same",
                        "data_format": "channels_last",
                        "dilation_rate": [1, 1],
                        "activation": "relu",
                        "use_bias": True,
                        "kernel_initializer": {
                            "class_name": "VarianceScaling",
                            "config": {"scale": 1.0, "mode": "fan_avg", "distribution": "uniform", "dtype": "float32"},
                        },
                    },
                },
                {"class_name": "Flatten", "config": {"name": "flatten_1", "data_format": "channels_last"}},
                {"class_name": "Dropout", "config": {"name": "dropout_1", "rate": 0.5, "noise_shape": None}},
                {
                    "class_name": "Dense",
                    "config": {"name": "dense_1", "units": classes, "activation": "softmax", "use_bias": True},
                },
            ],
        },
    }
    weights = {
        "conv2d_1": [
            ("conv2d_1/kernel:0", rng.normal(0, 0.3, (3, 3, 3, 4))),
            ("conv2d_1/bias:0", rng.normal(0, 0.3, 4)),
        ],
        "flatten_1": [],
        "dropout_1": [],
        "dense_1": [
            ("dense_1/kernel:0", rng.normal(0, 0.3, (4 * 4 * 4, classes))),
            ("dense_1/bias:0", rng.normal(0, 0.3, classes)),
        ],
    }
    return config, weights


def by_hand(weights: dict[str, list[tuple[str, Any]]], image: Any) -> Any:
    """The model of `keras_2` in NumPy: TensorFlow pads 7 to 9 by (1, 1) and 8 to 9 by (0, 1)."""
    kernel, bias = (array for _, array in weights["conv2d_1"])
    padded = np.pad(image, ((1, 1), (0, 1), (0, 0)))
    maps = [
        sum(signal.correlate2d(padded[..., c], kernel[..., c, f], mode="valid") for c in range(3)) + bias[f]
        for f in range(4)
    ]
    flat = np.maximum(np.stack(maps, -1)[::2, ::2], 0).reshape(-1)
    dense, offset = (array for _, array in weights["dense_1"])
    odds = np.exp(flat @ dense + offset)
    return odds / odds.sum()


def test_a_keras_2_file_that_keras_3_would_refuse(tmp_path: Path) -> None:
    config, weights = keras_2()
    path = write_old(tmp_path / "old.h5", config, weights, keras_version="2.3.1", backend="tensorflow")
    image = np.random.default_rng(3).random((7, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(answers(path, image[None])[0], by_hand(weights, image), atol=1e-6)
    source = open_model(path)
    assert (source.kind, source.activation, source.size) == ("Keras 2.3.1", "softmax", (7, 8))


def test_a_keras_1_file(tmp_path: Path) -> None:
    _, weights = keras_2()
    config = {
        "class_name": "Sequential",
        "config": [
            {
                "class_name": "Convolution2D",
                "config": {
                    "name": "convolution2d_1",
                    "batch_input_shape": [None, 7, 8, 3],
                    "nb_filter": 4,
                    "nb_row": 3,
                    "nb_col": 3,
                    "subsample": [2, 2],
                    "border_mode": "same",
                    "dim_ordering": "tf",
                    "activation": "relu",
                    "bias": True,
                },
            },
            {"class_name": "Flatten", "config": {"name": "flatten_1"}},
            {"class_name": "Dense", "config": {"name": "dense_1", "output_dim": 2, "activation": "softmax"}},
        ],
    }
    named = {
        "convolution2d_1": [(f"convolution2d_1_{n}", a) for n, (_, a) in zip("Wb", weights["conv2d_1"], strict=True)],
        "flatten_1": [],
        "dense_1": [(f"dense_1_{n}:0", a) for n, (_, a) in zip("Wb", weights["dense_1"], strict=True)],
    }
    path = write_old(tmp_path / "older.h5", config, named, keras_version="1.2.2")
    image = np.random.default_rng(4).random((7, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(answers(path, image[None])[0], by_hand(weights, image), atol=1e-6)


@pytest.mark.parametrize("names", ["{}/{}:0", "{}_1/{}:0", "renamed_{}/{}:0"])
def test_a_nested_keras_2_model_by_names_and_by_order(tmp_path: Path, names: str) -> None:
    """The inner model is a functional one with a frozen first layer: Keras lists what is trained first."""
    _, weights = keras_2()
    conv, dense = weights["conv2d_1"], weights["dense_1"]
    inner = {
        "class_name": "Functional",
        "config": {
            "name": "base",
            "layers": [
                {
                    "class_name": "InputLayer",
                    "config": {"batch_input_shape": [None, 7, 8, 3], "name": "input_1"},
                    "name": "input_1",
                    "inbound_nodes": [],
                },
                {
                    "class_name": "Conv2D",
                    "config": {
                        "name": "c",
                        "filters": 4,
                        "kernel_size": [3, 3],
                        "strides": [2, 2],
                        "padding": "same",
                        "activation": "relu",
                        "trainable": False,
                    },
                    "name": "c",
                    "inbound_nodes": [[["input_1", 0, 0, {}]]],
                },
                {
                    "class_name": "BatchNormalization",
                    "config": {"name": "b", "axis": [3], "epsilon": 0.001},
                    "name": "b",
                    "inbound_nodes": [[["c", 0, 0, {}]]],
                },
            ],
            "input_layers": [["input_1", 0, 0]],
            "output_layers": [["b", 0, 0]],
        },
        "name": "base",
        "inbound_nodes": [],
    }
    rest = keras_2()[0]["config"]["layers"][1:]
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": [inner, *rest]}}
    scale = np.full(4, 2.0)
    listed = [
        (names.format("b", "gamma"), scale),
        (names.format("b", "beta"), np.zeros(4)),
        (names.format("c", "kernel"), conv[0][1]),
        (names.format("c", "bias"), conv[1][1]),
        (names.format("b", "moving_mean"), np.zeros(4)),
        (names.format("b", "moving_variance"), np.full(4, 1 - 1e-3)),
    ]
    path = write_old(tmp_path / "n.h5", config, {"base": listed, "dense_1": dense}, keras_version="2.11.0")
    image = np.random.default_rng(3).random((7, 8, 3)).astype(np.float32)
    doubled = {**weights, "dense_1": [(dense[0][0], dense[0][1] * 2), dense[1]]}
    np.testing.assert_allclose(answers(path, image[None])[0], by_hand(doubled, image), atol=1e-6)


def test_tensorflows_operations_in_a_keras_2_graph(tmp_path: Path) -> None:
    def layer(kind: str, name: str, config: dict[str, Any], nodes: list[Any]) -> dict[str, Any]:
        return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": nodes}

    ends = [{"class_name": "__ellipsis__"}, {"start": None, "stop": None, "step": -1}]
    config = {
        "class_name": "Functional",
        "config": {
            "name": "model",
            "layers": [
                layer("InputLayer", "input_1", {"batch_input_shape": [None, 4, 4, 3]}, []),
                layer("SlicingOpLambda", "g", {"function": "__operators__.getitem"},
                      [["input_1", 0, 0, {"slice_spec": ends}]]),
                layer("TFOpLambda", "d", {"function": "math.truediv"}, [["g", 0, 0, {"y": 127.5, "name": None}]]),
                layer("TFOpLambda", "s", {"function": "math.subtract"}, [["d", 0, 0, {"y": 1.0, "name": None}]]),
                layer("GlobalAveragePooling2D", "p", {}, [[["s", 0, 0, {}]]]),
            ],
            "input_layers": [["input_1", 0, 0]],
            "output_layers": [["p", 0, 0]],
        },
    }  # fmt: skip
    path = write_old(tmp_path / "ops.h5", config, {}, keras_version="2.9.0")
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 3)).astype(np.float32)
    np.testing.assert_allclose(answers(path, pixels), pixels.mean((1, 2))[:, ::-1] / 127.5 - 1, atol=1e-5)
    assert first_rescaling(read_keras_model(path).network) == "g"


def test_grad_cam_of_the_bundle_is_the_one_of_keras(saved: Callable[[str], Saved], tmp_path: Path) -> None:
    """Of the two-class model nested twice: log-odds of class 1, differentiated in Keras by the last convolution."""
    model, folder = saved("nested twice, BGR")
    pixels = images_for(model, 2)

    middle, *head = model.layers
    activations = middle(pixels)
    activations.retain_grad()
    values = activations
    for layer in head[:-1]:
        values = layer(values)
    (values[:, 1] - values[:, 0]).sum().backward()
    gradients = activations.grad.detach().cpu().numpy()
    wanted = (activations.detach().cpu().numpy() * gradients.mean((1, 2), keepdims=True)).sum(-1)

    source = keras_source(read_keras_model(folder / "model.h5"))
    answer = meaning_of(source.activation, 2)
    network = ImportedNetwork(entry_of(3, "rgb"), source.network, answer.module).eval()
    layer = choose_layer(network, (20, 24), 1)
    assert layer == "model.sequential.conv" or (layer is not None and layer.endswith(".conv"))
    preprocessing = Preprocessing(height=20, width=24, scale=1.0)
    manifest = Manifest(
        pellucid_version="0",
        name="m",
        task=answer.task,
        classes=("no", "yes"),
        preprocessing=preprocessing,
        layer=placeholder(layer),
        logits=1,
        architecture={},
    )
    batch = np.ascontiguousarray(np.moveaxis(pixels, -1, 1))
    export_imported(network, source, manifest, tmp_path / "b", images=batch, source="noise")
    bundle = load(tmp_path / "b")
    evidence = bundle.evidence(batch, "yes")
    ours = (evidence.activations * evidence.gradients[:, 0].mean((2, 3), keepdims=True)).sum(1)
    np.testing.assert_allclose(ours, wanted, atol=1e-4 * np.abs(wanted).max())
    np.testing.assert_allclose(bundle.probabilities(batch), model.predict(pixels, verbose=0), atol=1e-5)
    # The first convolution is padded alike on both sides, the pooling halves, the last has no padding: (k - 1) / 2 * 2.
    assert evidence.geometry.stride == (2.0, 2.0)
    assert evidence.geometry.offset == (3.0, 3.0)


def test_own_rescaling_is_found_whatever_its_kind(saved: Callable[[str], Saved]) -> None:
    found = {n: first_rescaling(read_keras_model(saved(n).folder / "model.keras").network) for n in MODELS}
    assert found["odd sizes"] is not None
    assert "rescaling" in found["odd sizes"]
    assert "true_divide" in str(found["backbone, part of it frozen"])
    assert "get_item" in str(found["nested twice, BGR"])
    assert "normalization" in str(found["activations"])


def edited(tmp_path: Path, edit: Callable[[dict[str, Any]], None], **attributes: str) -> Path:
    config, weights = keras_2()
    edit(config)
    return write_old(tmp_path / "edited.h5", config, weights, **attributes)


def kind(name: str, **config: Any) -> Callable[[dict[str, Any]], None]:
    def edit(document: dict[str, Any]) -> None:
        document["config"]["layers"][2] = {"class_name": name, "config": {"name": "odd_one", **config}}

    return edit


@pytest.mark.parametrize(
    ("edit", "said", "error"),
    [
        (kind("Lambda", function=["4wEAAAA", None, None]), "'odd_one' is a Lambda", InputError),
        (kind("Custom>Attention"), "custom class 'Custom>Attention'", InputError),
        (kind("LSTM"), "named 'LSTM'", UnknownNameError),
        (kind("Activation", activation="my_swish"), "'my_swish', which cannot be read", InputError),
        (kind("Conv2D", filters=2, kernel_size=[3, 3]), "should have 2 arrays", WeightsError),
        (kind("MaxPooling2D", pool_size=[0, 2]), "whole numbers of at least 1", InputError),
        (kind("Conv2D", filters=2, kernel_size=[3, 3], data_format="channels_first"), "channels_last", InputError),
        (lambda d: d["config"]["layers"][0]["config"].update(filters=5), "has the shape (3, 3, 3, 4)", WeightsError),
        (lambda d: d["config"]["layers"][3]["config"].update(name="conv2d_1"), "two layers are named", InputError),
        (lambda d: d["config"].pop("layers"), "only sequential and functional", InputError),
        (lambda d: d["config"].update(layers=[]), "no layers", InputError),
        (lambda d: d.update(class_name="Cats"), "of the class 'Cats'", InputError),
        (lambda d: d["config"]["layers"].insert(0, 7), "description is broken", InputError),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(
    tmp_path: Path, edit: Callable[[dict[str, Any]], None], said: str, error: type[Exception]
) -> None:
    with pytest.raises(error) as caught:
        read_keras_model(edited(tmp_path, edit))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_circle_and_a_missing_layer(tmp_path: Path) -> None:
    def layer(name: str, before: str) -> dict[str, Any]:
        nodes = [[[before, 0, 0, {}]]]
        return {"class_name": "Flatten", "name": name, "config": {"name": name}, "inbound_nodes": nodes}

    start = {
        "class_name": "InputLayer",
        "name": "i",
        "config": {"name": "i", "batch_input_shape": [None, 4, 4, 3]},
        "inbound_nodes": [],
    }
    for after, said in (("b", "in a circle"), ("nowhere", "nothing gives 'nowhere:0'")):
        config = {
            "class_name": "Functional",
            "config": {
                "name": "m",
                "layers": [start, layer("a", after), layer("b", "a")],
                "input_layers": [["i", 0, 0]],
                "output_layers": [["b", 0, 0]],
            },
        }
        with pytest.raises(InputError, match=said):
            read_keras_model(write_old(tmp_path / f"{after}.h5", config, {}))


def test_absurd_sizes_are_refused_before_they_are_computed(tmp_path: Path) -> None:
    from pellucid.foreign.settle import settled

    path = edited(tmp_path, lambda d: d["config"]["layers"].insert(0, {
        "class_name": "ZeroPadding2D", "config": {"name": "pad", "padding": [[0, 900000], [0, 900000]],
                                                  "batch_input_shape": [None, 7, 8, 3]}}))  # fmt: skip
    with pytest.raises(InputError, match="'pad' would give"):
        settled(open_model(path), (7, 8))
