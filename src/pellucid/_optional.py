"""Import an optional library, or say in one sentence what to install."""

from __future__ import annotations

import importlib
from typing import Any

from .errors import MissingDependencyError


def require(module: str, extra: str) -> Any:
    """Return the imported `module`; raise MissingDependencyError naming the `extra` that brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        message = f"This needs {module}, which is not installed: pip install 'pellucid[{extra}]'"
        raise MissingDependencyError(message) from error
    except ImportError as error:
        message = (
            f"{module} is installed but cannot be loaded ({error}). Remove it, and install it again: "
            f"pip uninstall {module}, then pip install 'pellucid[{extra}]'"
        )
        raise MissingDependencyError(message) from error
