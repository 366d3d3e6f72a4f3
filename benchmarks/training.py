"""Training beside a plain loop, in one run on the same cores: ratios, not seconds, are what to look at.

(a) `pneumonia`: VGG16 with block 5 and a new head trained, random weights, against the same network in a plain Keras
    loop (on torch's backend) that runs the frozen layers again in every epoch, as the reference system does.
(b) MobileNetV2, all of it fine-tuned, against a plain torch loop in float32.
(c) with --memory: the largest memory of a training on many generated images.

    python benchmarks/training.py [--images 1000] [--epochs 10] [--batches 8] [--threads 2] [--memory 100000]

Figures of (a) over ten epochs are put together from what was measured: the time to keep the features once, a cached
epoch (the shorter of two, measured in full), and the plain loop's time for a step times the steps of an epoch. The
plain loop is measured on `--batches` batches only: its steps are all alike.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

from pellucid.models.network import build_network
from pellucid.preprocessing import Preprocessing
from pellucid.progress import Silent
from pellucid.recipe import Recipe, load_recipe
from pellucid.training.session import Training, train_network


def pictures(count: int, side: int, folder: Path | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noise (count, side, side, 3), brighter where the label is 1; in a file of `folder` where one is given."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(count) % 2)

    def parts() -> Iterator[np.ndarray]:
        for start in range(0, count, 1000):
            own = labels[start : start + 1000]
            noise = rng.integers(0, 200, (len(own), side, side, 3), dtype=np.uint8)
            yield noise + (40 * own[:, None, None, None]).astype(np.uint8)

    if folder is None:
        return np.concatenate(list(parts())), np.arange(count), labels
    with (folder / "pixels").open("wb") as file:
        for part in parts():
            file.write(part.tobytes())
    return np.memmap(folder / "pixels", np.uint8, "r", shape=(count, side, side, 3)), np.arange(count), labels


class Lines(Silent):
    """Prints what is said, and draws nothing."""

    def say(self, line: str) -> None:
        print("   ", line, flush=True)


def ours(recipe: Recipe, images: int, epochs: int, share_of_validation: float = 0.15) -> tuple[float, float]:
    """Seconds before the first epoch (features), and of the quickest epoch."""
    size = recipe.preprocessing().height
    torch.manual_seed(0)
    network = build_network(recipe, 2)
    source = pictures(images, size)
    section = recipe.train.model_copy(update={"epochs": epochs, "patience": 0})
    rows: list[dict[str, float]] = []
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        cut = int(images * (1 - share_of_validation))
        pixels, numbers, labels = source
        train_network(
            network,
            Training(
                recipe.model_copy(update={"train": section}),
                (pixels, numbers[:cut], labels[:cut]),
                (pixels, numbers[cut:], labels[cut:]),
                2,
                0,
                Path(folder),
                Lines(),
                track=lambda row: rows.append(dict(row)),
            ),
        )
    whole = time.perf_counter() - began
    return whole - sum(row["seconds"] for row in rows), min(row["seconds"] for row in rows)


def keras_step(recipe: Recipe, batches: int) -> float:
    """Seconds of a training step of the same network written in Keras, frozen layers and all."""
    import keras

    frozen = keras.applications.VGG16(include_top=False, weights=None, input_shape=(224, 224, 3))
    for layer in frozen.layers:
        layer.trainable = layer.name.startswith("block5")
    x = keras.layers.GlobalAveragePooling2D()(frozen.output)
    for dense in recipe.model.head:
        x = keras.layers.Dropout(dense.dropout)(keras.layers.Dense(dense.dense, activation="relu")(x))
    model = keras.Model(frozen.input, keras.layers.Dense(1, activation="sigmoid")(x))
    model.compile(optimizer=keras.optimizers.Adam(1e-4), loss="binary_crossentropy")
    size = recipe.train.batch_size
    pixels, _, labels = pictures(size, 224)
    inputs = pixels.astype(np.float32) / 255
    model.train_on_batch(inputs, labels)
    began = time.perf_counter()
    for _ in range(batches):
        model.train_on_batch(inputs, labels)
    return (time.perf_counter() - began) / batches


def frozen_layers_against_keras(images: int, epochs: int, batches: int) -> None:
    recipe = load_recipe("pneumonia", ["model.weights=none", "train.cache=always"])
    trained, checked = int(images * 0.85), images - int(images * 0.85)
    steps = -(-trained // recipe.train.batch_size)
    print(f"(a) pneumonia, {trained} images to train on, {checked} to check", flush=True)
    once, epoch = ours(recipe, images, 2)
    step = keras_step(recipe, batches)
    # Validation is left out of the plain loop's time and in ours: that favours the plain loop.
    plain = step * steps
    print(f"    plain Keras loop: {step:.2f} s a step, {plain:.0f} s an epoch without validation")
    print(f"    pellucid: {once:.0f} s once, {epoch:.1f} s an epoch with validation")
    print(f"    an epoch, once kept: {plain / epoch:.1f} times as fast")
    print(f"    {epochs} epochs in all: {epochs * plain / (once + epochs * epoch):.1f} times as fast")


def fine_tuning_against_torch(batches: int, size: int = 32) -> None:
    print("(b) MobileNetV2, all of it fine-tuned", flush=True)
    settings = ["model.weights=none", "model.freeze=none", f"train.batch_size={size}"]
    recipe = load_recipe("cats-dogs", settings)
    found = {}
    for precision in ("float32", "auto"):
        torch.manual_seed(0)
        network = build_network(recipe, 2).train()
        if precision == "float32":
            found["plain"] = plain_step(network, recipe, batches, size)
        else:
            _, epoch = ours(recipe, batches * size + size, 2, share_of_validation=1 / (batches + 1))
            found["ours"] = epoch / batches
    print(f"    plain torch loop in float32: {found['plain']:.2f} s a step")
    print(f"    pellucid: {found['ours']:.2f} s a step, with augmentation and its share of validation")
    print(f"    {found['plain'] / found['ours']:.1f} times as fast")


def plain_step(network: torch.nn.Module, recipe: Recipe, batches: int, size: int) -> float:
    """Seconds of a step of the loop that every tutorial shows."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    pixels, rows, labels = pictures(size, 224)
    preprocessing: Preprocessing = recipe.preprocessing()
    batch = torch.from_numpy(preprocessing.normalise(pixels))
    truth = torch.from_numpy(labels[rows]).float()

    def step() -> None:
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(batch)[:, 0], truth)
        loss.backward()
        optimizer.step()

    step()
    began = time.perf_counter()
    for _ in range(batches):
        step()
    return (time.perf_counter() - began) / batches


def memory(images: int, side: int = 96) -> float:
    """The largest memory, in GB, of one epoch with a small network on so many images kept in a file."""
    recipe = load_recipe("scratch-cnn", [f"data.size={side}", "model.filters=[8, 8, 8]", "train.batch_size=64"])
    torch.manual_seed(0)
    network = build_network(recipe, 2)
    with tempfile.TemporaryDirectory(dir=os.environ.get("PELLUCID_CACHE")) as folder:
        pixels, rows, labels = pictures(images, side, Path(folder))
        section = recipe.train.model_copy(update={"epochs": 1})
        cut = int(images * 0.9)
        train_network(
            network,
            Training(
                recipe.model_copy(update={"train": section}),
                (pixels, rows[:cut], labels[:cut]),
                (pixels, rows[cut:], labels[cut:]),
                2,
                0,
                Path(folder) / "checkpoints",
            ),
        )
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", type=int, metavar="IMAGES", help="measure (c) instead, on so many images")
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    if wanted.memory:
        print(f"(c) {wanted.memory:,} images: at most {memory(wanted.memory):.2f} GB")
        return
    frozen_layers_against_keras(wanted.images, wanted.epochs, wanted.batches)
    fine_tuning_against_torch(wanted.batches)


if __name__ == "__main__":
    main()
