"""What an import checks before it reads the model, and what it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import torch
from tests.old_keras import coloured, red_model
from torch import nn

import pellucid
from pellucid.errors import InputError
from pellucid.foreign import open as opening
from pellucid.preprocessing import Preprocessing
from pellucid.workflow import import_plan
from pellucid.workflow.importing import Undecided, import_model


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coloured(tmp_path_factory.mktemp("colours"), count=12)


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the weights or running the model fails the test."""

    def load(*args: Any, **options: Any) -> Any:
        raise AssertionError("the model was loaded")

    for name in ("build_keras_model", "keras_source"):
        monkeypatch.setattr(opening, name, load)
    monkeypatch.setattr("pellucid.foreign.onnx_model.onnx_source", load)
    monkeypatch.setattr(torch.jit, "load", load)


def onnx_file(path: Path) -> Path:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    example = (torch.zeros(1, 3, 16, 16),)
    torch.onnx.export(module.eval(), example, str(path), dynamo=False, dynamic_axes={"input": {0: "n"}},
                      input_names=["input"])  # fmt: skip
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("kind", ["h5", "onnx", "pt"])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rescale": "1/256"}, "no rescaling named"),
        ({"rescale": "1/255", "classes": ("a", "a")}, "named twice"),
        ({"rescale": "1/255", "classes": ("a",)}, "2 classes are the fewest"),
        ({"rescale": "1/255", "classes": ("a", "b"), "positive": "c"}, "one of two classes"),
        ({"rescale": "1/255", "fit": "squash"}, "no way to fit images named 'squash'"),
        ({"rescale": "1/255", "interpolation": "cubic"}, "Did you mean bicubic"),
        ({"rescale": "1/255", "gives": "scores"}, "no kind of output named 'scores'"),
        ({}, "`rescale=`"),
    ],
)
def test_what_is_wrong_without_the_model_is_found_first(
    tmp_path: Path, kind: str, options: dict[str, Any], said: str
) -> None:
    path = tmp_path / f"m.{kind}"
    if kind == "h5":
        red_model(path)
    elif kind == "onnx":
        onnx_file(path)
    else:
        torch.jit.script(nn.Flatten()).save(str(path))
    with pytest.raises(InputError, match=said):
        import_model(path, tmp_path / "run", size=16, allow_code=True, **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize("kind", ["h5", "onnx"])
def test_a_wrong_number_of_classes_is_found_before_the_model_is_loaded(tmp_path: Path, kind: str) -> None:
    path = red_model(tmp_path / "m.h5") if kind == "h5" else onnx_file(tmp_path / "m.onnx")
    with pytest.raises(InputError, match=r"classes, but 4 are named \(a, b, c, d\)"):
        import_model(path, tmp_path / "run", classes=tuple("abcd"), rescale="1/255")


def test_a_model_that_rescales_by_itself_is_not_asked(tmp_path: Path) -> None:
    model = red_model(tmp_path / "m.h5", rescaling=1 / 255)
    assert import_model(model, tmp_path / "run", every_method=False).manifest.preprocessing.scale == 1.0
    with pytest.raises(Undecided):
        import_model(red_model(tmp_path / "n.h5"), tmp_path / "other")


def test_classes_from_a_file(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("0 blue, mostly\n1 red\n", encoding="utf-8")
    made = import_model(
        red_model(tmp_path / "m.h5"), tmp_path / "run", classes=labels, rescale="1/255", every_method=False
    )
    assert made.manifest.classes == ("blue, mostly", "red")


def test_the_data_are_read_once(tmp_path: Path, colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Path] = []
    read = import_plan.read_dataset
    monkeypatch.setattr(import_plan, "read_dataset", lambda data, **o: (reads.append(data), read(data, **o))[1])
    made = import_model(
        red_model(tmp_path / "m.h5"), tmp_path / "run", data=colours, positive="blue", rescale="1/255",
        every_method=False,
    )  # fmt: skip
    assert reads == [colours]
    assert made.manifest.classes == ("red", "blue")
    from pellucid.workflow.evaluation import evaluate_run

    accuracy = evaluate_run(made.run).result.metrics["accuracy"].value
    plain = import_model(red_model(tmp_path / "m.h5"), tmp_path / "plain", data=colours, rescale="1/255",
                         every_method=False)  # fmt: skip
    assert evaluate_run(plain.run).result.metrics["accuracy"].value == accuracy


def test_teachable_machine_resizes_by_lanczos_on_a_centred_square(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (96, 144, 3), np.uint8)
    made = import_model(
        red_model(tmp_path / "m.h5"), tmp_path / "run", rescale="1/255", fit="crop", interpolation="lanczos",
        every_method=False,
    )  # fmt: skip
    wanted = PIL.ImageOps.fit(PIL.Image.fromarray(picture), (16, 16), PIL.Image.Resampling.LANCZOS)
    ours = made.manifest.preprocessing.resize(picture)
    assert np.abs(ours.astype(int) - np.asarray(wanted, int)).max() <= 1
    red = np.asarray(wanted, np.float64)[..., 0].mean() / 255
    bundle = pellucid.load(made.run)
    assert bundle.predict(picture).probabilities["class 1"] == pytest.approx(
        1 / (1 + np.exp(-20 * (red - 0.5))), abs=2e-3
    )


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_the_nearest_pixel_is_one_of_the_picture(fit: Any, tmp_path: Path) -> None:
    """As `keras.utils.load_img` resizes, also from a JPEG, which decoders can reduce by averaging."""
    picture = np.random.default_rng(0).integers(0, 256, (512, 640, 3), np.uint8)
    PIL.Image.fromarray(picture).save(tmp_path / "p.jpg", quality=95)
    preprocessing = Preprocessing(height=16, width=20, fit=fit, interpolation="nearest")
    decoded = np.asarray(PIL.Image.open(tmp_path / "p.jpg"))
    from pellucid.images import read_image

    image = read_image(tmp_path / "p.jpg", at_least=preprocessing.decode_size)
    np.testing.assert_array_equal(preprocessing.resize_image(image), preprocessing.resize(decoded))
    wanted = np.asarray(PIL.Image.fromarray(decoded).resize((20, 16), PIL.Image.Resampling.NEAREST))
    np.testing.assert_array_equal(preprocessing.resize(decoded), wanted)


def test_the_old_name_of_allow_code_still_works(tmp_path: Path) -> None:
    module = torch.jit.script(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    module.save(str(tmp_path / "m.pt"))
    with pytest.warns(FutureWarning, match="`trust=` of import_model is called `allow_code=` now"):
        import_model(tmp_path / "m.pt", tmp_path / "run", size=16, rescale="1/255", trust=True, every_method=False)
    with pytest.raises(InputError, match="`size=`, for example 224"):
        import_model(tmp_path / "m.pt", tmp_path / "other", rescale="1/255", allow_code=True)
