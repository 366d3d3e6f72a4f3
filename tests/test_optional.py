"""Optional libraries: there, not there, and there but broken."""

import sys

import pytest

from pellucid._optional import require
from pellucid.errors import MissingDependencyError


def test_gives_the_module_itself():
    assert require("json", "train") is sys.modules["json"]
    assert require("json.decoder", "train") is sys.modules["json.decoder"]


@pytest.mark.parametrize("module", ["no_such_library", "no_such_library.inner"])
def test_says_what_to_install(module):
    with pytest.raises(MissingDependencyError) as raised:
        require(module, "dicom")
    assert str(raised.value) == f"This needs {module}, which is not installed: pip install 'pellucid[dicom]'"


def test_a_library_that_lacks_something_itself_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "half_installed_library.py").write_text("import no_such_library_of_its_own\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_library_of_its_own") as raised:
        require("half_installed_library", "train")
    assert not isinstance(raised.value, MissingDependencyError)


def test_a_library_whose_name_begins_alike_is_not_mistaken_for_it(tmp_path, monkeypatch):
    (tmp_path / "torchlike.py").write_text("import torchlike_parts\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError) as raised:
        require("torchlike", "train")
    assert not isinstance(raised.value, MissingDependencyError)


def test_a_library_that_is_there_and_broken_is_named(tmp_path, monkeypatch):
    (tmp_path / "broken_library.py").write_text("raise ImportError('libfast.so: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        MissingDependencyError, match=r"cannot be loaded \(libfast\.so: .*pip uninstall broken_library"
    ) as raised:
        require("broken_library", "openvino")
    assert str(raised.value).endswith("then pip install 'pellucid[openvino]'")
