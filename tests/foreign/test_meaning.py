"""What outputs mean on every road: torch, ONNX, Keras and functions."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.foreign.keras_files import keras, layers, randomise
from torch import nn

import pellucid
from pellucid.errors import InputError
from pellucid.foreign.meaning import gives_of, meaning_of
from pellucid.foreign.pictures import made_up_pictures
from pellucid.preprocessing import Preprocessing
from pellucid.workflow import importing

SIZE = (12, 12)
SIGMOIDS = np.array([[0.993, 0.007, 0.007], [0.5, 0.5, 0.2]], np.float32)
PREPROCESSING = Preprocessing(height=12, width=12)
from_torch = partial(pellucid.from_torch, every_method=False)
import_model = partial(importing.import_model, every_method=False)


class Ends(nn.Module):
    """A small network that ends in a function which no reader can see from outside."""

    def __init__(self, ending: Any, outputs: int = 3, channels: int = 3) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv, self.head = nn.Conv2d(channels, 8, 3), nn.Linear(8, outputs)
        self.ending = ending

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.ending(self.head(torch.relu(self.conv(image)).mean((2, 3))) * 4)


def batch(count: int = 4) -> Any:
    return PREPROCESSING.normalise(made_up_pictures(count, SIZE, seed=2))


def own(module: nn.Module) -> Any:
    with torch.no_grad():
        return module(torch.from_numpy(batch())).numpy()


def test_several_sigmoids_are_asked_for() -> None:
    """The example of the report: logits of [.993, .007, .007] would be [.573, .214, .214]."""
    with pytest.raises(InputError, match=r"`gives='independent'`.*`gives='logits'`"):
        gives_of("linear", SIGMOIDS)
    assert gives_of("linear", SIGMOIDS, gives="independent") == "independent"
    assert gives_of("linear", SIGMOIDS, gives="logits") == "logits"
    with pytest.raises(InputError, match=r"within 0\.\.1 and sum to 1"):
        gives_of("linear", SIGMOIDS, gives="probabilities")
    with pytest.raises(InputError, match=r"lie within 0\.\.1, and these go from -2 to 3"):
        gives_of("linear", np.array([[-2.0, 3.0]], np.float32), gives="independent")
    with pytest.raises(InputError, match="choose logits, probabilities or independent"):
        gives_of("linear", SIGMOIDS, gives="scores")  # type: ignore[arg-type]
    logits = meaning_of("linear", 3, gives="independent").module(torch.from_numpy(SIGMOIDS))
    shares = torch.softmax(logits, 1).numpy()
    np.testing.assert_allclose(shares, SIGMOIDS / SIGMOIDS.sum(1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize(
    ("activation", "outputs", "wanted"),
    [
        ("linear", [[0.2, 0.8], [0.6, 0.4]], "probabilities"),
        ("linear", [[-1.0, 2.0], [0.0, 0.0]], "logits"),
        ("linear", [[1.5], [-3.0]], "logits"),
        ("softmax", [[0.2, 0.8]], "probabilities"),
        ("sigmoid", [[2.0]], "probabilities"),
        ("sigmoid", [[2.0, -1.0]], "independent"),
    ],
)
def test_what_needs_no_question(activation: str, outputs: Any, wanted: str) -> None:
    assert gives_of(activation, np.array(outputs, np.float32)) == wanted


def test_what_the_end_says_is_not_contradicted() -> None:
    outputs = np.array([[1.0, 2.0]], np.float32)
    with pytest.raises(InputError, match="ends in a softmax, so it gives probabilities"):
        gives_of("softmax", outputs, gives="logits")
    with pytest.raises(InputError, match="ends in a sigmoid, so it gives independent"):
        gives_of("sigmoid", outputs, gives="probabilities")


def test_one_output_between_0_and_1() -> None:
    outputs = np.array([[0.2], [0.9]], np.float32)
    with pytest.raises(InputError, match=r"`gives='probabilities'`.*`task='regression'`"):
        gives_of("linear", outputs)
    assert gives_of("linear", outputs, task="regression") == "logits"
    assert meaning_of("linear", 1, task="regression").task == "regression"
    assert meaning_of("linear", 1, gives="probabilities").task == "binary"


def test_torch() -> None:
    module = Ends(torch.sigmoid).eval()
    with pytest.raises(InputError, match="`gives='independent'`"):
        from_torch(module, ["a", "b", "c"], PREPROCESSING)
    bundle = from_torch(module, ["a", "b", "c"], PREPROCESSING, gives="independent")
    wanted = own(module)
    np.testing.assert_allclose(bundle.probabilities(batch()), wanted / wanted.sum(1, keepdims=True), atol=1e-5)
    assert bundle.manifest.parity is not None
    assert bundle.manifest.parity.runtime == f"torch {torch.__version__}"
    taken = from_torch(module, ["a", "b", "c"], PREPROCESSING, gives="logits")
    np.testing.assert_allclose(taken.logits(batch()), wanted, atol=1e-5)


def test_torch_with_an_end_that_can_be_seen() -> None:
    for ending, change in ((nn.LogSoftmax(1), np.exp), (nn.Softmax(1), lambda p: p)):
        module = nn.Sequential(Ends(lambda z: z), ending).eval()
        bundle = from_torch(module, ["a", "b", "c"], PREPROCESSING)
        np.testing.assert_allclose(bundle.probabilities(batch()), change(own(module)), atol=1e-5)
        with torch.no_grad():
            np.testing.assert_allclose(
                bundle.logits(batch()), module[0](torch.from_numpy(batch())).numpy(), atol=1e-5
            )  # fmt: skip


def test_torch_of_one_channel() -> None:
    module = Ends(lambda z: z, channels=1).eval()
    bundle = from_torch(module, ["a", "b", "c"], PREPROCESSING)
    luma = (batch() * np.array([0.299, 0.587, 0.114], np.float32)[:, None, None]).sum(1, keepdims=True)
    with torch.no_grad():
        wanted = module(torch.from_numpy(luma.astype(np.float32))).numpy()
    np.testing.assert_allclose(bundle.logits(batch()), wanted, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("channels", [1, 3])
def test_torchscript(channels: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    module = Ends(torch.sigmoid, channels=channels).eval()
    torch.jit.trace(module, torch.zeros(1, channels, *SIZE)).save(str(tmp_path / "m.pt"))
    options: dict[str, Any] = {"size": 12, "rescale": "1/255", "allow_code": True}
    # Its sigmoid is an operator of the graph, so there is nothing to ask.
    made = import_model(tmp_path / "m.pt", tmp_path / "run", **options)
    images = batch() if channels == 3 else (batch() * np.array([0.299, 0.587, 0.114], np.float32)[:, None, None])
    given = images if channels == 3 else images.sum(1, keepdims=True).astype(np.float32)
    with torch.no_grad():
        wanted = module(torch.from_numpy(given)).numpy()
    bundle = pellucid.load(made.run)
    np.testing.assert_allclose(bundle.probabilities(batch()), wanted / wanted.sum(1, keepdims=True), atol=1e-5)
    assert made.manifest.parity is not None
    assert made.manifest.parity.runtime == f"torch {torch.__version__}"
    assert "Warning" not in capfd.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_onnx(tmp_path: Path) -> None:
    """A sigmoid put together of other operators cannot be seen at the end."""
    module = Ends(lambda z: 1 / (1 + torch.exp(-z))).eval()
    example, path = (torch.zeros(1, 3, *SIZE),), tmp_path / "m.onnx"
    torch.onnx.export(module, example, str(path), dynamo=False, input_names=["i"], dynamic_axes={"i": {0: "n"}})
    with pytest.raises(InputError, match="`gives='independent'`"):
        import_model(path, tmp_path / "run", rescale="1/255")
    made = import_model(path, tmp_path / "run", rescale="1/255", gives="independent")
    wanted = own(module)
    bundle = pellucid.load(made.run)
    np.testing.assert_allclose(bundle.probabilities(batch()), wanted / wanted.sum(1, keepdims=True), atol=1e-5)
    assert any("one class is answered for each image" in note for note in made.notes)


def test_keras(tmp_path: Path) -> None:
    image = layers.Input((*SIZE, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, activation="relu")(image))
    model = randomise(keras.Model(image, layers.Dense(3)(x) * 0.001 + 0.5))
    model.save(tmp_path / "m.keras")
    with pytest.raises(InputError, match="`gives='independent'`"):
        import_model(tmp_path / "m.keras", tmp_path / "run", rescale="1/255")


def test_functions() -> None:
    rows = {2: SIGMOIDS}
    with pytest.raises(InputError, match="`gives='independent'`"):
        pellucid.from_function(lambda x: rows[len(x)], ["a", "b", "c"], size=12).probabilities(batch(2))
    shares = pellucid.from_function(lambda x: rows[len(x)], ["a", "b", "c"], size=12, gives="independent")
    np.testing.assert_allclose(
        shares.probabilities(batch(2)), SIGMOIDS / SIGMOIDS.sum(1, keepdims=True), atol=1e-5
    )  # fmt: skip
    logits = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]])
    taken = pellucid.from_function(lambda x: logits, ["a", "b", "c"], size=12, gives="logits")
    wanted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(taken.probabilities(batch(2)), wanted, atol=1e-5)
    single = pellucid.from_function(lambda x: np.array([2.0, -1.0]), ["no", "yes"], size=12, gives="logits")
    np.testing.assert_allclose(
        single.probabilities(batch(2))[:, 1], 1 / (1 + np.exp([-2.0, 1.0])), atol=1e-5
    )  # fmt: skip
    with pytest.raises(InputError, match="choose probabilities, independent or logits"):
        pellucid.from_function(lambda x: logits, ["a", "b"], size=12, gives="odds")  # type: ignore[arg-type]


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_segmenter_of_keras_is_refused(activation: str, tmp_path: Path) -> None:
    image = layers.Input((*SIZE, 3))
    keras.Model(image, layers.Conv2D(4, 3, activation=activation)(image)).save(tmp_path / "m.keras")
    with pytest.raises(InputError, match=r"looks like a (segmenter or a detector|detector or a segmenter)"):
        import_model(tmp_path / "m.keras", tmp_path / "run", rescale="1/255")
