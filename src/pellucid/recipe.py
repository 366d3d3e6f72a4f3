"""A recipe: everything that decides what is trained, as TOML that a person can read, copy and edit.

`load_recipe` takes a shipped name or a file, applies `key=value` overrides, refuses what it does not know and gives a
frozen `Recipe`; `Recipe.to_toml` writes it back so that a run can be repeated from its own folder.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence, Set
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import Field, ValidationError, field_validator, model_validator

from .errors import RecipeError, UnknownNameError, nearest
from .preprocessing import Preprocessing
from .recipe_anomaly import AnomalySection, RecipeSection
from .recipe_sections import (
    AugmentSection,
    DataSection,
    DecisionSection,
    FineTuneSection,
    HiddenLayer,
    ModelSection,
    PublishedFigure,
    TrainSection,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


NETWORK = frozenset({"model.backbone", "model.weights", "data.size"})
"""What belongs together: a backbone, its weights, and the size that suits them."""


class Recipe(RecipeSection):
    """A whole recipe."""

    name: str = Field(default="custom", description="what the run calls its recipe")
    description: str = Field(default="", description="one sentence for the list of recipes")
    task: Literal["classification", "regression", "anomaly"] = Field(
        default="classification",
        description="regression: a score from 0 (first class) to 1 (second); anomaly: learn from normal images alone",
    )
    medical: bool = Field(default=False, description="pages carry the not-for-diagnosis notice")
    data: DataSection = Field(default=DataSection(), description="how images are read, fitted and split")
    augment: AugmentSection = Field(default=AugmentSection(), description="random changes to training images")
    model: ModelSection = Field(default=ModelSection(), description="the network")
    train: TrainSection = Field(default=TrainSection(), description="the optimisation")
    fine_tune: FineTuneSection = Field(default=FineTuneSection(), description="a second stage of training")
    decision: DecisionSection = Field(default=DecisionSection(), description="calibration and operating point")
    anomaly: AnomalySection = Field(default=AnomalySection(), description="what is anomalous, for that task")
    photographs: dict[str, Any] = Field(
        default_factory=dict,
        description="section.key = value, instead of the above where most images are in colour; what is chosen "
        "otherwise is left alone, and with the backbone, its weights or the size all three",
    )
    details: dict[str, Any] = Field(
        default_factory=dict,
        description="section.key = value, instead of the above where its changes of training images are found to hide "
        "what tells the classes apart; what is chosen otherwise is left alone",
    )
    published: tuple[PublishedFigure, ...] = Field(default=(), description="figures to be compared with")

    @field_validator("photographs", "details")
    @classmethod
    def _settings(cls, settings: dict[str, Any]) -> dict[str, Any]:
        unknown = [key for key in settings if key not in known_keys() or "." not in key]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not a setting of a section, such as data.size")
        return settings

    @model_validator(mode="after")
    def _train_fits_task(self) -> Recipe:
        train, monitor = self.train, self.train.monitor
        if self.task == "regression" and monitor in {"val_accuracy", "val_roc_auc"}:
            raise ValueError(f"train.monitor = {monitor!r} needs classes; a regression has val_loss and val_mae")
        if self.task == "classification" and monitor == "val_mae":
            raise ValueError(
                "train.monitor = 'val_mae' is for a regression; take val_loss, val_accuracy or val_roc_auc"
            )
        if self.task == "classification" and train.loss != "auto":
            raise ValueError(f"train.loss = {train.loss!r} is for a regression; a classification has auto")
        if self.task == "regression" and (train.label_smoothing or train.class_weights != "none"):
            raise ValueError("train.label_smoothing and train.class_weights need classes; a regression has neither")
        for name, stage in (("train", train), ("fine_tune", self.fine_tune)):
            if stage.epochs and stage.warmup >= stage.epochs:
                raise ValueError(f"{name}.warmup = {stage.warmup:g} must end before the {stage.epochs} epochs do")
        return self

    def for_photographs(self) -> Recipe:
        """The recipe with what it takes for colour photographs; RecipeError where that is out of range."""
        return self._with("photographs")

    def for_details(self) -> Recipe:
        """The recipe with what it takes for fine details; RecipeError where that is out of range."""
        return self._with("details")

    def _with(self, part: str) -> Recipe:
        """The recipe with the settings of a part, which is used up."""
        values = self.model_dump()
        for key, value in values.pop(part).items():
            section, _, last = key.partition(".")
            values[section][last] = value
        return validate_recipe(values, f"{self.name} for {part}")

    def chosen_by_hand(self, keys: Set[str]) -> Recipe:
        """The recipe whose settings for photographs and for details leave these keys alone.

        With a part of the network, those for photographs leave all of it alone.
        """
        left_alone = keys | NETWORK if keys & NETWORK else keys
        kept = {key: value for key, value in self.photographs.items() if key not in left_alone}
        details = {key: value for key, value in self.details.items() if key not in keys}
        return self.model_copy(update={"photographs": kept, "details": details})

    def preprocessing(self) -> Preprocessing:
        """The preprocessing of this recipe's data section; `fit = "auto"` counts as stretch until decided."""
        if self.data.values == "backbone":
            raise RecipeError("`data.values` = backbone is not decided yet: `settled_recipe` does it.")
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
            fit="stretch" if self.data.fit == "auto" else self.data.fit,
            crop_share=self.data.crop_share,
            interpolation=self.data.interpolation,
            decode=self.data.decode,
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
    """The TOML text of a shipped recipe; UnknownNameError for a name that is not shipped."""
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
    recipe = validate_recipe(values, str(source))
    recipe.for_photographs(), recipe.for_details()  # what is out of range in them is found now
    return recipe.chosen_by_hand({override.partition("=")[0].strip() for override in overrides})


def validate_recipe(values: Mapping[str, Any], source: str) -> Recipe:
    """Turn plain values into a Recipe; RecipeError lists every key that is wrong, with the nearest known name."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(f"Recipe {source}: " + "; ".join(_complaints(error))) from error


def same_recipe(before: bytes, now: bytes) -> bool:
    """Whether two recipe files mean the same: a key that an older version did not write has its default."""
    try:
        one, two = (validate_recipe(tomllib.loads(text.decode()), "") for text in (before, now))
    except (RecipeError, ValueError):
        return False
    return one == two


def known_keys() -> list[str]:
    """Every key that an override can set, dotted."""
    keys: list[str] = []
    for name, field in Recipe.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, RecipeSection):
            keys += [f"{name}.{key}" for key in kind.model_fields]
        else:
            keys.append(name)
    return keys


def _complaints(error: ValidationError) -> Iterable[str]:
    for problem in error.errors():
        key, said = ".".join(str(part) for part in problem["loc"]), problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            near = _near_keys(key)
            yield f"unknown key {key!r}" + (f" (did you mean {' or '.join(near)}?)" if near else "")
        elif problem["type"] == "missing":
            yield f"{key} is missing"
        elif key:
            yield f"{key} = {problem['input']!r}: {said[0].lower()}{said[1:]}"
        else:
            yield said


def _near_keys(key: str) -> list[str]:
    """The keys that an unknown one may have meant, by its last part: of its section, else of any."""
    if key in ("data.group", "data.grouping"):
        return ["data.merge"]
    section, _, last = key.rpartition(".")
    items: dict[str, type[RecipeSection]] = {"model.head": HiddenLayer, "published": PublishedFigure}
    kind, inside = items.get(section.rpartition(".")[0]), f"{section}."
    names = kind.model_fields if kind else [k.removeprefix(inside) for k in known_keys() if k.startswith(inside)]
    # Of two keys with one name the earlier is offered: train.epochs, not fine_tune.epochs.
    anywhere = {k.rpartition(".")[2]: k for k in reversed([*Recipe.model_fields, *known_keys()])}
    return [inside + name for name in nearest(last, names)] or [anywhere[name] for name in nearest(last, anywhere)]


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise RecipeError(f"Override {override!r}: write section.key=value, for example train.epochs=3")
    if not any(key == k or (k in {"data.merge"} and key.startswith(k + ".")) for k in known_keys()):
        raise UnknownNameError("recipe key", key, _near_keys(key), "`pellucid recipes show NAME` prints them.")
    *sections, last = key.split(".")
    target = values
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            raise RecipeError(f"Override {override!r}: {section} is not a section in this recipe but {target!r}")
    if text.strip():
        target[last] = toml_value(text)
    else:  # `--set data.positive=` takes a value out of the recipe: its default holds
        target.pop(last, None)


def toml_value(text: str) -> Any:
    """A value written as in TOML (`3`, `true`, `[1, 2]`, `'text'`); anything else is the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()
