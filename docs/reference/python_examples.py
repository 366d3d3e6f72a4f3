"""The examples of docs/reference/python.md, one function per public name. tests/test_python_reference.py runs them.

The folder that they run in holds `xrays/` (labelled images), `runs/xrays` (a trained run), `new.png` and `model.onnx`.
"""

from __future__ import annotations


def load() -> None:
    import pellucid

    bundle = pellucid.load("runs/xrays")
    print(bundle.classes)  # ('normal', 'opacity')
    print(bundle.layers)  # the layers that can be explained, default first


def train() -> None:
    import pellucid

    run = pellucid.train(
        "xrays",
        recipe="scratch-cnn",
        overrides=["data.size=32", "train.epochs=1", "model.filters=[4, 8]", "model.head=[]"],
        group_by=r"(patient\d+)",
        out="runs/again",
    )
    print(run / "report.html")


def load_recipe() -> None:
    import pellucid

    recipe = pellucid.load_recipe("cats-dogs", ["train.epochs=5"])
    print(recipe.model.backbone, recipe.train.epochs)  # mobilenet_v2 5


def evaluate() -> None:
    from pathlib import Path

    import pellucid

    evaluated = pellucid.evaluate(Path("runs/xrays"))
    auc = evaluated.result.metrics["roc_auc"]
    print(f"{auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]")


def import_model() -> None:
    import pellucid

    imported = pellucid.import_model("model.onnx", "runs/imported", classes=["no", "yes"], rescale="1/255")
    print(imported.manifest.parity)  # how closely the bundle agrees with the file


def from_torch() -> None:
    import torch

    import pellucid

    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 2),
    )
    preprocessing = pellucid.Preprocessing(height=32, width=32)
    bundle = pellucid.from_torch(network, ["cat", "dog"], preprocessing, gives="logits")
    print(bundle.explain("new.png", method="grad-cam").target)


def from_function() -> None:
    import numpy as np

    import pellucid

    def brightness(images: np.ndarray) -> np.ndarray:
        """Images (N, 32, 32, 3) uint8 to the probability of the second class (N,)."""
        return images.mean(axis=(1, 2, 3)) / 255

    bundle = pellucid.from_function(brightness, ["dark", "bright"], size=32)
    print(bundle.predict("new.png").label)
    print(bundle.explain("new.png", method="occlusion").unit)


def Bundle() -> None:
    import pellucid

    bundle = pellucid.load("runs/xrays")
    predictions = bundle.predict(["new.png", "new.png"])
    attribution = bundle.explain("new.png", method="grad-cam", target="opacity")
    normal, opacity = bundle.explain("new.png", target=("normal", "opacity"))
    print(predictions[0].label, attribution.values.shape, normal.target, opacity.target)


def Prediction() -> None:
    import pellucid

    prediction = pellucid.load("runs/xrays").predict("new.png")
    print(f"{prediction.label}: {prediction.confidence:.0%}")
    print(prediction.probabilities)  # {'normal': ..., 'opacity': ...}
    for warning in prediction.warnings:
        print(warning)


def Attribution() -> None:
    import numpy as np

    import pellucid

    attribution = pellucid.load("runs/xrays").explain("new.png", method="grad-cam")
    row, column = np.unravel_index(attribution.values.argmax(), attribution.values.shape)
    print(f"strongest at row {row}, column {column}, in {attribution.unit}")


def Preprocessing() -> None:
    import pellucid

    preprocessing = pellucid.Preprocessing(height=224, width=224, fit="crop", crop_share=0.875)
    bundle = pellucid.load("runs/xrays")
    tensors = bundle.preprocessing.tensors([bundle.read("new.png")])
    print(preprocessing.placement((480, 640)), tensors.shape)


def Recipe() -> None:
    import pellucid

    recipe = pellucid.load_recipe("scratch-cnn")
    print(recipe.to_toml())
    same = pellucid.Recipe.model_validate(recipe.model_dump())
    print(same == recipe)  # True


def PellucidError() -> None:
    import pellucid

    try:
        pellucid.load("runs/no-such-run")
    except pellucid.PellucidError as error:
        print(type(error).__name__, error)


def __version__() -> None:
    import pellucid

    print(pellucid.__version__)


EXAMPLES = {
    name: value
    for name, value in dict(globals()).items()
    if callable(value) and getattr(value, "__module__", None) == __name__
}
