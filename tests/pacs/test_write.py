"""`pellucid pacs write` and `check`: what is refused, what is skipped, and what the command says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.pacs import films
from tests.pacs.conftest import CODES, Called, bundle_of

from pellucid.bundle.io import amend_bundle
from pellucid.errors import InputError, UnknownNameError
from pellucid.pacs.check import check_file
from pellucid.pacs.codes import class_code, read_codes
from pellucid.pacs.encoding import to_bytes
from pellucid.pacs.kinds import parse_kinds
from pellucid.pacs.source import UnusableFilm, read_source
from pellucid.pacs.write import open_origin

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::UserWarning:highdicom")


def test_a_folder_of_films_becomes_a_folder_of_results(run: Path, tmp_path: Path, cli: Called) -> None:
    for n in range(2):
        films.save(films.film(n, 128), tmp_path / "films" / f"{n}.dcm")
    (tmp_path / "films" / "notes.txt").write_text("no film", encoding="utf-8")
    (tmp_path / "codes.toml").write_text(CODES, encoding="utf-8")
    asked = ("pacs", "write", run, tmp_path / "films", "--out", tmp_path / "out", "--codes", tmp_path / "codes.toml")
    code, out, err = cli(*asked, "--json")
    document = json.loads(out)
    assert code == 1
    assert "notes.txt: The file is not a DICOM object" in err
    assert [f["kind"] for f in document["files"]] == ["sr", "region", "sc"] * 2
    assert all(Path(f["path"]).is_file() for f in document["files"])
    code, out, _ = cli("pacs", "check", tmp_path / "out", "--no-external")
    assert code == 0
    assert out.split()[-4:] == ["pellucid", "6", "0", "0"]


def test_check_finds_broken_objects(run: Path, tmp_path: Path, cli: Called) -> None:
    film = films.film(0, 128)
    origin = open_origin(run, None, research=False, threads=1)
    from pellucid.pacs.write import write_results

    done = write_results(origin, [films.save(film, tmp_path / "film.dcm")], tmp_path / "out", ["sr"])
    path = next(f.path for f in done.files if f.kind == "sr")
    broken = films.read(path)
    broken.SeriesDescription = "AI"
    del broken.PatientName
    del broken.CodingSchemeIdentificationSequence
    broken.CurrentRequestedProcedureEvidenceSequence = []
    broken.save_as(path)
    said = [r.text for r in check_file(path, only=()).remarks]
    assert len(said) == 4
    assert cli("pacs", "check", path, "--no-external")[0] == 1
    path.write_bytes(b"nothing")
    assert check_file(path).errors == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"StudyInstanceUID": None}, "no-uid"),
        ({"StudyInstanceUID": ""}, "no-uid"),
        ({"SeriesInstanceUID": None}, "no-uid"),
        ({"StudyInstanceUID": "../../etc"}, "bad-uid"),
        ({"Rows": None}, "not-an-image"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_films_that_cannot_be_filed_are_named(changes: dict[str, str | None], code: str) -> None:
    with pytest.raises(UnusableFilm) as caught:
        read_source(to_bytes(films.film(0, 128, **changes)))
    assert caught.value.code == code


@pytest.mark.parametrize("data", [b"", b"\x00" * 500, b"\x89PNG\r\n\x1a\n" + b"x" * 400])
def test_what_is_no_dicom_object_is_named(data: bytes) -> None:
    with pytest.raises(UnusableFilm) as caught:
        read_source(data)
    assert caught.value.code == "not-dicom"


def test_a_film_without_patient_elements_gets_empty_ones(run: Path, tmp_path: Path) -> None:
    gone = dict.fromkeys(("PatientID", "PatientBirthDate", "StudyID", "AccessionNumber", "ReferringPhysicianName"))
    source = read_source(to_bytes(films.film(0, 128, **gone)))
    identity = source.identity(None)
    assert all(identity[keyword].value in ("", None) for keyword in gone)


def test_a_film_without_a_date_needs_one(run: Path, tmp_path: Path, cli: Called) -> None:
    dates = [f"{stem}Date" for stem in ("Study", "Series", "Content", "Acquisition")]
    path = films.save(films.film(0, 128, **dict.fromkeys(dates)), tmp_path / "film.dcm")
    code, _, err = cli("pacs", "write", run, path, "--out", tmp_path / "out", "--kinds", "sr")
    assert code == 1
    assert "--at" in err
    code, _, err = cli("pacs", "write", run, path, "--out", tmp_path / "out", "--kinds", "sr", "--at", "2026-11-30")
    assert code == 0


def test_a_bundle_that_is_not_medical_or_not_measured_is_for_research_only(own_run: Path) -> None:
    open_origin(own_run, None, research=False)
    (own_run / "evaluation" / "metrics.json").unlink()
    with pytest.raises(InputError, match="no measured figures"):
        open_origin(own_run, None, research=False)
    amend_bundle(own_run / "model", {"medical": False})
    with pytest.raises(InputError, match="not marked as medical"):
        open_origin(own_run, None, research=False)
    open_origin(own_run, None, research=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense =", "not valid TOML"),
        ("clases = 1", "There is no key of a codes file named 'clases'. Did you mean classes"),
        ('region = ["1", "SCT"]', "a code is three texts"),
        ('region = ["12345678901234567", "SCT", "x"]', "longer than the 16"),
        ('[classes.opacity]\nfound = ["1", "SCT", "x"]', "needs the key finding"),
        ('[classes.opacty]\nfinding = ["1", "SCT", "x"]', "Did you mean opacity"),
    ],
)
def test_codes_that_are_none_are_named(run: Path, tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "codes.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        open_origin(run, path, research=False)


def test_a_missing_codes_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_codes(tmp_path / "none.toml")


def test_private_codes_fit_and_tell_names_apart() -> None:
    long = class_code("x" * 64)
    assert len(long.value) <= 16
    assert long.meaning == "x" * 64
    assert class_code("x" * 65).value != long.value
    assert class_code("a\\b").meaning == "a_b"


def test_names_of_kinds(tmp_path: Path) -> None:
    assert parse_kinds("sc, SR") == ("sr", "sc")
    with pytest.raises(UnknownNameError, match="Did you mean gsps"):
        parse_kinds("sr,gspss")
    with pytest.raises(InputError, match="names nothing"):
        parse_kinds(",")


def test_a_class_of_64_characters_is_written_whole(tmp_path: Path, cli: Called) -> None:
    folder = bundle_of(tmp_path / "b", ("normal", "o" * 64))
    path = films.save(films.film(0, 128), tmp_path / "film.dcm")
    code, _, err = cli("pacs", "write", folder, path, "--out", tmp_path / "out", "--kinds", "sr,sc,seg", "--research")
    assert code == 0, err
    for file in (tmp_path / "out").rglob("*.dcm"):
        assert check_file(file, only=("pellucid", "dciodvfy")).errors == 0
