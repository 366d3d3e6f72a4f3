"""One page in two packagings: a folder for a static host, and a single file that opens from disk."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from .. import serving
from .markup import HERE, early_script, page, styles
from .packing import GRAPHICS, Part, csp_hash, short_hash
from .scripts import bundled

ICON = Path(serving.__file__).parent / "static" / "icon.svg"
COMMON = "default-src 'none'; img-src {own}blob: data:; base-uri 'none'; form-action 'none'; "
FIRST = ("facts", "worker", "runtime")
"""What a single file has before its script: with these the model's runtime starts while the rest is read."""

FOLDER_POLICY = COMMON.format(own="'self' ") + (
    "script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; worker-src 'self' blob:; connect-src 'self'; "
    "manifest-src 'self'"
)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a page is made of: its title, its parts, and the licences as files by name."""

    title: str
    parts: tuple[Part, ...]
    licences: dict[str, str]


def single_file(contents: Contents) -> bytes:
    """The page as one file: its policy allows no connection of any kind."""
    early, script, style = early_script(), bundled("alone.js"), styles()
    policy = COMMON.format(own="") + (
        f"script-src {csp_hash(early)} {csp_hash(script)} 'wasm-unsafe-eval'; style-src {csp_hash(style)}; "
        "worker-src blob:; connect-src 'none'"
    )
    icon = base64.b64encode(ICON.read_bytes()).decode("ascii")
    head = (
        f'<link rel="icon" href="data:image/svg+xml;base64,{icon}">\n<style>{style}</style>\n<script>{early}</script>\n'
    )
    first = [part.element for part in contents.parts if part.name in FIRST]
    rest = [part.element for part in contents.parts if part.name not in FIRST]
    foot = "".join([*first, f"<script>{_inline(script)}</script>\n", *rest])
    return page(title=contents.title, policy=policy, head=head, foot=foot).encode("utf-8")


def _inline(script: str) -> str:
    if "</script" in script.lower() or "<!--" in script:
        raise ValueError("the script cannot stand in a page as it is")
    return script


def write_folder(contents: Contents, folder: Path) -> None:
    """The page as files: everything but `index.html` and `sw.js` has a name that changes with its content."""
    files: dict[str, bytes] = {part.file: part.packed for part in contents.parts}
    names = {
        kind: _named(files, f"page.{kind}", text) for kind, text in (("js", bundled("alone.js")), ("css", styles()))
    }
    early = _named(files, "early.js", early_script())
    places = json.dumps({part.name: part.file for part in contents.parts})
    files["icon.svg"] = ICON.read_bytes()
    files["app.webmanifest"] = _webmanifest(contents.title).encode("utf-8")
    head = (
        '<link rel="icon" href="icon.svg" type="image/svg+xml">\n<link rel="manifest" href="app.webmanifest">\n'
        f'<link rel="stylesheet" href="{names["css"]}">\n<script src="{early}"></script>\n'
    )
    foot = f'<script type="application/json" id="places">{places}</script>\n<script src="{names["js"]}"></script>\n'
    files["index.html"] = page(title=contents.title, policy=FOLDER_POLICY, head=head, foot=foot).encode("utf-8")
    needed = {name: data for name, data in files.items() if not name.startswith(f"parts/{GRAPHICS}")}
    files["sw.js"] = _service_worker(needed).encode("utf-8")
    files["nginx.conf"] = (
        (HERE / "nginx.conf").read_text(encoding="utf-8").replace("POLICY", FOLDER_POLICY).encode("utf-8")
    )
    files |= {f"licences/{name}": text.encode("utf-8") for name, text in contents.licences.items()}
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def _named(files: dict[str, bytes], name: str, text: str) -> str:
    """Add a text under a name that holds its hash; the name."""
    data = text.encode("utf-8")
    stem, _, suffix = name.partition(".")
    files[full := f"{stem}-{short_hash(data)}.{suffix}"] = data
    return full


def _service_worker(files: dict[str, bytes]) -> str:
    """The service worker: the name of its store is a hash of everything in it."""
    whole = short_hash(
        b"".join(name.encode("utf-8") + short_hash(data).encode("ascii") for name, data in files.items())
    )
    text = (HERE / "sw.js").read_text(encoding="utf-8")
    return text.replace('"HASH"', json.dumps(whole)).replace("[FILES]", json.dumps(["./", *files], indent=1))


def _webmanifest(title: str) -> str:
    icons = [{"src": "icon.svg", "sizes": "any", "type": "image/svg+xml"}]
    shown = {"name": title, "short_name": title[:12], "start_url": "./", "display": "standalone", "icons": icons}
    return json.dumps(shown, ensure_ascii=False)
