"""Copies without what identifies a person: nothing that is not listed gets through, wherever it stands."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.datadict import DicomDictionary, RepeatersDictionary
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRBigEndian
from tests.pacs import films
from tests.pacs.conftest import Called

from pellucid.data.folder import read_dataset
from pellucid.images.read import read_image
from pellucid.pacs.check import check_file, validators
from pellucid.pacs.deidentify import KEPT, SEQUENCES, Deidentifier, deidentify_files
from pellucid.pacs.encoding import to_bytes
from pellucid.pacs.source import UnusableFilm

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

KEY = b"a secret of some length"
SECRET = "Doe"
TEXTS = {"LO": SECRET, "SH": SECRET, "PN": f"{SECRET}^Jane", "LT": SECRET, "ST": SECRET, "UT": SECRET, "UC": SECRET}
OTHERS = {
    "DA": "19770707", "DT": "19770707101010", "TM": "071707.77", "AS": "077Y", "AE": SECRET, "UI": "1.2.77.77",
    "UR": SECRET, "OB": b"Doe Jane", "UN": b"Doe Jane", "CS": "DOE77",
}  # fmt: skip
MARKS = (b"Doe", b"19770707", b"0717", b"077Y", b"1.2.77.77", b"DOE77")


def filled(film: Dataset) -> Dataset:
    """The film with every element that the standard knows and that holds text, a date, a UID or bytes."""
    for number, (kind, _, _, _, keyword) in DicomDictionary.items():
        tag = Tag(number)
        allowed = keyword in KEPT or keyword in SEQUENCES or keyword in film or tag.group < 8
        value = {**TEXTS, **OTHERS}.get(kind)
        if not allowed and keyword and value is not None:
            film.add_new(tag, kind, value)
    for mask, (kind, _, _, _, keyword) in RepeatersDictionary.items():
        value = {**TEXTS, "OB or OW": b"Doe Jane", "OW": b"Doe Jane"}.get(kind)
        if value is not None and keyword.startswith(("Overlay", "Curve")):
            film.add_new(Tag(int(mask.replace("xx", "02"), 16)), kind.partition(" ")[0], value)
    return film


def nested(film: Dataset) -> Dataset:
    inner = filled(Dataset())
    for keyword in ("RequestAttributesSequence", "OtherPatientIDsSequence", "ReferencedImageSequence"):
        setattr(film, keyword, Sequence([inner]))
    for item in (film.ViewCodeSequence[0], film.AnatomicRegionSequence[0]):
        item.RequestAttributesSequence = Sequence([inner])
        item.PatientName = "Doe^Jane"
    block = film.private_block(0x0029, "DOE 1.0", create=True)
    block.add_new(1, "LO", "Doe^Jane")
    return film


def copied(film: Dataset, **options: Any) -> tuple[bytes, Dataset]:
    data = Deidentifier(KEY).film(to_bytes(film), **options).data
    return data, dcmread(io.BytesIO(data))


def test_nothing_that_is_not_listed_gets_through() -> None:
    film = films.film(0, 64, BurnedInAnnotation="NO", PatientName="Doe^Jane", StudyID="DOE77")
    original = to_bytes(nested(filled(film)))
    assert len([e for e in film]) > 1500
    assert all(mark in original for mark in MARKS)
    data, made = copied(film)
    assert not [mark for mark in MARKS if mark in data]
    assert str(film.StudyInstanceUID).encode() not in data
    assert made.PatientIdentityRemoved == "YES"
    assert made.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert (made.BodyPartExamined, made.ViewPosition) == ("CHEST", "PA")
    assert made.ViewCodeSequence[0].CodeValue == "399348003"


def test_nothing_that_stays_is_listed_as_identifying() -> None:
    """Table E.1-1 of the standard of 2026 as another project keeps it."""
    tables = pytest.importorskip("dicomanonymizer.dicomfields_selector")
    fields = tables.dicom_anonymization_database_selector("dicomfields_2026c")
    listed = {Tag(tag) for tags in fields.values() for tag in tags if len(tag) == 2}
    assert len(listed) > 600
    assert not {keyword for keyword in KEPT | SEQUENCES if Tag(keyword) in listed}


@pytest.mark.parametrize("number", range(8))
def test_the_picture_stays(number: int, tmp_path: Path) -> None:
    film = films.film(number, 128)
    _, made = copied(film)
    np.testing.assert_array_equal(made.pixel_array, dcmread(io.BytesIO(to_bytes(film))).pixel_array)
    path = films.save(made, tmp_path / "copy.dcm")
    np.testing.assert_array_equal(read_image(path).pixels, read_image(to_bytes(film)).pixels)
    assert made.file_meta.TransferSyntaxUID == film.file_meta.TransferSyntaxUID
    if not validators()["dciodvfy"]:
        assert not [r.text for r in check_file(path, only=["dciodvfy"]).remarks if r.error]


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("high", [11, 15])
def test_bits_that_hold_no_picture_are_cleaned(signed: int, high: int) -> None:
    values = np.random.default_rng(1).integers(0, 4096, (64, 64)).astype(np.uint16)
    spare = 0xA000 if high == 11 else 0x000A  # an overlay in the four bits that are left
    words = (values << (high - 11)).astype(np.uint16) | np.uint16(spare)
    look = films.LOOKS[0]
    changes = {"HighBit": high, "PixelRepresentation": signed, "PixelData": words.tobytes(), "Rows": 64, "Columns": 64}
    film = films.film(0, 64, look, **changes)
    data, made = copied(film)
    kept = np.frombuffer(made.PixelData, np.int16 if signed else np.uint16).reshape(64, 64)
    expected = values.astype(np.int32) - 4096 * (signed & (values >> 11).astype(np.int32))
    np.testing.assert_array_equal(kept, expected)
    assert made.HighBit == 11
    np.testing.assert_array_equal(read_image(data).pixels, read_image(to_bytes(film)).pixels)


def test_big_endian_films_stay_so() -> None:
    film = films.film(0, 64)
    film.PixelData = np.frombuffer(film.PixelData, "<u2").astype(">u2").tobytes()
    film.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    film.set_original_encoding(False, False)
    data, made = copied(film)
    assert made.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    np.testing.assert_array_equal(read_image(data).pixels, read_image(to_bytes(film)).pixels)


def test_what_belongs_together_still_does_and_only_by_the_key() -> None:
    one, two = films.film(0, 64), films.film(1, 64, PatientID="PH0000")
    nameless = films.film(2, 64, PatientID="")
    first, again = Deidentifier(KEY), Deidentifier(KEY)
    a, b, c = (first.film(to_bytes(f)) for f in (one, two, nameless))
    assert a.patient == b.patient != c.patient
    assert a.study != b.study
    assert again.film(to_bytes(one)) == a
    assert Deidentifier().film(to_bytes(one)).patient != a.patient
    assert first.film(to_bytes(films.film(3, 64, PatientID="PH0000", IssuerOfPatientID="other"))).patient != a.patient


@pytest.mark.parametrize(
    ("changes", "code"), [({"BurnedInAnnotation": "YES"}, "burned-in"), ({"PixelData": None}, "not-an-image")]
)
def test_what_a_copy_cannot_clean_is_refused(changes: dict[str, Any], code: str) -> None:
    film = films.film(0, 64, **changes)
    with pytest.raises(UnusableFilm) as caught:
        copied(film)
    assert caught.value.code == code
    if code == "burned-in":
        assert copied(film, burned_in=True)[1].BurnedInAnnotation == "YES"


def test_a_folder_becomes_a_list_with_groups(tmp_path: Path, cli: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(4):
        films.save(films.film(n, 64, PatientID=f"PH{n // 2}"), tmp_path / "in" / f"{n}.dcm")
    films.save(films.film(5, 64, BurnedInAnnotation="YES"), tmp_path / "in" / "5.dcm")
    monkeypatch.setenv("SECRET", "0123456789abcdef")
    asked = ("pacs", "deidentify", tmp_path / "in", "--key-variable", "SECRET", "--out")
    code, out, err = cli(*asked, tmp_path / "out", "--json")
    assert code == 1
    assert "--burned-in" in err
    assert len(json.loads(out)["files"]) == 4
    with (tmp_path / "out" / "films.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["PatientID"] for row in rows}) == 2
    listing = tmp_path / "out" / "labels.csv"
    with listing.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "label"])
        writer.writeheader()
        writer.writerows({**row, "label": "ab"[i % 2]} for i, row in enumerate(rows))
    dataset = read_dataset(listing)
    assert {s.group for s in dataset.samples} == {row["PatientID"] for row in rows}
    assert cli(*asked, tmp_path / "out")[0] == 2
    monkeypatch.setenv("SECRET", "short")
    code, _, err = cli(*asked, tmp_path / "other")
    assert (code, "less than 16" in err) == (2, True)
    assert len(deidentify_files([tmp_path / "in" / "5.dcm"], tmp_path / "third", burned_in=True).files) == 1
