"""What a training says of its data: classes of few images, and which recipe suits them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pellucid.data.dataset import Dataset, Sample
from pellucid.data.disjointness import Disjointness
from pellucid.recipe import load_recipe
from pellucid.workflow.preparing import Prepared, few_images


def prepared(counts: dict[str, int]) -> Prepared:
    samples = [
        Sample(f"{split}-{n}-{i}.png", i, split)
        for i, count in enumerate(counts.values())
        for split, most in (("train", count), ("val", 40))
        for n in range(most)
    ]
    dataset = Dataset(Path(), tuple(counts), tuple(samples))
    return Prepared(
        dataset, np.zeros((1, 8, 8, 3), np.uint8), np.zeros(len(samples), np.intp), Disjointness((), (), 0.0), ()
    )


@pytest.mark.parametrize(
    ("recipe", "advice"),
    [
        ("default", "set `fine_tune.epochs` to 0"),
        ("cats-dogs", "Training only the head, as this recipe does"),
        ("scratch-cnn", "use the recipe `default`"),
    ],
)
def test_classes_of_few_images_are_named_with_what_suits_them(recipe: str, advice: str) -> None:
    remark = few_images(prepared({"a": 9, "b": 10, "c": 0}), load_recipe(recipe))
    assert remark is not None
    assert remark.startswith("Fewer than 10 training images: a (9), c (0). ")
    assert advice in remark


def test_ten_images_of_each_class_are_enough_to_say_nothing() -> None:
    assert few_images(prepared({"a": 10, "b": 10}), load_recipe("default")) is None
