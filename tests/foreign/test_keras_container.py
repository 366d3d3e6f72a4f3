from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from tests.foreign.keras_files import layers, randomise, write_old

from pellucid.errors import InputError, PellucidError
from pellucid.foreign.keras.container import read_keras_file
from pellucid.foreign.keras.weights import snake_case
from pellucid.foreign.open import open_model

CONFIG = {
    "class_name": "Sequential",
    "config": {
        "name": "s",
        "layers": [
            {"class_name": "Flatten", "config": {"name": "flatten", "batch_input_shape": [None, 4, 4, 3]}},
            {"class_name": "Dense", "config": {"name": "dense", "units": 2, "activation": "softmax"}},
        ],
    },
}


def plain(path: Path) -> Path:
    arrays = [("dense/kernel:0", np.ones((48, 2))), ("dense/bias:0", np.zeros(2))]
    return write_old(path, CONFIG, {"flatten": [], "dense": arrays}, keras_version="2.4.0")


def external_link(path: Path) -> None:
    with h5py.File(plain(path), "a") as file:
        file["model_weights/more"] = h5py.ExternalLink("/etc/passwd", "/")


def soft_link(path: Path) -> None:
    with h5py.File(plain(path), "a") as file:
        file["model_weights/more"] = h5py.SoftLink("/model_weights/dense")


def virtual(path: Path) -> None:
    with h5py.File(plain(path), "a") as file:
        layout = h5py.VirtualLayout((48, 2), np.float32)
        layout[:] = h5py.VirtualSource("elsewhere.h5", "secret", (48, 2))
        del file["model_weights/dense/dense/kernel:0"]
        file.create_virtual_dataset("model_weights/dense/dense/kernel:0", layout)


def external_storage(path: Path) -> None:
    with h5py.File(plain(path), "a") as file:
        del file["model_weights/dense/dense/bias:0"]
        file.create_dataset("model_weights/dense/dense/bias:0", (2,), np.float32, external=[("/etc/passwd", 0, 8)])


def absurd_size(path: Path) -> None:
    with h5py.File(plain(path), "a") as file:
        del file["model_weights/dense/dense/kernel:0"]
        file.create_dataset("model_weights/dense/dense/kernel:0", (1 << 30, 16), np.float32, chunks=(1024, 16))


def not_numbers(path: Path) -> None:
    with h5py.File(plain(path), "a") as file:
        del file["model_weights/dense/dense/bias:0"]
        file["model_weights/dense/dense/bias:0"] = ["a", "b"]


def diverged(path: Path) -> None:
    with h5py.File(plain(path), "a") as file:
        file["model_weights/dense/dense/bias:0"][0] = np.nan


def weights_only(path: Path) -> None:
    with h5py.File(plain(path), "a") as file:
        del file.attrs["model_config"]


def cut_short(path: Path) -> None:
    data = plain(path).read_bytes()
    path.write_bytes(data[: len(data) // 2])


def damaged_description(path: Path) -> None:
    with h5py.File(plain(path), "a") as file:
        file.attrs["model_config"] = '{"class_name": '


def nested_too_deep(path: Path) -> None:
    with h5py.File(plain(path), "a") as file:
        file.attrs["model_config"] = '{"a":' + "[" * 20_000 + "]" * 20_000 + "}"


def theano(path: Path) -> None:
    with h5py.File(plain(path), "a") as file:
        file.attrs["backend"] = "theano"


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("/tmp/pellucid-was-here"),))


def a_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Bomb()))


def empty(path: Path) -> None:
    path.touch()


def text(path: Path) -> None:
    path.write_text("not a model")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (external_link, "an external link to another place"),
        (soft_link, "a link to another place"),
        (virtual, "stored in another file"),
        (external_storage, "stored in another file"),
        (absurd_size, "68,719,4"),
        (not_numbers, "no array of numbers"),
        (diverged, "no finite numbers"),
        (weights_only, "holds weights only"),
        (cut_short, "damaged or cut short"),
        (damaged_description, "damaged or cut short"),
        (nested_too_deep, "nested deeper"),
        (theano, "written with Theano"),
        (a_pickle, "a Python pickle, which can run code"),
        (empty, "it is empty"),
        (text, "no HDF5 file and no zip file"),
    ],
)
def test_hostile_and_damaged_files_are_refused_with_one_sentence(
    tmp_path: Path, make: Callable[[Path], None], said: str
) -> None:
    path = tmp_path / "best.model.h5"
    make(path)
    with pytest.raises(PellucidError) as caught:
        open_model(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path("/tmp/pellucid-was-here").exists()


def test_a_group_that_holds_itself_is_walked_once(tmp_path: Path) -> None:
    path = plain(tmp_path / "loop.h5")
    with h5py.File(path, "a") as file:
        file["model_weights/dense/again"] = file["model_weights"]
    assert [name for name, _ in read_keras_file(path).weights["dense"]] == ["dense/kernel:0", "dense/bias:0"]


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "."), data)
    return path


def test_zip_files_that_are_not_keras_or_lie(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not of Keras"):
        open_model(zipped(tmp_path / "a.keras", readme__txt=b"hello"))
    with pytest.raises(InputError, match="no model that is known"):
        open_model(zipped(tmp_path / "a.zip", readme__txt=b"hello"))
    bomb = zipped(
        tmp_path / "b.keras", config__json=json.dumps(CONFIG).encode(), **{"model.weights.h5": bytes(1 << 28)}
    )
    with pytest.raises(InputError, match="would unpack to 268,435,456 bytes"):
        open_model(bomb)
    whole = zipped(tmp_path / "c.keras", config__json=json.dumps(CONFIG).encode(), **{"model.weights.h5": b"\x89HDF"})
    with pytest.raises(InputError, match="damaged or cut short"):
        open_model(whole)
    data = whole.read_bytes()
    cut = tmp_path / "d.keras"
    cut.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="damaged or cut short"):
        open_model(cut)


def test_a_link_inside_a_keras_archive_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["layers"] = h5py.ExternalLink("/etc/passwd", "/")
    path = zipped(
        tmp_path / "a.keras", config__json=json.dumps(CONFIG).encode(), **{"model.weights.h5": buffer.getvalue()}
    )
    with pytest.raises(InputError, match="an external link"):
        open_model(path)


def test_a_lambda_of_keras_3_is_refused_by_name(tmp_path: Path) -> None:
    from tests.foreign.keras_files import keras

    model = keras.Sequential([layers.Input((4, 4, 3)), layers.Lambda(lambda x: x * 2, name="twice"), layers.Flatten()])
    for suffix in ("h5", "keras"):
        model.save(tmp_path / f"m.{suffix}")
        with pytest.raises(InputError, match="'twice' is a Lambda"):
            open_model(tmp_path / f"m.{suffix}")


def test_long_lists_of_names_are_read_from_several_attributes(tmp_path: Path) -> None:
    """Keras spreads names over `layer_names0`, `layer_names1`, ... where they exceed 64 kB."""
    path = plain(tmp_path / "m.h5")
    with h5py.File(path, "a") as file:
        group = file["model_weights"]
        del group.attrs["layer_names"]
        group.attrs["layer_names0"], group.attrs["layer_names1"] = [b"flatten"], [b"dense"]
    assert list(read_keras_file(path).weights) == ["flatten", "dense"]


@pytest.mark.parametrize(
    ("name", "group"),
    [("Conv2D", "conv2d"), ("BatchNormalization", "batch_normalization"), ("ReLU", "re_lu"), ("PReLU", "p_re_lu"),
     ("DepthwiseConv2D", "depthwise_conv2d"), ("GlobalMaxPooling2D", "global_max_pooling2d")],
)  # fmt: skip
def test_groups_are_named_as_keras_names_them(name: str, group: str) -> None:
    from keras.src.utils.naming import to_snake_case

    assert snake_case(name) == to_snake_case(name) == group


def test_counting_by_class_survives_a_gap(tmp_path: Path) -> None:
    """Layers of a class are numbered among themselves, also when a nested model stands between them."""
    from tests.foreign.keras_files import keras

    inner = keras.Sequential([layers.Input((6, 6, 4)), layers.Conv2D(4, 3, name="inside")], name="inner")
    outer = [layers.Input((8, 8, 3)), layers.Conv2D(4, 3, name="first"), inner, layers.Conv2D(5, 2, name="second")]
    model = randomise(keras.Sequential(outer))
    model.save(tmp_path / "m.keras")
    found = read_keras_file(tmp_path / "m.keras").weights
    for place, layer in (("layers/conv2d", outer[1]), ("layers/sequential/layers/conv2d", inner.layers[0]),
                         ("layers/conv2d_1", outer[3])):  # fmt: skip
        np.testing.assert_array_equal(found[place][0][1], keras.ops.convert_to_numpy(layer.kernel))
