from __future__ import annotations

import json
from pathlib import Path

import pytest

from pellucid.errors import InputError
from pellucid.workflow.class_names import as_class_names, read_class_names, split_class_names


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("0 Avalanche\n1 Snow, fresh\n2 No snow\n", ("Avalanche", "Snow, fresh", "No snow")),
        ("\ufeff0 Katze\r\n1 Hündin\r\n", ("Katze", "Hündin")),
        ("1: a\n2: b\n", ("a", "b")),
        ("cat\ndog, small\n\n", ("cat", "dog, small")),
        ("3 kings\nnobody\n", ("3 kings", "nobody")),
        (json.dumps(["a,b", "c"]), ("a,b", "c")),
        (json.dumps({"0": "no", "1": "yes"}), ("no", "yes")),
        (json.dumps({"yes": 1, "no": 0}), ("no", "yes")),
        (json.dumps({"id2label": {"1": "dog", "0": "cat"}, "hidden": 3}), ("cat", "dog")),
        (json.dumps({"labels": ["x", "y"], "modelName": "tm-my-image-model"}), ("x", "y")),
        ("\n".join(f"{i} c{i}" for i in range(11)), tuple(f"c{i}" for i in range(11))),
        ("\n".join(f"{i} c{i}" for i in reversed(range(11))), tuple(f"c{i}" for i in range(11))),
    ],
)
def test_files_as_other_programs_write_them(content: str, names: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(content, encoding="utf-8", newline="")
    assert read_class_names(path) == names
    assert as_class_names(path) == names
    assert as_class_names(str(path)) == names


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no class names"),
        (b"0 a\n2 b\n", "with gaps or twice"),
        (b"0 a\n0 b\n", "with gaps or twice"),
        (b"[1, 2]", "holds no class names"),
        (b'{"a": "b"}', "holds no class names"),
        (b'{"a": ', "no valid JSON"),
        (b"caf\xe9\n", "not a text in UTF-8"),
    ],
)
def test_files_that_are_none(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(InputError, match=said):
        read_class_names(tmp_path / "labels.txt")
    with pytest.raises(InputError, match="cannot be read"):
        read_class_names(tmp_path / "none.txt")


def test_names_with_commas_stand_in_quotes() -> None:
    assert split_class_names('"snow, fresh", none') == ("snow, fresh", "none")
    assert split_class_names(" no ,yes") == ("no", "yes")
    with pytest.raises(InputError, match="empty name"):
        as_class_names(split_class_names("a,,b"))
