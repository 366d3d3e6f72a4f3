"""Values for the tests of reporting: evidence, images, an evaluation, and a run folder written without training."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.bundle.manifest import Manifest
from pellucid.bundle.run import RunRecord
from pellucid.classifier import Prediction
from pellucid.evaluation.evaluate import evaluate_predictions
from pellucid.evaluation.result import EvaluationResult
from pellucid.evaluation.schema import write_evaluation
from pellucid.explanation.attribution import Attribution
from pellucid.explanation.record import ExplanationManifest, ExplanationRecord
from pellucid.reporting.overlay import display_limit, verdict
from pellucid.reporting.pictures import explanation_pictures, save_explanation

RECIPE = """name = "scratch-cnn"
description = "A small convolutional network trained from nothing."
medical = true

[data]
size = 128
values = "unit"

[model]
backbone = "cnn"
weights = "none"
pool = "flatten"
head = [{ dense = 128, dropout = 0.5 }]

[train]
epochs = 30
patience = 8

[[published]]
source = "The reference system's stated goal"
metrics = { accuracy = 0.90 }

[[published]]
source = "Somebody 2018"
metrics = { accuracy = 0.928, precision = 0.932, recall = 0.901 }
"""


def blob(shape: tuple[int, int], y: float, x: float, spread: float, height: float = 3.2) -> np.ndarray:
    """A Gaussian hill on an image, its place and spread as shares of the sides."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    distance = ((rows / shape[0] - y) / spread) ** 2 + ((columns / shape[1] - x) / spread) ** 2
    return (height * np.exp(-distance / 2)).astype(np.float32)


def attribution(values: np.ndarray, target: str = "opacity", signed: bool = False) -> Attribution:
    """Grad-CAM's form around given values."""
    return Attribution(values.astype(np.float32), "Grad-CAM", target, "log-odds", "log-odds per cell", signed, "block4")


def film(rng: np.random.Generator, side: int = 192) -> np.ndarray:
    """A grey picture with two dark lungs, ribs and noise: (side, side, 3) uint8."""
    rows, columns = np.mgrid[:side, :side] / side
    grey = 150 + 40 * np.cos(2.2 * (columns - 0.5)) - 30 * rows
    for centre in (0.3, 0.7):
        grey -= 95 * np.exp(-((((rows - 0.48) / 0.27) ** 2 + ((columns - centre) / 0.13) ** 2) ** 2))
    grey += 9 * np.sin(60 * rows + 14 * (columns - 0.5) ** 2) + rng.normal(0, 5, grey.shape)
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def evaluation(
    classes: tuple[str, ...] = ("clear", "opacity"), images: int = 240, skill: float = 2.4, seed: int = 0
) -> EvaluationResult:
    """A classifier of some skill on made-up images, two to a patient."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(classes), images)
    logits = rng.normal(size=(images, len(classes)))
    logits[np.arange(images), labels] += skill
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return evaluate_predictions(
        task="binary" if len(classes) == 2 else "multiclass",
        classes=classes,
        labels=labels,
        probabilities=shares,
        paths=[f"test/{classes[k]}/patient{i // 2:03d}_{i}.png" for i, k in enumerate(labels)],
        groups=[f"patient{i // 2:03d}" for i in range(images)],
        split="test",
        resamples=400,
    )


def history(epochs: int = 14) -> list[dict[str, float]]:
    """A training that gets better and then overfits."""
    rows = []
    for epoch in range(1, epochs + 1):
        falling = 0.68 * 0.78**epoch
        rows.append(
            {
                "epoch": epoch,
                "seconds": 4.2,
                "learning_rate": 1e-3,
                "train_loss": falling + 0.03,
                "val_loss": falling + 0.12 + 0.011 * max(0, epoch - 9),
                "val_accuracy": 0.95 - 0.4 * 0.72**epoch,
                "val_roc_auc": 0.985 - 0.4 * 0.66**epoch,
            }
        )
    return rows


def _record(result: EvaluationResult, **changes: Any) -> dict[str, Any]:
    counts = np.bincount(result.labels, minlength=len(result.classes))
    test = {c: int(n) for c, n in zip(result.classes, counts, strict=True)}
    record: dict[str, Any] = {
        "name": "phantom",
        "created": "2026-07-01T09:30:00+00:00",
        "command": ["pellucid", "train", "data/phantom films", "--recipe", "scratch-cnn", "--seed", "0"],
        "seed": 0,
        "recipe": "scratch-cnn",
        "versions": {"pellucid": "0.1.0", "python": "3.11.7", "torch": "2.15.0", "numpy": "2.2.1"},
        "hardware": {"processor": "x86_64, 2 cores", "memory": "24 GB", "accelerator": "none"},
        "data": {
            "source": "data/phantom films",
            "images": 1200,
            "checksum": "9f2c" * 16,
            "counts": {
                "train": dict.fromkeys(result.classes, 400),
                "val": dict.fromkeys(result.classes, 80),
                "test": test,
            },
            "groups": 600,
            "skipped": [{"path": "train/clear/broken.png", "reason": "the file ends too early"}],
            "notes": ["The positive class is opacity.", "A validation set was carved from train, by patient."],
            "overlaps": [],
            "synthetic": True,
        },
        "training": {
            "epochs": 14,
            "best_epoch": 11,
            "monitor": "val_loss",
            "best_value": 0.186,
            "seconds": 58.8,
            "ended": "early: no improvement for 3 epochs",
            "parameters": 1240000,
            "trainable_parameters": 1240000,
        },
        "localisation": {
            "method": "Grad-CAM",
            "images": 118,
            "pointing": 0.847,
            "pointing_chance": 0.041,
            "energy_inside": 0.262,
            "energy_chance": 0.041,
        },
        "seconds": {"data": 3.1, "training": 58.8, "export": 4.0, "evaluation": 2.2, "explanation": 1.4},
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            record[section][name] = value
        else:
            record[section] = value
    return record


def _manifest(classes: tuple[str, ...], medical: bool) -> Manifest:
    return Manifest.model_validate(
        {
            "pellucid_version": "0.1.0",
            "name": "phantom",
            "task": "binary" if len(classes) == 2 else "multiclass",
            "classes": classes,
            "preprocessing": {"height": 128, "width": 128},
            "layer": {"name": "block4", "channels": 128, "height": 8, "width": 8, "stride": (16, 16), "offset": (8, 8)},
            "logits": 1 if len(classes) == 2 else len(classes),
            "medical": medical,
            "architecture": {"backbone": "cnn"},
            "parity": {
                "images": 16,
                "source": "validation",
                "probability": 3.1e-7,
                "heat_map": 4.4e-6,
                "tolerance": 1e-3,
            },
        }
    )


def _explanations(folder: Path, result: EvaluationResult, images: int, side: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(1)
    right = result.predicted == result.labels
    chosen = [*np.flatnonzero(~right)[: images // 3], *np.flatnonzero(right)]
    records = []
    for n, index in enumerate(chosen[:images]):
        label = result.classes[int(result.predicted[index])]
        shares = result.probabilities[index]
        pixels = film(rng, side)
        place = rng.uniform(0.25, 0.75, 2)
        values = blob(pixels.shape[:2], *place, 0.09)
        if n % 7 == 6:
            values = -values
        explained = attribution(values, label)
        limit = display_limit(explained)
        answer = Prediction(label, float(shares.max()), dict(zip(result.classes, map(float, shares), strict=True)))
        records.append(
            ExplanationRecord(
                path=result.paths[index],
                label=label,
                true_label=result.classes[int(result.labels[index])],
                confidence=answer.confidence,
                probabilities=answer.probabilities,
                target=label,
                method="Grad-CAM",
                score="log-odds",
                unit=explained.unit,
                layer="block4",
                settings={},
                smallest=float(values.min()),
                largest=float(values.max()),
                limit=max(float(values.max()), 0.0),
                verdict=verdict(explained, answer),
                files=save_explanation(folder, f"{n:03d}", explanation_pictures(pixels, explained, limit=limit)),
            )
        )
    manifest = ExplanationManifest(
        pellucid_version="0.1.0",
        model={"model.onnx": "ab" * 32},
        colormap="inferno",
        alpha=0.45,
        scale="image",
        images=tuple(records),
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json(indent=1), encoding="utf-8")


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_run(
    root: Path,
    classes: tuple[str, ...] = ("clear", "opacity"),
    *,
    images: int = 240,
    explained: int = 12,
    side: int = 192,
    medical: bool = True,
    recipe: str = RECIPE,
    split_rows: list[dict[str, Any]] | None = None,
    **changes: Any,
) -> Path:
    """Write a run folder; `changes` are keys of run.json such as `data__skipped`."""
    result = evaluation(classes, images)
    write_evaluation(result, root / "evaluation")
    record = RunRecord.model_validate(_record(result, **changes))
    (root / "run.json").write_text(record.model_dump_json(indent=1), encoding="utf-8")
    (root / "recipe.toml").write_text(recipe, encoding="utf-8")
    (root / "model").mkdir()
    manifest = _manifest(classes, medical).model_dump(mode="json")
    (root / "model" / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    _write_csv(root / "history.csv", history())
    rows = [
        {"path": p, "label": classes[k], "split": "test", "group": g, "sha256": f"test{p}"}
        for p, k, g in zip(result.paths, result.labels, result.groups, strict=True)
    ]
    others = [
        {
            "path": f"{s}/{classes[i % 2]}/{s}{i // 2:03d}_{i}.png",
            "label": classes[i % 2],
            "split": s,
            "group": f"{s}{i // 2}",
            "sha256": f"{s}{i}",
        }
        for s, n in (("train", 800), ("val", 160))
        for i in range(n)
    ]
    _write_csv(root / "split.csv", split_rows if split_rows is not None else others + rows)
    _explanations(root / "explanations", result, explained, side)
    return root
