"""pellucid: train, evaluate, explain, audit and serve image classifiers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

__all__ = [
    "Attribution",
    "Bundle",
    "PellucidError",
    "Prediction",
    "Preprocessing",
    "Recipe",
    "__version__",
    "evaluate",
    "from_function",
    "from_torch",
    "import_model",
    "load",
    "load_recipe",
    "train",
]

_HOMES = {
    "Attribution": "explanation.attribution",
    "Bundle": "bundle.bundle",
    "PellucidError": "errors",
    "Prediction": "classifier",
    "Preprocessing": "preprocessing",
    "Recipe": "recipe",
    "evaluate": "workflow.evaluation",
    "from_function": "bundle.function_classifier",
    "from_torch": "workflow.from_torch",
    "import_model": "workflow.importing",
    "load": "bundle.bundle",
    "load_recipe": "recipe",
    "train": "workflow.training",
}
_OTHER_NAMES = {"evaluate": "evaluate_run"}

if TYPE_CHECKING:
    from .bundle.bundle import Bundle, load
    from .bundle.function_classifier import from_function
    from .classifier import Prediction
    from .errors import PellucidError
    from .explanation.attribution import Attribution
    from .preprocessing import Preprocessing
    from .recipe import Recipe, load_recipe
    from .workflow.evaluation import evaluate_run as evaluate
    from .workflow.from_torch import from_torch
    from .workflow.importing import import_model
    from .workflow.training import train


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import pellucid` is fast."""
    if name not in _HOMES:
        raise AttributeError(f"module 'pellucid' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), _OTHER_NAMES.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
