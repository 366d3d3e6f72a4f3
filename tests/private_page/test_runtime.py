"""The runtime is found where it may lie, is checked, and is asked for in words that work."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from pellucid.errors import InputError
from pellucid.private_page import runtime
from pellucid.private_page.runtime import COMMAND, find_runtime

MODULE = (
    b"const a=1,b=2;const where=import.meta.url;export{a as InferenceSession,b as env};\n//# sourceMappingURL=x.map\n"
)
PROGRAM = b"\0asm program"


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of files that count as the runtime, an empty cache and an empty working folder."""
    data = dict(zip(runtime.FILES, (MODULE, PROGRAM), strict=True))
    monkeypatch.setattr(runtime, "FILES", {name: hashlib.sha256(value).hexdigest() for name, value in data.items()})
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    folder = tmp_path / "npm" / "node_modules" / "onnxruntime-web" / "dist"
    folder.mkdir(parents=True)
    for name, value in data.items():
        (folder / name).write_bytes(value)
    return tmp_path / "npm"


def packed(folder: Path, out: Path) -> Path:
    with tarfile.open(out, "w:gz") as archive:
        for name in runtime.FILES:
            data = (folder / "node_modules" / "onnxruntime-web" / "dist" / name).read_bytes()
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out


def test_it_is_read_once_and_kept(known: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=COMMAND):
        find_runtime()
    assert find_runtime(packed(known, tmp_path / "file.tgz")).program == PROGRAM
    assert find_runtime().program == PROGRAM


def test_folders_of_npm_are_known(known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_runtime(known).program == PROGRAM
    assert find_runtime(known / "node_modules" / "onnxruntime-web").program == PROGRAM
    monkeypatch.setenv("PELLUCID_CACHE", "")
    monkeypatch.chdir(known)
    assert find_runtime().program == PROGRAM


def test_another_version_is_refused(known: Path) -> None:
    path = known / "node_modules" / "onnxruntime-web" / "dist" / "ort-wasm-simd-threaded.wasm"
    path.write_bytes(b"another")
    with pytest.raises(InputError, match=r"not that of onnxruntime-web.*npm pack"):
        find_runtime(known)


def test_what_holds_no_runtime_is_refused(known: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.tgz").write_text("no archive")
    with pytest.raises(InputError, match="holds no onnxruntime-web"):
        find_runtime(tmp_path / "empty")
    with pytest.raises(InputError, match="not a package of npm"):
        find_runtime(tmp_path / "text.tgz")
    with pytest.raises(InputError, match="holds no onnxruntime-web"):
        find_runtime(tmp_path / "nowhere")


def test_its_script_has_no_module_syntax(known: Path) -> None:
    script = find_runtime(known).script
    assert "export{" not in script
    assert "import.meta" not in script
    assert "return {InferenceSession:a,env:b};" in script


def test_the_build_for_graphics_cards_is_asked_for_by_its_name(known: Path) -> None:
    assert find_runtime(known).program == PROGRAM
    with pytest.raises(InputError, match=f"graphics cards.*{COMMAND}"):
        find_runtime(graphics=True)
    with pytest.raises(InputError, match="holds no onnxruntime-web for graphics cards"):
        find_runtime(known, graphics=True)
