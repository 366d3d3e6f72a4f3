"""Every explanation method by name, as literal rows. A new method is one function and one row.

A row's `run` takes (classifier, batch, target, score, settings) and returns Maps. `settings` is an instance of the
row's own frozen dataclass, whose defaults are the recommended values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from ..classifier import Classifier, Score, Target
from ..errors import InputError, UnknownNameError, nearest
from ..preprocessing import FloatArray, Uint8Array
from ..recipe import toml_value
from . import (
    ablation_cam,
    anomaly_map,
    cam,
    gradients,
    integrated_gradients,
    layered_cams,
    lime,
    occlusion,
    rise,
    saliency,
    score_cam,
    shap,
    smooth_grad,
)
from .cost import BACKWARD, LAYERED, USUAL_SIZE, Cost
from .lack import LAYER_NEEDS, Lack, ModelFacts, Needs, lack_of
from .maps import Maps
from .superpixels import Labels, cut

Family = Literal["anomaly", "cam", "gradient", "perturbation"]
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class NoSettings:
    """A method without settings."""


@dataclass(frozen=True, slots=True)
class Method:
    """One method. `signed` says whether its values can speak against a class, `unit` what a value is.

    `cost_of` gives the cost from the method's settings and the model's input size. `pieces` cuts an image (h, w, 3)
    into the superpixels that the method weighs, from its settings; None for a method without superpixels.
    """

    name: str
    family: Family
    needs: Needs
    run: Callable[[Classifier, FloatArray, Target, Score | None, Any], Maps]
    signed: bool
    unit: str
    cost_of: Callable[[Any, Size], Cost]
    reference: str
    avoid_when: str
    settings: type[Any] = NoSettings
    pieces: Callable[[Uint8Array, Any], Labels] | None = None

    @property
    def looks_at_layer(self) -> bool:
        """Whether the map comes from the explained layer, so that another layer can be chosen."""
        return self.needs in LAYER_NEEDS

    @property
    def per_pixel(self) -> bool:
        """Whether every pixel has its own value, as for gradients, rather than sharing that of a cell or superpixel."""
        return self.needs == "input gradients"

    def cost(self, settings: Any = None, size: Size = USUAL_SIZE) -> Cost:
        """The cost of one map of one image of `size` (height, width), by default with the default settings."""
        return self.cost_of(self.settings() if settings is None else settings, size)

    def lacking(self, model: ModelFacts) -> Lack | None:
        """What a model, by its manifest, lacks for this method; None when it can be explained by it."""
        return lack_of(self.name, self.needs, model)

    def check_layer(self, layer: str | None) -> None:
        """Raise InputError when a layer is named for a method that looks at none."""
        if layer is not None and not self.looks_at_layer:
            raise InputError(f"{self.name} looks at no layer, only at the image: leave out the layer {layer[:200]!r}.")


METHODS: tuple[Method, ...] = (
    Method(
        name="grad-cam",
        family="cam",
        needs="evidence",
        run=cam.explainer(cam.grad_cam, "grad-cam"),
        signed=True,
        unit="{score} per cell, linearised",
        cost_of=lambda _, size: Cost(1),
        reference="Selvaraju et al. 2017, arXiv:1610.02391",
        avoid_when="the layers behind the explained one care about position (a flattened map)",
    ),
    Method(
        name="grad-cam++",
        family="cam",
        needs="evidence",
        run=cam.explainer(cam.grad_cam_plus_plus, "grad-cam++"),
        signed=False,
        unit="{score} per cell, reweighted",
        cost_of=lambda _, size: Cost(1),
        reference="Chattopadhay et al. 2018, arXiv:1710.11063",
        avoid_when="evidence against matters, or the explained layer can be negative: its weights suppose a ReLU",
    ),
    Method(
        name="hirescam",
        family="cam",
        needs="evidence",
        run=cam.explainer(cam.hirescam, "hirescam"),
        signed=True,
        unit="{score} per cell, linearised",
        cost_of=lambda _, size: Cost(1),
        reference="Draelos & Carin 2020, arXiv:2011.08891",
        avoid_when="convolutions follow the explained layer: gradients of single cells are then noisy",
    ),
    Method(
        name="xgrad-cam",
        family="cam",
        needs="evidence",
        run=cam.explainer(cam.xgrad_cam, "xgrad-cam"),
        signed=True,
        unit="{score} per cell, linearised",
        cost_of=lambda _, size: Cost(1),
        reference="Fu et al. 2020, arXiv:2008.02312",
        avoid_when="the explained layer can be negative: it divides by the sum of a channel's activations",
    ),
    Method(
        name="layercam",
        family="cam",
        needs="evidence",
        run=cam.explainer(cam.layercam, "layercam"),
        signed=False,
        unit="{score} per cell, positive gradients only",
        cost_of=lambda _, size: Cost(1),
        reference="Jiang et al. 2021, doi:10.1109/TIP.2021.3089943",
        avoid_when="evidence against matters: what speaks against the class is dropped before it can cancel",
    ),
    Method(
        name="eigen-cam",
        family="cam",
        needs="evidence",
        run=cam.explainer(cam.eigen_cam, "eigen-cam"),
        signed=False,
        unit="activation along the first principal component",
        cost_of=lambda _, size: Cost(1),
        reference="Muhammad & Yeasin 2020, arXiv:2008.00299",
        avoid_when="a class is to be explained: the map is the same for every class and knows nothing of the decision",
    ),
    Method(
        name="score-cam",
        family="cam",
        needs="evidence",
        run=score_cam.score_cam,
        signed=False,
        unit="activation, averaged over channels",
        cost_of=lambda s, size: Cost(1 + s.channels, at_most=True),
        reference="Wang et al. 2020, arXiv:1910.01279",
        avoid_when="time is short, scores are large (one channel takes all the weight), or black itself is evidence",
        settings=score_cam.ScoreCamSettings,
    ),
    Method(
        name="ablation-cam",
        family="cam",
        needs="tail",
        run=ablation_cam.ablation_cam,
        signed=True,
        unit="{score} x activation",
        cost_of=lambda _, size: Cost(1, tail_per_channel=True),
        reference="Desai & Ramaswamy 2020, WACV, doi:10.1109/WACV45572.2020.9093360",
        avoid_when="channels stand in for one another: none is then missed alone",
        settings=ablation_cam.AblationCamSettings,
    ),
    Method(
        name="refine-cam",
        family="cam",
        needs="several layers",
        run=layered_cams.refine_cam,
        signed=False,
        unit="product over layers of shares of the largest evidence",
        cost_of=lambda _, size: Cost(LAYERED),
        reference="Domeniconi et al. 2026, arXiv:2605.14641",
        avoid_when="the evidence is in several places of unequal strength: a product favours the strongest",
        settings=layered_cams.RefineCamSettings,
    ),
    Method(
        name="winsor-cam",
        family="cam",
        needs="several layers",
        run=layered_cams.winsor_cam,
        signed=False,
        unit="weighted sum over layers of shares of the largest evidence",
        cost_of=lambda _, size: Cost(LAYERED),
        reference="Wall et al. 2025, arXiv:2507.10846",
        avoid_when="amounts matter: maps of layers are stretched before they are added",
        settings=layered_cams.WinsorCamSettings,
    ),
    Method(
        name="integrated-gradients",
        family="gradient",
        needs="input gradients",
        run=integrated_gradients.integrated_gradients,
        signed=True,
        unit="{score} per pixel",
        cost_of=integrated_gradients.cost_of,
        reference="Sundararajan et al. 2017, arXiv:1703.01365",
        avoid_when="the baseline is itself evidence (try several), or its error of completeness is large",
        settings=integrated_gradients.IntegratedGradientsSettings,
    ),
    Method(
        name="smooth-grad",
        family="gradient",
        needs="input gradients",
        run=smooth_grad.smooth_grad,
        signed=False,
        unit="{score} per grey level",
        cost_of=lambda s, size: Cost(1 + BACKWARD * s.samples),
        reference="Smilkov et al. 2017, arXiv:1706.03825",
        avoid_when="the direction matters: it shows where the score is sensitive, not what speaks for the class",
        settings=smooth_grad.SmoothGradSettings,
    ),
    Method(
        name="saliency",
        family="gradient",
        needs="input gradients",
        run=saliency.explainer(saliency.saliency, "saliency"),
        signed=False,
        unit="{score} per grey level",
        cost_of=lambda _, size: Cost(BACKWARD),
        reference="Simonyan et al. 2013, arXiv:1312.6034",
        avoid_when="a region is to be shown: single gradients are noisy, and small where the score has saturated",
        settings=gradients.GradientSettings,
    ),
    Method(
        name="gradient-x-input",
        family="gradient",
        needs="input gradients",
        run=saliency.explainer(saliency.gradient_x_input, "gradient-x-input"),
        signed=True,
        unit="{score} per pixel, linearised",
        cost_of=lambda _, size: Cost(BACKWARD),
        reference="Shrikumar et al. 2016, arXiv:1605.01713",
        avoid_when="pixels near the tensor's 0 (black, or the mean colour) may be evidence: they get almost none",
        settings=gradients.GradientSettings,
    ),
    Method(
        name="lime",
        family="perturbation",
        needs="probabilities",
        run=lime.lime,
        signed=True,
        unit="{score} per superpixel",
        cost_of=lambda s, size: Cost(1 + s.samples, at_most=True),
        reference="Ribeiro et al. 2016, arXiv:1602.04938",
        avoid_when="its R² is low: superpixels then act together, and no weighted sum is the score",
        settings=lime.LimeSettings,
        pieces=cut,
    ),
    Method(
        name="kernel-shap",
        family="perturbation",
        needs="probabilities",
        run=shap.kernel_shap,
        signed=True,
        unit="{score} per superpixel",
        cost_of=lambda s, size: Cost(1 + s.samples, at_most=True),
        reference="Lundberg and Lee 2017, arXiv:1705.07874",
        avoid_when="images with most of their parts replaced mean nothing to the model: half of its samples are such",
        settings=shap.ShapSettings,
        pieces=cut,
    ),
    Method(
        name="rise",
        family="perturbation",
        needs="probabilities",
        run=rise.rise,
        signed=True,
        unit="{score}, mean while visible minus overall mean",
        cost_of=lambda s, size: Cost(1 + s.samples, at_most=True),
        reference="Petsiuk et al. 2018, arXiv:1806.07421",
        avoid_when="what matters is much smaller than a mask's cell, a seventh of the side",
        settings=rise.RiseSettings,
    ),
    Method(
        name="occlusion",
        family="perturbation",
        needs="probabilities",
        run=occlusion.occlusion,
        signed=True,
        unit="{score} lost per hidden window",
        cost_of=occlusion.cost_of,
        reference="Zeiler and Fergus 2014, arXiv:1311.2901",
        avoid_when="the evidence is in several places, each of which would do",
        settings=occlusion.OcclusionSettings,
    ),
    Method(
        name=anomaly_map.NAME,
        family="anomaly",
        needs="anomaly map",
        run=anomaly_map.anomaly_map,
        signed=False,
        unit="distance from normal images",
        cost_of=lambda _, size: Cost(1),
        reference="Roth et al. 2022, arXiv:2106.08265",
        avoid_when="the reason for a distance is asked: it shows where an image is unusual, not in what way",
    ),
)


def usual_method(model: ModelFacts) -> str:
    """The method that is used where none is named."""
    return anomaly_map.NAME if model.task == "anomaly" else "grad-cam"


def method_names() -> list[str]:
    """Names of all methods, in the catalogue's order."""
    return [m.name for m in METHODS]


def find_method(name: str) -> Method:
    """The method of a name; UnknownNameError with the nearest names otherwise."""
    for method in METHODS:
        if method.name == name:
            return method
    raise UnknownNameError("explanation method", name, method_names(), "`pellucid methods` lists them.")


def settings_of(method: Method, given: Any = None, overrides: dict[str, Any] | None = None) -> Any:
    """A method's settings: `given`, or its defaults, with `overrides` by name.

    Raises InputError for settings of another method and for an unknown or unsuitable value.
    """
    if given is not None and not isinstance(given, method.settings):
        raise InputError(f"{method.name} takes {method.settings.__name__}, not {type(given).__name__}.")
    settings = method.settings() if given is None else given
    known = {f.name: f for f in fields(settings)}
    for name, value in (overrides or {}).items():
        if name not in known:
            near = nearest(name, known) or list(known)
            hint = f" It takes {', '.join(near)}." if near else " It takes none."
            raise InputError(f"{method.name} has no setting {name!r}.{hint}")
        wanted = type(getattr(settings, name))
        if not isinstance(value, wanted) and not (wanted is float and isinstance(value, int)):
            raise InputError(f"{method.name}: {name} must be of type {wanted.__name__}, not {value!r}.")
    return replace(settings, **(overrides or {}))


def parse_settings(name: str, texts: Sequence[str]) -> Any:
    """A method's settings with `key=value` texts on top of its defaults; values are read as TOML, else as they are.

    Raises UnknownNameError for an unknown method, InputError for a setting that it does not have or that does not fit.
    """
    overrides: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise InputError(f"The setting {text!r}: write key=value, for example samples=500.")
        overrides[key.strip()] = toml_value(value)
    return settings_of(find_method(name), overrides=overrides)
