"""A Keras layer's settings, checked one by one, under the names of Keras 2 and 3."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...errors import InputError

# Keras 1's names.
RENAMED = {
    "nb_filter": "filters",
    "subsample": "strides",
    "border_mode": "padding",
    "bias": "use_bias",
    "output_dim": "units",
    "p": "rate",
    "concat_axis": "axis",
    "dim_ordering": "data_format",
    "alpha": "negative_slope",
}
MERGES = {"sum": "Add", "mul": "Multiply", "concat": "Concatenate", "ave": "Average", "max": "Maximum"}
# Layers that read a layout of channels first, or that do nothing with the layout once a model is trained.
ORDERLESS = {"Flatten", "SpatialDropout2D"} | {
    f"Random{change}"
    for change in ("Flip", "Rotation", "Zoom", "Translation", "Contrast", "Brightness", "Shear", "ColorJitter")
}
FORMATS = {"tf": "channels_last", "th": "channels_first", "default": "channels_last", None: "channels_last"}


class Settings:
    """The settings of one layer, and the `arguments` that it is called with beside its inputs.

    Each getter raises InputError, naming the layer, for a value that makes no sense.
    """

    def __init__(
        self, name: str, kind: str, values: Mapping[str, Any], version: str, arguments: Mapping[str, Any] | None = None
    ) -> None:
        self.name, self.kind, self.version, self.arguments = name, kind, version, arguments or {}
        self._values = {RENAMED.get(k, k): v for k, v in values.items()} | {k: v for k, v in values.items()}
        if "nb_row" in values:
            self._values["kernel_size"] = [values["nb_row"], values["nb_col"]]
        if self.layout() != "channels_last" and kind not in ORDERLESS:
            raise self.wrong("data_format", "channels_last, the layout of every image classifier for TensorFlow")

    def layout(self) -> str:
        """`channels_last`, `channels_first`, or what else the file says."""
        layout = self._values.get("data_format", "channels_last")
        return str(FORMATS.get(layout, layout))

    def wrong(self, key: str, wanted: str) -> InputError:
        """The error for a setting that cannot be taken."""
        return InputError(
            f"The layer {self.name!r} ({self.kind}) has {key} = {self._values.get(key)!r}; what can be read is "
            f"{wanted}."
        )

    def get(self, key: str, default: Any = None) -> Any:
        """The value as it is written."""
        value = self._values.get(key)
        return default if value is None else value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number."""
        value = self.get(key, default)
        if isinstance(value, dict) and "value" in value.get("config", {}):  # a NumPy number, as Keras 3 writes it
            value = value["config"]["value"]
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.wrong(key, "a finite number")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def whole(self, key: str, default: int | None = None, least: int = 1) -> int:
        """A whole number, at least `least`."""
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**31:
            raise self.wrong(key, f"a whole number of at least {least}")
        return value

    def pair(self, key: str, default: int | None = None, least: int = 1) -> tuple[int, int]:
        """Two whole numbers (vertical, horizontal); one stands for both."""
        value = self.get(key, default)
        both = list(value) if isinstance(value, list | tuple) else [value, value]
        if len(both) != 2 or any(isinstance(v, bool) or not isinstance(v, int) or not least <= v < 2**31 for v in both):
            raise self.wrong(key, f"two whole numbers of at least {least}")
        return both[0], both[1]

    def choice(self, key: str, default: str, known: tuple[str, ...]) -> str:
        """One of the words known."""
        value = self.get(key, default)
        if value not in known:
            raise self.wrong(key, " or ".join(known))
        return str(value)

    def axis(self, default: int = -1) -> int:
        """One axis, as Keras counts it: 0 is the images of a batch."""
        axes = self.axes(default=(default,))
        if axes is None or len(axes) != 1:
            raise self.wrong("axis", "one axis")
        return axes[0]

    def axes(
        self, *, default: tuple[int, ...] | None = (-1,), none: tuple[int, ...] | None = None
    ) -> tuple[int, ...] | None:
        """One axis or several; `none` stands for the value None, `default` for no setting at all."""
        value = self._values.get("axis", default)
        if value is None:
            return none
        several = list(value) if isinstance(value, list | tuple) else [value]
        if any(isinstance(v, bool) or not isinstance(v, int) or not -8 <= v <= 8 for v in several):
            raise self.wrong("axis", "axes by their numbers")
        return tuple(several)
