"""The licences of everything that a page ships."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import onnxruntime

from .runtime import VERSION


def licence_texts() -> dict[str, str]:
    """Texts by file name: pellucid's, and the runtime's with the notices of what was built into it."""
    runtime = Path(onnxruntime.__file__).parent
    found = {"pellucid.txt": _own()}
    for name, file in (
        (f"onnxruntime-web-{VERSION}.txt", "LICENSE"),
        ("onnxruntime-notices.txt", "ThirdPartyNotices.txt"),
    ):
        path = runtime / file
        found[name] = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else MIT
    return found


def _own() -> str:
    """The licence that lies beside the program's own description, as it was installed."""
    for file in metadata.files("pellucid") or ():
        if file.name == "LICENSE":
            return Path(str(file.locate())).read_text(encoding="utf-8")
    return "pellucid is licensed under the Apache License, version 2.0: https://www.apache.org/licenses/LICENSE-2.0\n"


MIT = "onnxruntime is licensed under the MIT License, Copyright (c) Microsoft Corporation.\n"
