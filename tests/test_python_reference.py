"""The Python reference covers every public name, is up to date, and its examples run."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import pellucid

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
TEXT = (FOLDER / "python.md").read_text(encoding="utf-8")


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


EXAMPLES = module("python_examples").EXAMPLES


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the examples speak of."""
    import numpy as np
    import PIL.Image
    import torch

    from pellucid.data.phantom import generate_phantoms

    folder = tmp_path_factory.mktemp("examples")
    generate_phantoms(folder / "xrays", images=160, size=48)
    small = ["data.size=32", "train.epochs=1", "model.filters=[4, 8]", "model.head=[]"]
    pellucid.train(folder / "xrays", recipe="scratch-cnn", out=folder / "runs" / "xrays", overrides=small)
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)).save(folder / "new.png")
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 2),
        torch.nn.Softmax(dim=1),
    ).eval()
    image = torch.zeros(1, 3, 32, 32)
    torch.onnx.export(network, (image,), str(folder / "model.onnx"), dynamo=True, external_data=False, verbose=False)
    return folder


def test_every_public_name_has_an_example() -> None:
    assert set(EXAMPLES) == set(pellucid.__all__)
    for name in set(pellucid.__all__) - {"PellucidError"}:
        assert f"### pellucid.{name}\n" in TEXT or f"`pellucid.{name}`" in TEXT


def test_the_page_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    assert module("python_pages").python_api() == TEXT, "run make docs"
    sys.modules.pop("python_examples", None)


def test_public_names_say_what_they_take_and_raise() -> None:
    for name in ("load", "train", "evaluate", "import_model", "from_torch", "from_function", "load_recipe"):
        doc = getattr(pellucid, name).__doc__
        assert "aises" in doc, f"{name} does not say what it raises"


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_the_examples_run(
    name: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    block = re.search(rf"pellucid\.{name}\b.*?```python\n(?!{name}\()(.*?)```", TEXT, re.DOTALL)
    assert block is not None
    EXAMPLES[name]()
    assert capsys.readouterr().out.strip()
