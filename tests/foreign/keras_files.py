"""Keras models with weights that matter, saved by Keras itself (torch backend), and files in older layouts by hand."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("ABSL_MIN_LOG_LEVEL", "3")

import h5py
import keras
import numpy as np
from keras import layers

FORMATS = ("h5", "keras")


def randomise(model: Any, seed: int = 0) -> Any:
    """Statistics and offsets that are not 0 and 1, so that a wrong order shows."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape, kind = tuple(weight.shape), weight.path.rpartition("/")[2]
        if "variance" in kind:
            weight.assign(rng.uniform(0.5, 1.5, shape))
        elif "mean" in kind or "beta" in kind or "bias" in kind:
            weight.assign(rng.normal(0, 0.1, shape))
        elif "gamma" in kind:
            weight.assign(rng.uniform(0.8, 1.2, shape))
        elif "kernel" in kind:
            inputs = np.prod(shape[:2] if "depthwise" in weight.path else shape[:-1])
            weight.assign(rng.normal(0, np.sqrt(2 / inputs), shape))
    return model


def mixed(height: int, width: int) -> Any:
    """A functional model of most layers, with branches and "same" padding at stride 2."""
    image = layers.Input((height, width, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.BatchNormalization(epsilon=1e-2)(x)
    y = layers.SeparableConv2D(8, 5, padding="same", activation="swish")(x)
    x = layers.Add()([x, y])
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    x = layers.ZeroPadding2D(((0, 1), (2, 0)))(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", strides=2)(x)
    x = layers.LeakyReLU()(x)
    x = layers.AveragePooling2D(2, padding="same")(x)
    z = layers.Conv2D(4, 2, dilation_rate=2, padding="same", activation=layers.ReLU(6.0))(x)
    x = layers.Concatenate()([x, z])
    gate = layers.GlobalAveragePooling2D()(x)
    gate = layers.Dense(20, activation="hard_sigmoid")(layers.Reshape((1, 1, 20))(gate))
    x = layers.Multiply()([x, gate])
    x = layers.Dropout(0.5)(layers.Flatten()(x))
    return keras.Model(image, layers.Dense(3, activation="softmax")(layers.Dense(7, activation="gelu")(x)))


def nested(*, frozen: int) -> Any:
    """Transfer learning as tutorials have it: random flips, a backbone with its first layers frozen, a small head."""
    backbone = keras.applications.MobileNetV2(input_shape=(32, 32, 3), alpha=0.35, include_top=False, weights=None)
    for layer in backbone.layers[:frozen]:
        layer.trainable = False
    image = layers.Input((32, 32, 3))
    x = backbone(layers.RandomFlip()(image) / 127.5 - 1, training=False)
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, layers.Dense(1, activation="sigmoid")(x))


def twice_nested() -> Any:
    """A sequential model around a sequential model around a functional one, as VGG has it in caffe's order."""
    image = layers.Input((20, 24, 3))
    x = layers.Rescaling(0.02)(keras.applications.vgg16.preprocess_input(image))
    x = layers.Conv2D(6, 3, padding="same", activation="relu", name="block1_conv1")(x)
    x = layers.MaxPooling2D(name="block1_pool")(x)
    inner = keras.Model(image, x, name="tiny_vgg")
    middle = keras.Sequential([layers.Input((20, 24, 3)), inner, layers.Conv2D(4, 3, activation="relu", name="conv")])
    return keras.Sequential(
        [layers.Input((20, 24, 3)), middle, layers.Flatten(), layers.Dense(2), layers.Activation("softmax")]
    )


def activated() -> Any:
    """The activations that are layers, and normalisations by layer and of inputs."""
    image = layers.Input((9, 11, 3))
    x = layers.Normalization(mean=[10.0, 20.0, 30.0], variance=[4.0, 9.0, 16.0])(image)
    x = layers.Conv2D(4, 3)(x)
    x = layers.ReLU(max_value=4.0, negative_slope=0.1, threshold=0.5)(x)
    x = layers.LayerNormalization(epsilon=1e-3)(layers.PReLU(shared_axes=[1, 2])(x))
    x = layers.ELU()(layers.Conv2D(4, 2, activation="mish")(x))
    x = layers.Permute((2, 1, 3))(layers.UpSampling2D(2)(layers.Cropping2D(((1, 0), (0, 2)))(x)))
    x = layers.GlobalMaxPooling2D()(x)
    return keras.Model(image, layers.Dense(4)(x))


def images_for(model: Any, count: int = 3, seed: int = 5) -> Any:
    """Pixels 0..255, (N, H, W, 3) float32, as a model takes them."""
    height, width = model.input_shape[1:3]
    return np.random.default_rng(seed).uniform(0, 255, (count, height, width, 3)).astype(np.float32)


def write_old(path: Path, config: dict[str, Any], weights: dict[str, list[tuple[str, Any]]], **attributes: str) -> Path:
    """A whole model in the HDF5 layout of Keras 1 and 2: {layer: [(weight's name, array)]}."""
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        for key, value in attributes.items():
            file.attrs[key] = value
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in weights]
        for name, arrays in weights.items():
            layer = group.create_group(name)
            layer.attrs["weight_names"] = [weight.encode() for weight, _ in arrays]
            for weight, array in arrays:
                layer.create_dataset(weight, data=array)
    return path
