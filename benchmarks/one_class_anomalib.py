"""The part of `one_class.py` that runs in anomalib's environment: fit, score test images, time one image.

    python one_class_anomalib.py TASK.json

TASK.json names the method (patchcore or padim), the folder of normal images, the test images, the weights of the
backbone (timm's names), its layers, the side of the input and what share of the patches is kept. Prints one JSON line.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anomalib.data import Folder
from anomalib.engine import Engine
from anomalib.models import Padim, Patchcore
from anomalib.pre_processing import PreProcessor
from PIL import Image
from torchvision.transforms.v2 import Compose, Normalize, Resize
from torchvision.transforms.v2.functional import to_dtype, to_image


def load_weights(network: Any, path: str) -> None:
    """Give the feature extractor pellucid's weights. By name alone anomalib would fetch others from a hub."""
    found = network.feature_extractor.feature_extractor.load_state_dict(
        torch.load(path, weights_only=True), strict=False
    )
    if found.missing_keys:
        raise SystemExit(f"no weights for {found.missing_keys}")


def main(task: dict[str, Any]) -> dict[str, object]:
    """Fit as anomalib's documentation does, then use the plain torch model, which is its quickest form."""
    torch.set_num_threads(task["threads"])
    side = (task["size"], task["size"])
    mean, deviation = task["mean"], task["deviation"]
    transform = Compose([Resize(side, antialias=True), Normalize(mean=[mean] * 3, std=[deviation] * 3)])
    common = {
        "backbone": task["backbone"], "layers": task["layers"], "pre_trained": False,
        "pre_processor": PreProcessor(transform=transform), "evaluator": False, "visualizer": False,
    }  # fmt: skip
    if task["method"] == "patchcore":
        model = Patchcore(**common, coreset_sampling_ratio=task["share"], num_neighbors=9)
    else:
        model = Padim(**common, n_features=task["channels"])
    load_weights(model.model, task["weights"])
    data = Folder(
        name="normal", root=task["root"], normal_dir="train/good", normal_test_dir="test/good",
        abnormal_dir=task["abnormal"], train_batch_size=16, eval_batch_size=16, num_workers=0,
        val_split_mode="same_as_test",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        # Nothing is validated, so that the fit is the fit alone.
        engine = Engine(accelerator="cpu", devices=1, default_root_dir=folder, logger=False, limit_val_batches=0)
        began = time.perf_counter()
        engine.fit(model=model, datamodule=data)
        fitting = time.perf_counter() - began
    fit_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    network = model.model.eval()

    def answer(path: str) -> float:
        pixels = to_dtype(to_image(Image.open(path).convert("RGB")), torch.float32, scale=True)
        with torch.inference_mode():
            return float(network(transform(pixels[None])).pred_score.reshape(-1)[0])

    scores = [answer(path) for path in task["test"]]
    times = []
    for path in task["test"][: task["rounds"]]:
        began = time.perf_counter()
        answer(path)
        times.append(time.perf_counter() - began)
    # Last, as it puts another memory into the model.
    checked = on_given_features(network, task["check"]) if task["method"] == "patchcore" else []
    return {"fit": fitting, "image": statistics.median(times), "peak": fit_peak, "scores": scores, "checked": checked}


def on_given_features(network: Any, path: str) -> list[float]:
    """anomalib's scores of given patches (N, P, C) beside a given memory, to compare pellucid's with."""
    given = np.load(path)
    patches, memory = torch.from_numpy(given["patches"]), torch.from_numpy(given["memory"])
    network.memory_bank = memory
    flat = patches.reshape(-1, patches.shape[-1])
    with torch.inference_mode():
        nearest, places = network.nearest_neighbors(embedding=flat, n_neighbors=1)
        shape = patches.shape[:2]
        scores = network.compute_anomaly_score(nearest.reshape(shape), places.reshape(shape), flat)
    return [float(score) for score in scores]


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
