"""A Keras 2 file whose answers are known: is the image red? The logit is 20 times (red - 0.5) of values 0..1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import PIL.Image


def red_model(path: Path, *, rescaling: float | None = None, channel: int = 0, units: int = 1) -> Path:
    """Write the model: a 1 x 1 convolution that keeps the channels, global average pooling, one unit and a sigmoid."""
    kernel = np.eye(3).reshape(1, 1, 3, 3)
    dense = np.zeros((3, units))
    dense[channel, -1] = 20.0
    offset = np.zeros(units)
    offset[-1] = -10.0
    layers = [
        layer("Conv2D", "conv", filters=3, kernel_size=[1, 1], activation="relu"),
        layer("GlobalAveragePooling2D", "pool"),
        layer("Dense", "score", units=units, activation="sigmoid" if units == 1 else "softmax"),
    ]
    if rescaling is not None:
        layers.insert(0, layer("Rescaling", "rescaling", scale=rescaling, offset=0.0))
    layers[0]["config"]["batch_input_shape"] = [None, 16, 16, 3]
    config = {"class_name": "Sequential", "config": {"name": "red", "layers": layers}}
    arrays = {
        "conv": [("conv/kernel:0", kernel), ("conv/bias:0", np.zeros(3))],
        "score": [("score/kernel:0", dense), ("score/bias:0", offset)],
    }
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = "2.4.0"
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [item["config"]["name"].encode() for item in layers]
        for item in layers:
            name = item["config"]["name"]
            inner = group.create_group(name)
            inner.attrs["weight_names"] = [weight.encode() for weight, _ in arrays.get(name, [])]
            for weight, array in arrays.get(name, []):
                inner.create_dataset(weight, data=array)
    return path


def layer(kind: str, name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": name, **config}}


def coloured(folder: Path, names: tuple[str, str] = ("blue", "red"), count: int = 60) -> Path:
    """Noisy images of 20 x 24 pixels, more or less red, with labels drawn by the model's own probabilities.

    So no other use of the model's answers fits them better than the right one (the log-loss is proper).
    """
    rng = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True)
    for i in range(count):
        red = rng.uniform(0.3, 0.7)
        pixels = rng.uniform(0, 1, (20, 24, 3)) * 0.2
        pixels += [red - 0.1, 0.3, rng.uniform(0.2, 0.7)]
        name = names[int(rng.random() < 1 / (1 + np.exp(-20 * (red - 0.5))))]
        PIL.Image.fromarray((255 * pixels).round().astype(np.uint8)).save(folder / name / f"{i:02}.png")
    return folder
