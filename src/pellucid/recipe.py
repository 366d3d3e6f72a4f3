"""A recipe: everything that decides what is trained, as TOML that a person can read, copy and edit.

`load_recipe` takes a shipped name or a file, applies `key=value` overrides, refuses what it does not know and gives a
frozen `Recipe`; `Recipe.to_toml` writes it back so that a run can be repeated from its own folder.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import RecipeError, UnknownNameError, nearest
from .preprocessing import Preprocessing

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSection(_Section):
    """How images are read, fitted to the model's input and split."""

    size: int | tuple[int, int] = Field(default=224, description="input side in pixels, or [height, width]")
    fit: Literal["stretch", "crop", "pad"] = Field(default="stretch", description="how an image is fitted to the input")
    crop_share: float = Field(default=1.0, gt=0.2, le=1.0, description="with crop: share of the short side kept")
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    values: Literal["unit", "symmetric", "imagenet"] = Field(
        default="unit", description="pixel values: 0..1, -1..1, or ImageNet's mean and deviation"
    )
    positive: str | None = Field(default=None, description="the positive class, where there are two")
    merge: dict[str, tuple[str, ...]] = Field(default_factory=dict, description="class = [folders merged into it]")
    group_by: str | None = Field(default=None, description="regular expression or CSV column that names the patient")
    validation: float = Field(default=0.15, ge=0.02, le=0.5, description="share carved from train where val is missing")
    test: float = Field(default=0.2, ge=0.02, le=0.5, description="share set apart where test is missing")


class AugmentSection(_Section):
    """Random changes to training images; each is drawn uniformly within the range given. 0 switches one off."""

    rotation: float = Field(default=0, ge=0, le=180, description="degrees to either side")
    shift: float = Field(default=0, ge=0, le=0.5, description="share of the side, either way")
    shear: float = Field(default=0, ge=0, le=0.5, description="share of the side, either way")
    zoom: float = Field(default=0, ge=0, le=0.5, description="share, in and out")
    flip: bool = Field(default=False, description="mirror left and right, half the time")
    brightness: float = Field(default=0, ge=0, le=0.5, description="share of the full range, either way")
    contrast: float = Field(default=0, ge=0, le=0.9, description="share, either way")

    @property
    def active(self) -> bool:
        """Whether anything is changed at all."""
        return self != AugmentSection()


class Dense(_Section):
    """One hidden layer of the head."""

    dense: int = Field(ge=1, le=16384)
    activation: Literal["relu", "linear"] = "relu"
    dropout: float = Field(default=0.0, ge=0, lt=1)


class ModelSection(_Section):
    """The network: a backbone, a pooling and a head that ends in the output layer."""

    backbone: str = Field(default="mobilenet_v2", description="`cnn`, or a torchvision or timm name")
    weights: str = Field(default="imagenet", description="`imagenet`, `none`, or a file (.safetensors, .pth)")
    filters: tuple[int, ...] = Field(default=(32, 64, 128, 128), description="with cnn: filters of each block")
    kernel: int = Field(default=3, ge=1, le=11, description="with cnn: side of the filters")
    batch_norm: bool = Field(default=False, description="with cnn: batch normalisation after each convolution")
    pool: Literal["average", "max", "flatten"] = Field(
        default="average", description="from the feature map to the head"
    )
    head: tuple[Dense, ...] = ()
    dropout: float = Field(default=0.0, ge=0, lt=1, description="before the output layer")
    freeze: int | str = Field(default="none", description="`none`, `all` (the backbone), a count of layers, or a layer")
    layer: str | None = Field(default=None, description="explained layer; found by itself when absent")


class TrainSection(_Section):
    """The optimisation."""

    epochs: int = Field(default=20, ge=1, le=10000)
    batch_size: int = Field(default=32, ge=1, le=4096)
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0, le=10)
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    schedule: Literal["constant", "plateau", "one-cycle"] = "constant"
    plateau_factor: float = Field(default=0.5, gt=0, lt=1)
    plateau_patience: int = Field(default=2, ge=0)
    patience: int = Field(default=5, ge=0, description="epochs without improvement before stopping; 0 never stops")
    monitor: Literal["val_loss", "val_accuracy", "val_roc_auc", "val_mae"] = "val_loss"
    loss: Literal["auto", "mae", "mse"] = Field(
        default="auto", description="auto: cross-entropy, or mae for a regression"
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    class_weights: Literal["none", "balanced"] = "none"
    clip_gradient: float = Field(default=0.0, ge=0, description="largest norm; 0 switches it off")
    precision: Literal["auto", "float32", "bf16"] = Field(default="auto", description="auto: bf16 where it is fast")
    cached_views: int = Field(default=4, ge=1, le=64, description="with a frozen backbone: augmented views per image")


class PublishedFigure(_Section):
    """A figure that somebody published for this task."""

    source: str
    metrics: dict[str, float] = Field(description="by our metric names, as shares")


class Recipe(_Section):
    """A whole recipe."""

    name: str = "custom"
    description: str = ""
    task: Literal["classification", "regression"] = "classification"
    medical: bool = Field(default=False, description="pages carry the not-for-diagnosis notice")
    data: DataSection = DataSection()
    augment: AugmentSection = AugmentSection()
    model: ModelSection = ModelSection()
    train: TrainSection = TrainSection()
    published: tuple[PublishedFigure, ...] = ()

    @model_validator(mode="after")
    def _monitor_fits_task(self) -> Recipe:
        monitor = self.train.monitor
        if self.task == "regression" and monitor in {"val_accuracy", "val_roc_auc"}:
            raise ValueError(f"train.monitor = {monitor!r} needs classes; a regression has val_loss and val_mae")
        if self.task == "classification" and monitor == "val_mae":
            raise ValueError(
                "train.monitor = 'val_mae' is for a regression; take val_loss, val_accuracy or val_roc_auc"
            )
        return self

    def preprocessing(self) -> Preprocessing:
        """The preprocessing that this recipe's data section describes."""
        size = self.data.size
        height, width = (size, size) if isinstance(size, int) else size
        mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
        deviation: tuple[float, float, float] = (1.0, 1.0, 1.0)
        if self.data.values == "imagenet":
            mean, deviation = IMAGENET_MEAN, IMAGENET_DEVIATION
        elif self.data.values == "symmetric":
            mean, deviation = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
        return Preprocessing(
            height=height,
            width=width,
            fit=self.data.fit,
            crop_share=self.data.crop_share,
            interpolation=self.data.interpolation,
            mean=mean,
            deviation=deviation,
        )

    def to_toml(self) -> str:
        """The recipe as TOML that `load_recipe` reads back to an equal recipe."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def recipe_names() -> list[str]:
    """Names of the shipped recipes, sorted."""
    folder = resources.files("pellucid") / "recipes"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def recipe_text(name: str) -> str:
    """The TOML text of a shipped recipe; UnknownNameError when there is none of that name."""
    if name not in recipe_names():
        remedy = "`pellucid recipes` lists them; a path to a .toml file works too."
        raise UnknownNameError("recipe", name, recipe_names(), remedy)
    return (resources.files("pellucid") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a shipped recipe by name or a TOML file, with `section.key=value` overrides on top.

    Raises UnknownNameError for an unknown recipe, RecipeError for anything in it that is unknown or out of range.
    """
    path = Path(source)
    if path.suffix == ".toml" or path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"The recipe {path} cannot be read: {error}") from error
    else:
        text = recipe_text(str(source))
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"The recipe {source} is not valid TOML: {error}") from error
    for override in overrides:
        _apply(values, override)
    return validate_recipe(values, str(source))


def validate_recipe(values: Mapping[str, Any], source: str) -> Recipe:
    """Turn plain values into a Recipe; RecipeError lists every key that is wrong, with the nearest known name."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(f"Recipe {source}: " + "; ".join(_complaints(error))) from error


def known_keys() -> list[str]:
    """Every key that `--set` accepts, dotted."""
    keys: list[str] = []
    for name, field in Recipe.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, _Section):
            keys += [f"{name}.{key}" for key in kind.model_fields]
        else:
            keys.append(name)
    return keys


def _complaints(error: ValidationError) -> Iterable[str]:
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            near = nearest(key, known_keys())
            yield f"unknown key {key!r}" + (f" (did you mean {' or '.join(near)}?)" if near else "")
        elif key:
            yield f"{key} = {problem['input']!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}"
        else:
            yield problem["msg"].removeprefix("Value error, ")


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise RecipeError(f"--set {override!r}: write section.key=value, for example train.epochs=3")
    if not any(key == k or (k in {"data.merge"} and key.startswith(k + ".")) for k in known_keys()):
        raise UnknownNameError("recipe key", key, known_keys(), "`pellucid recipes show NAME` prints them.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *sections, last = key.split(".")
    target = values
    for section in sections:
        target = target.setdefault(section, {})
    target[last] = value
