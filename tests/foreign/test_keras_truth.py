"""Keras itself as the second truth of an import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.foreign import keras_files
from tests.foreign.keras_files import images_for, keras, layers, randomise, write_old
from tests.old_keras import red_model

from pellucid.errors import InputError, ParityError
from pellucid.foreign import shapes
from pellucid.foreign.keras import truth
from pellucid.foreign.keras.container import read_keras_file
from pellucid.foreign.open import open_model
from pellucid.workflow.importing import import_model


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_keras_runs_the_same_file(suffix: str, tmp_path: Path) -> None:
    model = randomise(keras_files.mixed(33, 41))
    model.save(tmp_path / f"m.{suffix}")
    source = open_model(tmp_path / f"m.{suffix}")
    assert source.runtime == f"keras {keras.__version__}"
    assert source.original is not None
    pixels = images_for(model)
    ours = source.original(np.moveaxis(pixels, -1, 1))
    np.testing.assert_allclose(ours, model.predict(pixels, verbose=0), atol=1e-6)


def test_the_certificate_says_which_truth_it_was(tmp_path: Path) -> None:
    made = import_model(red_model(tmp_path / "m.h5"), tmp_path / "run", rescale="1/255", every_method=False)
    parity = made.manifest.parity
    assert parity is not None
    assert parity.runtime == f"keras {keras.__version__}, which reads files of Keras 2.4.0"


def test_without_keras_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truth.importlib.util, "find_spec", lambda name: None)
    source = open_model(red_model(tmp_path / "m.h5"))
    assert source.original is None
    assert "own reading of the file" in source.runtime


def test_a_wrong_reading_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were Flatten to keep torch's order, as a reader easily does, the import would not go through."""
    image = layers.Input((8, 8, 3))
    x = layers.Flatten()(layers.Conv2D(4, 3)(image))
    randomise(keras.Model(image, layers.Dense(2, activation="softmax")(x))).save(tmp_path / "m.keras")
    monkeypatch.setattr(shapes.Flatten, "forward", lambda self, values: values.flatten(1))
    with pytest.raises(ParityError, match=f"as keras {keras.__version__} runs it"):
        import_model(tmp_path / "m.keras", tmp_path / "run", rescale="1/255", every_method=False)
    assert not (tmp_path / "run").exists()


def test_an_activation_that_keras_3_changed_has_no_second_truth(tmp_path: Path) -> None:
    """Keras 3 reads a file of Keras 2, and computes hard_sigmoid otherwise than Keras 2 did."""
    layer = {"class_name": "Dense", "config": {"name": "d", "units": 2, "activation": "hard_sigmoid"}}
    start = {"class_name": "Flatten", "config": {"name": "f", "batch_input_shape": [None, 4, 4, 3]}}
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": [start, layer]}}
    arrays = [("d/kernel:0", np.ones((48, 2))), ("d/bias:0", np.zeros(2))]
    path = write_old(tmp_path / "m.h5", config, {"f": [], "d": arrays}, keras_version="2.4.0")
    assert truth.keras_original(path, read_keras_file(path)) is None


@pytest.mark.parametrize(
    "smuggled",
    [
        {"class_name": "get_file", "module": "keras.utils", "config": {"origin": "x"}},
        {"class_name": "function", "module": "builtins", "config": "eval", "registered_name": "function"},
        {"class_name": "Dense", "module": "keras_evil", "config": {}},
        {"class_name": "Dense", "module": "keras.layers", "config": {}, "registered_name": "Custom>Dense"},
        {"class_name": "__lambda__", "config": {"value": "x"}},
    ],
)
def test_only_known_classes_reach_keras(smuggled: dict[str, Any], tmp_path: Path) -> None:
    config = {"class_name": "Sequential", "config": {"layers": [], "extra": [smuggled]}}
    with pytest.raises(truth.UnknownContentError):
        truth.harmless(config)
    initialised = {"class_name": "Dense", "config": {"units": 1, "kernel_initializer": smuggled}}
    assert json.dumps(truth.harmless(initialised)) == '{"class_name": "Dense", "config": {"units": 1}}'


def test_a_call_with_training_is_refused_in_files_of_keras_2(tmp_path: Path) -> None:
    """There its answers depend on the rest of the batch; Keras 3 predicts without training whatever the call says."""
    start = {"class_name": "InputLayer", "name": "i", "config": {"name": "i", "batch_input_shape": [None, 4, 4, 3]},
             "inbound_nodes": []}  # fmt: skip
    norm = {"class_name": "BatchNormalization", "name": "n", "config": {"name": "n"},
            "inbound_nodes": [[["i", 0, 0, {"training": True}]]]}  # fmt: skip
    config = {"class_name": "Functional", "config": {"name": "m", "layers": [start, norm],
              "input_layers": [["i", 0, 0]], "output_layers": [["n", 0, 0]]}}  # fmt: skip
    arrays = [(f"n/{a}:0", np.ones(3)) for a in ("gamma", "beta", "moving_mean", "moving_variance")]
    with pytest.raises(InputError, match="called with training=True"):
        open_model(write_old(tmp_path / "m.h5", config, {"i": [], "n": arrays}, keras_version="2.4.0"))
