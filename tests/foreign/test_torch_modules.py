"""Torch modules of a user's own: several outputs, one number for each image, recurrent layers, latent tokens."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import pellucid
from pellucid.errors import InputError
from pellucid.foreign.several_outputs import keep_one_answer

SIDE = 32
from_torch = partial(
    pellucid.from_torch,
    preprocessing=pellucid.Preprocessing(height=SIDE, width=SIDE),
    gives="logits",
    every_method=False,
)


class Own(nn.Module):
    """A body of convolutions and two heads; `answer` makes of the map and both heads' rows what the module gives."""

    def __init__(self, answer: Callable[..., Any], outputs: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
        self.first, self.second = nn.Linear(8, outputs), nn.Linear(8, 2)
        self.answer = answer

    def forward(self, image: torch.Tensor) -> Any:
        maps = self.body(image)
        pooled = maps.mean((2, 3))
        return self.answer(maps, self.first(pooled), self.second(pooled))


class Recurrent(nn.Module):
    """Columns of a map of convolutions as the steps of an LSTM: as many steps as a square of 4 by 4 has cells."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 8, 2, 2)
        self.steps = nn.LSTM(8, 6, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        steps, _ = self.steps(self.body(image).mean(2).transpose(1, 2))
        return self.head(steps[:, -1])


class Latents(nn.Module):
    """Latent tokens that ask the image, as in a Perceiver: 16 of them, and none of them is a part of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 8, 2, 2)
        self.latents = nn.Parameter(torch.randn(1, 16, 8))
        self.ask = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 3))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        cells = self.body(image).flatten(2).transpose(1, 2)
        found, _ = self.ask(self.latents.expand(len(cells), -1, -1), cells, cells)
        return self.head(found).mean(1)


def row_of(
    module: nn.Module, bundle: pellucid.Bundle, take: Callable[[Any], torch.Tensor]
) -> tuple[np.ndarray, np.ndarray]:
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    batch = bundle.preprocessing.tensors([pellucid.images.as_image(picture)])
    with torch.no_grad():
        truth = take(module.eval()(torch.from_numpy(batch))).numpy()
    return bundle.logits(batch), truth.reshape(1, -1)


@pytest.mark.parametrize(
    ("answer", "take"),
    [
        (lambda maps, a, b: (a, b), lambda out: out[0]),
        (lambda maps, a, b: {"age": b, "logits": a}, lambda out: out["logits"]),
        (lambda maps, a, b: [(maps, a)], lambda out: out[0][1]),
    ],
)
def test_of_several_outputs_the_row_of_the_classes_is_taken(answer: Any, take: Any) -> None:
    torch.manual_seed(0)
    module = Own(answer)
    bundle = from_torch(module, ["a", "b", "c"])
    found, truth = row_of(module, bundle, take)
    np.testing.assert_allclose(found, truth, atol=1e-5)
    assert bundle.manifest.layer.name.endswith("body.3")
    assert any("is the answer" in note for note in bundle.manifest.provenance["notes"])


def test_where_several_outputs_or_none_fit_the_shapes_are_said() -> None:
    with pytest.raises(
        InputError, match=r"\[0\] \(2,\), \[1\] \(2,\)\), of which 2 have one number for each of 2 classes.*forward"
    ):
        from_torch(Own(lambda maps, a, b: (b, b)), ["a", "b"])
    with pytest.raises(InputError, match=r"of which none has .* 4 classes"):
        from_torch(Own(lambda maps, a, b: (a, b)), list("abcd"))
    with pytest.raises(InputError, match="answers with str"):
        from_torch(Own(lambda maps, a, b: "cat"), ["a", "b"])


@pytest.mark.parametrize("squeeze", [lambda a: a.squeeze(-1), lambda a: a.squeeze(), lambda a: a[:, 0]])
def test_one_number_for_each_image_is_a_row_and_keeps_its_map(squeeze: Any) -> None:
    torch.manual_seed(0)
    module = Own(lambda maps, a, b: squeeze(a), outputs=1)
    bundle = from_torch(module, ["no", "yes"])
    found, truth = row_of(module, bundle, lambda out: out)
    np.testing.assert_allclose(found, truth, atol=1e-5)
    assert bundle.manifest.layer.name.endswith("body.3")


@pytest.mark.parametrize("make", [Recurrent, Latents])
def test_what_is_no_part_of_the_image_is_not_laid_out_on_it(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    bundle = from_torch(make(), ["a", "b", "c"])
    assert (bundle.manifest.layer.name, bundle.manifest.layer.height) == ("model.body", SIDE // 2)


def test_a_choice_by_the_values_of_an_image_is_refused_with_what_to_write() -> None:
    module = Own(lambda maps, a, b: a if a.mean() > 0 else -a)
    with pytest.raises(InputError, match=r"an `if` on a tensor.*torch\.where.*from_function"):
        from_torch(module, ["a", "b", "c"])


def test_a_module_with_one_row_has_no_hook() -> None:
    module = Own(lambda maps, a, b: a)
    assert keep_one_answer(module, 3, torch.zeros(2, 3, SIDE, SIDE)) == ()
    assert not module._forward_hooks
