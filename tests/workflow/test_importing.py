from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from tests.old_keras import coloured, red_model
from torch import nn

import pellucid
from pellucid.bundle.run import RunFolder
from pellucid.data.folder import read_dataset
from pellucid.errors import DataError, InputError, UnknownNameError
from pellucid.foreign.pictures import made_up_pictures
from pellucid.preprocessing import Preprocessing
from pellucid.progress import Silent
from pellucid.workflow import importing
from pellucid.workflow.audit import audit_bundle
from pellucid.workflow.discovering_run import AuditSettings
from pellucid.workflow.evaluation import evaluate_dataset, evaluate_run
from pellucid.workflow.importing import Undecided


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_CACHE", "")


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coloured(tmp_path_factory.mktemp("colours"))


import_model = partial(importing.import_model, every_method=False)
from_torch = partial(pellucid.from_torch, every_method=False)


def score(picture: Path) -> float:
    """What the model says by hand: the sigmoid of 20 (red - 0.5), from the resized picture."""
    image = PIL.Image.open(picture).convert("RGB").resize((16, 16), PIL.Image.Resampling.BILINEAR)
    return float(1 / (1 + np.exp(-20 * (np.asarray(image, np.float64)[..., 0].mean() / 255 - 0.5))))


def a_picture(colours: Path) -> Path:
    return sorted((colours / "red").iterdir())[3]


def share_right(colours: Path, positive: str = "red") -> float:
    return float(np.mean([(score(f) >= 0.5) == (f.parent.name == positive) for f in colours.glob("*/*.png")]))


def test_a_keras_file_becomes_a_run_in_one_step(tmp_path: Path, colours: Path) -> None:
    model = red_model(tmp_path / "red.h5")
    made = pellucid.import_model(model, tmp_path / "run", data=colours, rescale="1/255")
    assert made.manifest.classes == ("blue", "red")
    assert made.manifest.layer is not None
    assert made.manifest.layer.name == "model.conv"
    assert made.manifest.parity is not None
    assert (made.manifest.parity.source, made.manifest.parity.images) == ("the data given", 32)
    assert made.manifest.parity.probability < 1e-5

    picture = a_picture(colours)
    bundle = pellucid.load(made.run)
    assert bundle.predict(picture).probabilities["red"] == pytest.approx(score(picture), abs=1e-5)
    for method in ("grad-cam", "integrated-gradients", "ablation-cam"):
        assert np.abs(bundle.explain(picture, method=method, target="red").values).max() > 0
    assert evaluate_run(made.run).result.metrics["accuracy"].value == pytest.approx(share_right(colours))
    record = RunFolder(made.run).read_record()
    assert record.training is None
    assert record.imported is not None
    assert (record.imported.rescale, record.imported.trials[0]["rescale"]) == ("1/255", "1/255")
    page = (made.run / "report.html").read_text(encoding="utf-8")
    assert "Where does the model come from?" in page
    assert "on which images, is unknown" in page


def test_nothing_is_chosen_silently(tmp_path: Path, colours: Path) -> None:
    model = red_model(tmp_path / "red.h5")
    with pytest.raises(Undecided, match="give labelled images by `data=`"):
        import_model(model, tmp_path / "run")
    with pytest.raises(Undecided, match="repeat with `rescale='1/255'`,") as caught:
        import_model(model, tmp_path / "run", data=colours)
    trials = caught.value.trials
    assert len(trials) == 8
    assert (trials[0].rescaling.name, trials[0].rescaling.order) == ("1/255", "rgb")
    assert trials[0].accuracy == pytest.approx(share_right(colours))
    swapped = next(t for t in trials if (t.rescaling.name, t.rescaling.order) == ("1/255", "bgr"))
    assert swapped.behind is not None
    assert swapped.behind[1] > 0
    assert not (tmp_path / "run").exists()


def test_a_model_for_bgr_is_found_and_served_in_rgb(tmp_path: Path, colours: Path) -> None:
    model = red_model(tmp_path / "red.h5", channel=2)
    with pytest.raises(Undecided, match="`rescale='1/255'` `channels='bgr'`"):
        import_model(model, tmp_path / "run", data=colours)
    made = import_model(model, tmp_path / "run", classes=("blue", "red"), rescale="1/255", channels="bgr")
    picture = a_picture(colours)
    assert pellucid.load(made.run).predict(picture).probabilities["red"] == pytest.approx(score(picture), abs=1e-5)


def test_a_layer_that_rescales_is_taken_at_its_word(tmp_path: Path, colours: Path) -> None:
    model = red_model(tmp_path / "red.h5", rescaling=1 / 255)
    made = import_model(model, tmp_path / "run")
    assert made.manifest.preprocessing.scale == 1.0
    assert made.manifest.classes == ("class 0", "class 1")
    assert made.manifest.parity is not None
    assert made.manifest.parity.source.startswith("made-up pictures")
    picture = a_picture(colours)
    assert pellucid.load(made.run).predict(picture).probabilities["class 1"] == pytest.approx(score(picture), abs=1e-5)
    with pytest.raises(DataError, match="imported without data"):
        evaluate_run(made.run)
    renamed = coloured(tmp_path / "more", ("class 0", "class 1"))
    assert evaluate_run(made.run, renamed).result.metrics["accuracy"].value == pytest.approx(share_right(colours))


def test_the_positive_class_may_be_the_models_first(tmp_path: Path, colours: Path) -> None:
    for units in (1, 2):
        model = red_model(tmp_path / f"red{units}.h5", units=units)
        out = tmp_path / f"run{units}"
        made = import_model(model, out, classes=("blue", "red"), positive="blue", rescale="1/255")
        assert made.manifest.classes == ("red", "blue")
        assert made.manifest.logits == 1
        picture = a_picture(colours)
        bundle = pellucid.load(out)
        assert bundle.predict(picture).probabilities["red"] == pytest.approx(score(picture), abs=1e-5)
        assert bundle.predict(picture).label == ("red" if score(picture) > 0.5 else "blue")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"classes": ("a", "b", "c")}, "which is 2 classes, but 3 are named"),
        ({"positive": "purple"}, "must be one of two classes"),
        ({"size": 32}, "images of 16 x 16 pixels, not 32 x 32"),
        ({"task": "multiclass"}, "does not fit a model with 1 outputs"),
        ({"layer": "convv"}, "no layer named 'convv'. Did you mean"),
        ({"layer": "pool"}, "must give a feature map"),
        ({"rescale": "1/256"}, "no rescaling named"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, options: dict[str, object], said: str) -> None:
    model = red_model(tmp_path / "red.h5")
    with pytest.raises(InputError, match=said):
        import_model(model, tmp_path / "run", **{"rescale": "1/255", **options})  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_other_classes_than_the_datas(tmp_path: Path, colours: Path) -> None:
    with pytest.raises(InputError, match="no images of yes, no: the data have blue, red"):
        import_model(red_model(tmp_path / "m.h5"), tmp_path / "r", classes=("yes", "no"), data=colours, rescale="1/255")


def test_files_that_could_run_code_need_trust(tmp_path: Path) -> None:
    module = torch.jit.script(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    module.save(tmp_path / "m.pt")
    with pytest.raises(InputError, match="allow_code"):
        import_model(tmp_path / "m.pt", tmp_path / "run", rescale="1/255")
    torch.save(module.state_dict(), tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"written by torch\.save"):
        import_model(tmp_path / "w.pt", tmp_path / "run", rescale="1/255")


def test_made_up_pictures_use_the_whole_range() -> None:
    pictures = made_up_pictures(4, (16, 24))
    assert pictures.shape == (4, 16, 24, 3)
    assert pictures.min() < 40
    assert pictures.max() > 215
    np.testing.assert_array_equal(pictures, made_up_pictures(4, (16, 24)))


class Branches(nn.Module):
    """Two branches that meet, so that neither of their own layers can be explained."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)
        self.join = nn.Conv2d(4, 5, 3)
        self.head = nn.Linear(5, outputs)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.join(self.left(image) + self.right(image)).amax((2, 3)))


def test_from_torch_takes_any_module(tmp_path: Path) -> None:
    module = Branches(3).train()
    preprocessing = Preprocessing(height=16, width=18)
    picture = made_up_pictures(1, (40, 44))[0]
    bundle = from_torch(module, ["a", "b", "c"], preprocessing, images=[picture])
    assert module.training
    assert bundle.manifest.layer is not None
    assert bundle.manifest.layer.name == "model.join"
    batch = preprocessing.tensors([bundle.read(picture)])
    with torch.no_grad():
        wanted = torch.softmax(module.eval()(torch.from_numpy(batch)), 1).numpy()
    np.testing.assert_allclose(bundle.probabilities(batch), wanted, atol=1e-5)
    with pytest.raises(InputError, match="one branch of several"):
        from_torch(module, ["a", "b", "c"], preprocessing, layer="left")
    with pytest.raises(UnknownNameError):
        from_torch(module, ["a", "b", "c"], preprocessing, layer="middle")
    with pytest.raises(InputError, match="3 different classes"):
        from_torch(module, ["a", "b"], preprocessing)


def test_from_torch_asks_what_an_output_between_0_and_1_is(tmp_path: Path) -> None:
    class Ends(Branches):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.sigmoid(super().forward(image))

    module, preprocessing = Ends(1).eval(), Preprocessing(height=16, width=16)
    with pytest.raises(InputError, match="`gives='probabilities'` if it comes out of a sigmoid"):
        from_torch(module, ["no", "yes"], preprocessing)
    bundle = from_torch(module, ["no", "yes"], preprocessing, gives="probabilities", out=tmp_path / "b")
    batch = preprocessing.normalise(made_up_pictures(2, (16, 16)))
    with torch.no_grad():
        wanted = module(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(bundle.probabilities(batch)[:, 1:], wanted, atol=1e-5)
    assert bundle.folder == tmp_path / "b"


def test_a_module_without_feature_maps_is_a_black_box() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    bundle = from_torch(module, ["no", "yes"], Preprocessing(height=8, width=8))
    assert bundle.manifest.layer is None
    image = made_up_pictures(1, (16, 16))[0]
    assert bundle.explain(image, method="occlusion").values.shape == (16, 16)
    with pytest.raises(InputError, match="black box"):
        bundle.explain(image)


def test_a_function_is_evaluated_and_audited(colours: Path) -> None:
    """The same rule as the file's, as a function of pixels: the same accuracy, and no torch in between."""

    def red(images: Any) -> Any:
        return 1 / (1 + np.exp(-20 * (images[..., 0].mean((1, 2), dtype=np.float64) / 255 - 0.5)))

    classifier = pellucid.from_function(red, ["blue", "red"], size=16)
    dataset = read_dataset(colours, classes=classifier.classes)
    result = evaluate_dataset(classifier, dataset, "all").result
    assert result.metrics["accuracy"].value == pytest.approx(share_right(colours))
    settings = AuditSettings(split="test")
    document = audit_bundle(classifier, dataset, source=colours, settings=settings, progress=Silent())
    assert document.images == 60
