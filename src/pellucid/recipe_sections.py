"""The sections of a recipe: their keys, ranges and what they mean."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from .recipe_anomaly import RecipeSection

Schedule = Literal["constant", "plateau", "one-cycle", "cosine"]


def _count_or_layer(freeze: Any) -> Any:
    if not isinstance(freeze, str) and not (type(freeze) is int and freeze >= 0):
        raise ValueError("must be none, all, half, a count of layers from the input on, or the name of a layer")
    return freeze


class DataSection(RecipeSection):
    """How images are read, fitted to the model's input and split."""

    size: int | tuple[int, int] = Field(default=224, description="input side in pixels, or [height, width]")
    fit: Literal["auto", "stretch", "crop", "pad"] = Field(
        default="stretch",
        description="how an image is fitted to the input; auto crops colour photographs of various shapes only",
    )
    crop_share: float = Field(default=1.0, gt=0.2, le=1.0, description="with crop: share of the short side kept")
    interpolation: Literal["bilinear", "bicubic"] = Field(
        default="bilinear", description="how images are resized; both are antialiased"
    )
    decode: Literal["draft", "full"] = Field(
        default="draft",
        description="draft decodes large JPEGs at a reduced size, which is faster; full decodes them as browsers do",
    )
    values: Literal["unit", "symmetric", "imagenet", "backbone"] = Field(
        default="unit",
        description="pixel values: 0..1, -1..1, ImageNet's mean and deviation, or what the backbone was trained with",
    )
    positive: str | None = Field(default=None, description="the positive class, where there are two")
    merge: dict[str, tuple[str, ...]] = Field(default_factory=dict, description="class = [folders merged into it]")
    group_by: str | None = Field(default=None, description="regular expression or CSV column that names the patient")
    leave_out: tuple[str, ...] = Field(default=(), description="classes that are left out")
    one_against_rest: str | None = Field(default=None, description="the class to tell from all others")
    path_column: str | None = Field(default=None, description="column of a CSV with the paths of the files")
    label_column: str | None = Field(
        default=None, description="column of a CSV with the classes, or several of 0 and 1 with commas between them"
    )
    images: str | None = Field(
        default=None, description="folder of the files that a CSV lists, where it is not its own"
    )
    hide: tuple[str, ...] = Field(
        default=(),
        description="what an audit accused, covered or exchanged in training images: RUN:concept-1, or a region",
    )
    validation: float = Field(default=0.15, ge=0.02, le=0.5, description="share carved from train where val is missing")
    test: float = Field(default=0.2, ge=0.02, le=0.5, description="share set apart where test is missing")

    @field_validator("size", mode="before")
    @classmethod
    def _sides(cls, size: Any) -> Any:
        sides = size if isinstance(size, (list, tuple)) and len(size) == 2 else (size,)
        if not all(type(side) is int and 8 <= side <= 4096 for side in sides):
            raise ValueError("must be one number of pixels, or [height, width], each from 8 to 4096")
        return size


class AugmentSection(RecipeSection):
    """Random changes to training images; each is drawn uniformly within the range given. 0 switches one off."""

    rotation: float = Field(default=0, ge=0, le=180, description="degrees to either side")
    shift: float = Field(default=0, ge=0, le=0.5, description="share of the side, either way")
    shear: float = Field(default=0, ge=0, le=0.5, description="share of the side, either way")
    zoom: float = Field(default=0, ge=0, le=0.5, description="share, in and out")
    flip: bool = Field(default=False, description="mirror left and right, half the time")
    brightness: float = Field(default=0, ge=0, le=0.5, description="share of the full range, either way")
    contrast: float = Field(default=0, ge=0, le=0.9, description="share, either way")
    gamma: float = Field(default=0, ge=0, le=0.9, description="values are raised to a power of 1, give or take this")
    blur: float = Field(default=0, ge=0, le=8, description="Gaussian blur of a deviation up to this many pixels")
    sharpness: float = Field(default=0, ge=0, le=4, description="detail is amplified or weakened by up to this share")
    equalize: float = Field(
        default=0, ge=0, le=1, description="share of images whose histogram is equalised, globally or locally (CLAHE)"
    )
    grain: float = Field(default=0, ge=0, le=0.5, description="deviation of added noise, up to this share of the range")
    erase: float = Field(default=0, ge=0, le=1, description="share of images with a rectangle erased")
    compression: float = Field(
        default=0, ge=0, le=0.95, description="JPEG compression at qualities from 100 down by this share"
    )

    @property
    def active(self) -> bool:
        """Whether anything is changed at all."""
        return self != AugmentSection()


class HiddenLayer(RecipeSection):
    """One hidden layer of the head."""

    dense: int = Field(ge=1, le=16384, description="number of units")
    activation: Literal["relu", "linear"] = Field(default="relu", description="what follows the units")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="share of units dropped while training")


class ModelSection(RecipeSection):
    """The network: a backbone, a pooling and a head that ends in the output layer."""

    backbone: str = Field(default="mobilenet_v2", description="`cnn`, or a torchvision or timm name")
    weights: str = Field(default="imagenet", description="`imagenet`, `none`, or a file (.safetensors, .pth)")
    filters: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(
        default=(32, 64, 128, 128), min_length=1, max_length=12, description="with cnn: filters of each block"
    )
    kernel: int = Field(default=3, ge=1, le=11, description="with cnn: side of the filters")
    batch_norm: bool = Field(default=False, description="with cnn: batch normalisation after each convolution")
    pool: Literal["average", "max", "flatten"] = Field(
        default="average", description="from the feature map to the head"
    )
    head: tuple[HiddenLayer, ...] = Field(default=(), description="hidden layers before the output layer")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="before the output layer")
    freeze: int | str = Field(
        default="none",
        description="`none`, `all` (the backbone), `half` of its layers, a number of layers, or the first that trains",
    )
    output_stride: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="pixels of the image along a cell of the last feature map, such as 16 for maps twice as fine as "
        "most backbones'; strides become dilations",
    )
    layer: str | None = Field(default=None, description="explained layer; found automatically when absent")
    layers: tuple[str, ...] = Field(default=(), description="further layers that can be explained")
    every_method: bool = Field(
        default=True, description="export what integrated gradients and ablation-cam need; false is faster and smaller"
    )

    @field_validator("freeze", mode="before")
    @classmethod
    def _count_or_name(cls, freeze: Any) -> Any:
        return _count_or_layer(freeze)


class TrainSection(RecipeSection):
    """The optimisation."""

    epochs: int = Field(default=20, ge=1, le=10000, description="passes over the training images, at most")
    least_steps: int = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="few images are passed over up to 4 times as often, towards this number of steps",
    )
    batch_size: int = Field(default=32, ge=1, le=4096, description="images per step; lower it when memory runs out")
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = Field(
        default="adam", description="sgd has a Nesterov momentum of 0.9"
    )
    learning_rate: float = Field(default=1e-3, gt=0, le=10, description="with one-cycle: the highest")
    weight_decay: float = Field(default=0.0, ge=0, le=1, description="decoupled with adamw, else an L2 penalty")
    schedule: Schedule = Field(
        default="constant",
        description="how the learning rate changes: one-cycle rises for a quarter, then falls; cosine falls to 0",
    )
    warmup: float = Field(default=0, ge=0, le=1000, description="epochs in which the rate rises from 0, linearly")
    plateau_factor: float = Field(default=0.5, gt=0, lt=1, description="with plateau: what the rate is multiplied by")
    plateau_patience: int = Field(default=2, ge=0, description="with plateau: epochs without improvement before that")
    patience: int = Field(default=5, ge=0, description="epochs without improvement before stopping; 0 never stops")
    monitor: Literal["val_loss", "val_accuracy", "val_roc_auc", "val_mae"] = Field(
        default="val_loss", description="what decides the best epoch, stopping and the plateau"
    )
    loss: Literal["auto", "mae", "mse"] = Field(
        default="auto", description="auto: cross-entropy, or mae for a regression"
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5, description="share of each label spread over all classes")
    class_weights: Literal["none", "balanced"] = Field(
        default="none", description="balanced: each class weighs the same in the loss, however few its images"
    )
    sampling: Literal["natural", "balanced"] = Field(
        default="natural", description="balanced: an epoch draws every class equally often, however few its images"
    )
    clip_gradient: float = Field(default=0.0, ge=0, description="largest norm; 0 switches it off")
    accumulate: int = Field(
        default=1, ge=1, le=1024, description="batches per step, where memory holds small ones only"
    )
    average: float = Field(
        default=0.0, ge=0, lt=1, description="decay of a running average of the weights, 0.99 say; 0: none"
    )
    freeze_norm: bool = Field(
        default=False, description="normalisation layers keep the statistics of the initial weights"
    )
    standardize: bool = Field(
        default=False,
        description="while the backbone is frozen, the head is trained on features of mean 0 and deviation 1",
    )
    precision: Literal["auto", "float32", "bf16"] = Field(default="auto", description="auto: bf16 where it is fast")
    cache: Literal["auto", "always", "never"] = Field(
        default="auto", description="keep what frozen layers give, so that they run once; auto: if it pays and fits"
    )
    cached_views: int = Field(default=4, ge=1, le=64, description="with that: augmented views of each image")


class FineTuneSection(RecipeSection):
    """A second stage of training, from the best weights of the first, with fewer layers frozen. 0 epochs: none."""

    epochs: int = Field(default=0, ge=0, le=10000, description="as train.epochs; 0: no second stage")
    least_steps: int = Field(default=0, ge=0, le=1_000_000, description="as train.least_steps")
    freeze: int | str = Field(default="none", description="as model.freeze, in this stage")
    learning_rate: float = Field(default=1e-4, gt=0, le=10, description="with one-cycle: the highest")
    schedule: Schedule = Field(default="cosine", description="as train.schedule")
    warmup: float = Field(default=0, ge=0, le=1000, description="as train.warmup")
    patience: int = Field(default=0, ge=0, description="as train.patience")
    enough: float = Field(
        default=0,
        ge=0,
        le=1,
        description="validation AUC of the first stage from which there is no second, or one pair of images short of "
        "it; 0: always one",
    )

    @field_validator("freeze", mode="before")
    @classmethod
    def _count_or_name(cls, freeze: Any) -> Any:
        return _count_or_layer(freeze)


class DecisionSection(RecipeSection):
    """From scores to answers, fitted to the validation images after the training."""

    operating_point: str = Field(
        default="0.5", description="threshold: a number, youden, sensitivity>=0.95, specificity>=0.9 or cost:fn=5,fp=1"
    )
    calibration: Literal["temperature", "platt", "none"] = Field(
        default="temperature", description="what makes probabilities mean what they say; platt is for two classes"
    )
    coverage: float = Field(
        default=0.95, ge=0, lt=1, description="share of images whose prediction set holds the true class; 0: no sets"
    )
    sets: Literal["lac", "aps", "raps"] = Field(
        default="lac", description="lac: the smallest sets; aps and raps: larger ones for images that are hard"
    )
    coverage_by: Literal["all", "class", "subgroup"] = Field(
        default="all", description="the coverage holds for all images together, for each class, or for each subgroup"
    )
    subgroup: str = Field(
        default="",
        description="subgroups: a column of the CSV, or a regular expression for the images' paths",
    )
    intervals: Literal["absolute", "normalised"] = Field(
        default="absolute",
        description="of a regression: all alike, or narrower where smaller errors are expected",
    )
    answer_only: str = Field(
        default="", description="which answers are given: errors<=0.02, fn<=0.01 or fp<=0.05; empty or all: every one"
    )
    reject: Literal["none", "unlike"] = Field(
        default="none", description="unlike: an unusual image is answered `none of these`"
    )
    other: str = Field(default="", description="folder of images outside all classes, to recognise such images by")


class PublishedFigure(RecipeSection):
    """A figure that somebody published for this task."""

    source: str = Field(description="who published it, and when")
    metrics: dict[str, float] = Field(description="by our metric names, as shares")
