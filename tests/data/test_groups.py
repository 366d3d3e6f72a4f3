from pathlib import Path

import pytest

from pellucid.data.dataset import Dataset, Sample
from pellucid.data.folder import read_dataset
from pellucid.data.groups import assign_groups, suggest_group_pattern
from pellucid.errors import DataError


def dataset(paths: list[str], group: str = "") -> Dataset:
    return Dataset(Path("data"), ("a", "b"), tuple(Sample(p, i % 2, group=group) for i, p in enumerate(paths)))


@pytest.mark.parametrize(
    ("path", "pattern", "group"),
    [
        ("train/P/person12_bacteria_3.jpeg", r"person(\d+)|IM-(\d+)", "12"),
        ("train/N/NORMAL2-IM-0381-0001.jpeg", r"person(\d+)|IM-(\d+)", "0381"),
        ("train/N/other.jpeg", r"person(\d+)|IM-(\d+)", ""),
        ("site7/a/x.png", r"site(\d)", "7"),
        ("patient1/patient2.png", r"patient(\d)", "2"),
        ("a/IM-0007-2.png", r"IM-\d+", "IM-0007"),
        ("a/x7.png", r"(y)?x(\d)", "7"),
        ("a/\u60a3\u8005\u4e09_1.png", "(\u60a3\u8005.)", "\u60a3\u8005\u4e09"),
    ],
)
def test_group_is_the_first_capture_that_is_not_empty(path: str, pattern: str, group: str) -> None:
    assert assign_groups([path, "z/person99_IM-99_site9_patient9_x9_\u60a3\u8005\u4e5d.png"], pattern, [])[0] == group


def test_paths_without_a_group_are_counted() -> None:
    notes: list[str] = []
    assert assign_groups(["a/p1.png", "a/q.png"], r"p(\d)", notes) == ["1", ""]
    assert notes == [
        "`group_by=` matches no part of 1 of 2 paths, for example a/q.png: each of these is a group of its own."
    ]


def test_patterns_that_cannot_be_used() -> None:
    with pytest.raises(DataError, match="neither a regular expression"):
        assign_groups(["a/p1.png"], "p(", [])
    with pytest.raises(DataError, match=r"matches none of 1 paths, for example a/p1\.png"):
        assign_groups(["a/p1.png"], "z(.)", [])


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        ([f"a/patient{i // 3:04d}_{i % 3:02d}.png" for i in range(60)], r"^(patient\d+)"),
        ([f"a/scan_case-{i // 2}_{i}.png" for i in range(60)], r"(case-\d+)"),
        ([f"a/{i // 4:08d}_{i % 4:03d}.png" for i in range(60)], r"^(\d+)[-_ ]"),
        ([f"a/cat.{i}.jpg" for i in range(60)], None),
        ([f"{c}/IMG_{i:04d}.jpg" for i in range(30) for c in "ab"], None),
        ([f"a/exposure{i % 6}_{i}.jpg" for i in range(120)], None),
        ([f"a/{i * 7919:x}f.jpg" for i in range(60)], None),
        ([], None),
    ],
)
def test_a_pattern_is_suggested_where_names_repeat_within_a_folder(names: list[str], pattern: str | None) -> None:
    assert suggest_group_pattern(dataset(names)) == pattern


def test_nothing_is_suggested_where_groups_are_known() -> None:
    names = [f"a/patient{i // 3:04d}_{i % 3:02d}.png" for i in range(60)]
    assert suggest_group_pattern(dataset(names, group="x")) is None


def test_a_suggested_pattern_works_as_one() -> None:
    names = [f"a/p{i // 3}-{i}.png" for i in range(30)] + [f"a/scan p.{i // 3}_{i}.png" for i in range(30)]
    pattern = suggest_group_pattern(dataset(names))
    assert pattern is not None
    groups = assign_groups(names, pattern, [])
    assert len(set(groups)) == 20
    assert len(set(groups[:3])) == 1


def test_patients_of_the_pneumonia_set(shared_data: Path) -> None:
    """Bacteria and virus, IM and NORMAL2-IM are numbered apart: the numbers 808 and 211 occur in both."""
    plain = read_dataset(shared_data / "pneumonia")
    assert suggest_group_pattern(plain) == r"^(person\d+)|(IM-\d+)"
    assert any("`group_by='^(person" in note for note in plain.notes)
    exact = read_dataset(shared_data / "pneumonia", group_by=r"(person\d+_[a-z]+)|((?:NORMAL2-)?IM-\d+)")
    groups = {s.group for s in exact.samples}
    assert all(s.group for s in exact.samples)
    assert len(groups) == 1360 + 1090 + 518 + 701
    assert {"person1000_virus", "IM-0115", "NORMAL2-IM-1423"} <= groups


@pytest.mark.parametrize("name", ["flowers", "cats-dogs", "tiles", "ants-bees", "raccoon-kangaroo"])
def test_no_pattern_is_suggested_for_sets_without_patients(shared_data: Path, name: str) -> None:
    assert suggest_group_pattern(read_dataset(shared_data / name)) is None
