"""The objects: valid by other people's validators, read by other people's libraries, and true to film and answer."""

from __future__ import annotations

import datetime
import io
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from scipy import ndimage
from tests.pacs import films
from tests.pacs.conftest import bundle_of

from pellucid.bundle.bundle import Bundle, load
from pellucid.classifier import REFER
from pellucid.images.read import read_image
from pellucid.pacs.captures import _line, compressed, drawn, overlaid
from pellucid.pacs.check import check_file, validators
from pellucid.pacs.codes import CodeTable
from pellucid.pacs.encoding import to_bytes
from pellucid.pacs.findings import Findings, connected_part, find, outline
from pellucid.pacs.key_objects import flagged, key_objects
from pellucid.pacs.kinds import GROUPS
from pellucid.pacs.make import make_results
from pellucid.pacs.objects import InstanceReference, Result
from pellucid.pacs.origin import SR_CLASSES, ResultOrigin
from pellucid.pacs.source import read_source
from pellucid.pacs.write import open_origin, write_results
from pellucid.reporting.overlay import display_limit, overlay

WHEN = datetime.datetime(2026, 11, 20, 10, 30, 5)
SHORT = [name for name in GROUPS if name != "ko"]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom", "ignore::UserWarning:highdicom")


def found(bundle: Bundle, film: Dataset, when: datetime.datetime = WHEN) -> Findings:
    data = to_bytes(film)
    return find(bundle, data, read_source(data), when)


def made(bundle: Bundle, origin: ResultOrigin, film: Dataset, kinds: list[str] | None = None) -> dict[str, Dataset]:
    results = make_results(found(bundle, film), origin, kinds or SHORT)
    return {result.kind: result.object for result in results}


def items(d: Dataset) -> dict[tuple[str, str], list[Dataset]]:
    """Content items by (value type, code of the name)."""
    listed: dict[tuple[str, str], list[Dataset]] = {}

    def walk(item: Dataset) -> None:
        name = item.get("ConceptNameCodeSequence")
        listed.setdefault((item.ValueType, name[0].CodeValue if name else ""), []).append(item)
        for inner in item.get("ContentSequence", ()):
            walk(inner)

    walk(d)
    return listed


@pytest.mark.skipif(bool(validators()["dciodvfy"]), reason="dciodvfy (dicom3tools) is not installed")
def test_forty_films_of_all_kinds_have_no_error_by_dciodvfy(run: Path, codes: CodeTable, tmp_path: Path) -> None:
    paths = [films.save(films.film(n, 128), tmp_path / "films" / f"{n:02}.dcm") for n in range(40)]
    origin = replace(open_origin(run, None, research=False, threads=1), codes=codes)
    done = write_results(origin, paths, tmp_path / "out", GROUPS)
    assert not done.skipped
    assert {f.kind for f in done.files} == {"sr", "region", "sc", "seg", "map", "gsps", "ko"}
    assert sum(f.kind == "sr" for f in done.files) == 40
    for file in done.files:
        checked = check_file(file.path, only=("pellucid", "dciodvfy"))
        assert not [r for r in checked.remarks if r.error], (file.kind, checked.remarks)


@pytest.mark.skipif(bool(validators()["PixelMed"]), reason=f"PixelMed: {validators()['PixelMed']}")
@pytest.mark.parametrize("sr", ["comprehensive-3d", pytest.param("enhanced", marks=pytest.mark.slow)])
def test_reports_and_key_objects_have_no_error_by_pixelmed(
    bundle: Bundle, codes: CodeTable, tmp_path: Path, sr: str
) -> None:
    origin = ResultOrigin(bundle, codes, sr)  # type: ignore[arg-type]
    findings = found(bundle, films.film(2, 128))
    results = make_results(findings, origin, ["sr"])
    if sr == "comprehensive-3d":
        results.append(Result("ko", key_objects([findings], origin)))
    else:
        results = results[:1]
    for result in results:
        path = tmp_path / f"{result.kind}.dcm"
        path.write_bytes(result.to_bytes())
        checked = check_file(path)
        assert "PixelMed" in checked.checked_by
        assert not [r for r in checked.remarks if r.error], checked.remarks
        assert str(result.object.SOPClassUID) == (SR_CLASSES[sr] if result.kind != "ko" else result.object.SOPClassUID)


def test_highdicom_reads_the_report_back(bundle: Bundle, origin: ResultOrigin, tmp_path: Path) -> None:
    film = films.film(2)
    objects = made(bundle, origin, film, ["sr"])
    prediction = found(bundle, film).prediction
    path = films.save(objects["sr"], tmp_path / "sr.dcm")
    report = highdicom.sr.srread(path)
    assert isinstance(report, highdicom.sr.Comprehensive3DSR)
    (group,) = report.content.get_image_measurement_groups()
    assert group.finding_type.value == "112001"
    assert group.finding_sites[0].value.value == "816094009"
    by_name = {m.name.value: m.value for m in group.get_measurements()}
    assert by_name["122157"] == prediction.probabilities["opacity"]
    assert by_name["122411"] == bundle.manifest.threshold
    assert by_name["outside-score"] == round(prediction.outside_score or 0, 4)
    said = {e.name.value: e.value.value for e in group.get_qualitative_evaluations()}
    assert said["112001"] == ("52101004" if prediction.label == "opacity" else "272519000")
    assert said["122422"] == "cal-temperature"
    assert said["unusual"] in ("373066001", "373067005")
    (source,) = group.source_images
    assert source.referenced_sop_instance_uid == film.SOPInstanceUID
    texts = [str(i.TextValue) for i in items(objects["sr"])["TEXT", "111002"]]
    assert f"bundle sha256 {origin.checksum}" in texts
    region = highdicom.sr.srread(films.save(objects["region"], tmp_path / "region.dcm"))
    (planar,) = region.content.get_planar_roi_measurement_groups()
    assert planar.roi.value.shape == (5, 2)


def test_highdicom_reads_segmentation_map_state_and_key_objects_back(
    bundle: Bundle, origin: ResultOrigin, tmp_path: Path
) -> None:
    film = films.film(0)
    findings = found(bundle, film)
    assert findings.attribution is not None
    objects = made(bundle, origin, film)
    segmentation = highdicom.seg.segread(films.save(objects["seg"], tmp_path / "seg.dcm"))
    mask = segmentation.get_pixels_by_source_instance([film.SOPInstanceUID], combine_segments=True)
    np.testing.assert_array_equal(mask[0] > 0, findings.region)
    values = highdicom.imread(films.save(objects["map"], tmp_path / "map.dcm"))
    np.testing.assert_array_equal(values.pixel_array, findings.attribution.values)
    state = films.read(films.save(objects["gsps"], tmp_path / "gsps.dcm"))
    drawn_line = state.GraphicAnnotationSequence[0].GraphicObjectSequence[0].GraphicData
    assert list(drawn_line) == outline(findings.region)
    listed = [findings, found(bundle, films.film(1, StudyInstanceUID=film.StudyInstanceUID))]
    document = highdicom.ko.KeyObjectSelectionDocument.from_dataset(key_objects(listed, origin))
    assert document.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.59"
    images = items(document)["IMAGE", ""]
    assert {i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in images} == {f.source.uid for f in listed}


def test_the_region_is_the_connected_part_above_half_of_the_peak(bundle: Bundle) -> None:
    findings = found(bundle, films.film(0))
    values = findings.attribution.values
    peak = np.unravel_index(values.argmax(), values.shape)
    reached, todo = np.zeros(values.shape, bool), [peak]
    while todo:
        r, c = todo.pop()
        inside = 0 <= r < values.shape[0] and 0 <= c < values.shape[1]
        if inside and not reached[r, c] and values[r, c] >= values.max() / 2:
            reached[r, c] = True
            todo += [(r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)]
    np.testing.assert_array_equal(findings.region, reached)


@pytest.mark.parametrize("share", [0.05, 0.4, 0.6, 0.7, 1.0])
@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (31, 40)])
def test_parts_are_those_that_scipy_labels(share: float, shape: tuple[int, int]) -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        mask = rng.random(shape) < share
        mask.flat[inside := int(rng.integers(mask.size))] = True
        labels = ndimage.label(mask)[0]
        np.testing.assert_array_equal(connected_part(mask, inside), labels == labels.flat[inside])


@pytest.mark.parametrize("number", range(len(films.LOOKS)))
def test_patient_and_study_keep_their_bytes(bundle: Bundle, origin: ResultOrigin, number: int) -> None:
    film = films.film(number)
    data = to_bytes(film)
    for kind, result in made(bundle, origin, film).items():
        again = films.dcmread(io.BytesIO(to_bytes(result)))
        assert again.get("SpecificCharacterSet") == film.get("SpecificCharacterSet"), kind
        assert str(again.PatientName) == films.LOOKS[number].name, kind
        for keyword in ("PatientID", "StudyInstanceUID", "AccessionNumber", "StudyDescription", "StudyDate"):
            assert again[keyword].value == film[keyword].value
        name = (
            str(films.LOOKS[number].name)
            .partition("^")[0]
            .encode(
                {"ISO_IR 100": "latin1", "ISO_IR 192": "utf8", "ISO_IR 144": "iso8859_5"}.get(
                    str(film.get("SpecificCharacterSet")), "ascii"
                ),
                "ignore",
            )
        )
        assert name in data
        assert name in to_bytes(result)
        assert int(result.SeriesNumber) > 9000
        assert result.Manufacturer == "pellucid"
        assert "not for diagnosis" in result.SeriesDescription


@pytest.mark.parametrize("number", [0, 3, 6, 7])
def test_a_class_beyond_the_films_letters_raises_all_to_utf_8(codes: CodeTable, tmp_path: Path, number: int) -> None:
    bundle = load(bundle_of(tmp_path / "b", ("正常", "結節" + "x" * 62), name="モデル"), threads=1)
    film = films.film(number, PatientComments="a\\b", ResponsiblePerson=films.LOOKS[number].name)
    for kind, result in made(bundle, ResultOrigin(bundle, CodeTable()), film).items():
        again = films.dcmread(io.BytesIO(to_bytes(result)))
        assert again.SpecificCharacterSet == "ISO_IR 192"
        assert str(again.PatientName) == str(again.ResponsiblePerson) == films.LOOKS[number].name, kind
        assert again.ManufacturerModelName == "モデル"
        if kind == "sr":
            meaning = items(again)["CODE", "121071"][0].ConceptCodeSequence[0].CodeMeaning
            assert meaning == "結節" + "x" * 62
            assert len(items(again)["CODE", "121071"][0].ConceptCodeSequence[0].CodeValue) <= 16


def test_the_same_film_and_bundle_give_the_same_bytes(run: Path, codes: CodeTable, tmp_path: Path) -> None:
    path = films.save(films.film(3), tmp_path / "film.dcm")
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        origin = replace(open_origin(run, None, research=False, threads=1), codes=codes)
        write_results(origin, [path], folder, GROUPS)
    first = sorted(p.relative_to(folders[0]) for p in folders[0].rglob("*.dcm"))
    assert first
    assert first == sorted(p.relative_to(folders[1]) for p in folders[1].rglob("*.dcm"))
    for name in first:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


@pytest.mark.parametrize("number", [0, 3, 6, 7])
def test_bytes_are_those_that_pydicom_writes(bundle: Bundle, origin: ResultOrigin, tmp_path: Path, number: int) -> None:
    film = films.film(number, 128)
    other = load(bundle_of(tmp_path / "b", ("正常", "結節"), name="モデル"), threads=1)
    for source in (origin, ResultOrigin(other, CodeTable())):
        findings = found(source.bundle, film)
        results = [*make_results(findings, source, SHORT), Result("ko", key_objects([findings], source))]
        for result in results:
            ours, expected = result.to_bytes(), io.BytesIO()
            result.object.set_original_encoding(False, True, result.object._character_set)
            dcmwrite(expected, result.object, enforce_file_format=True)
            assert ours == expected.getvalue(), result.kind


def test_another_bundle_or_code_gives_other_uids(bundle: Bundle, codes: CodeTable) -> None:
    film = films.film(0, 128)
    one, other = (made(bundle, ResultOrigin(bundle, table), film, ["sr"])["sr"] for table in (codes, CodeTable()))
    assert one.SOPInstanceUID != other.SOPInstanceUID


def test_an_inverted_film_gives_the_same_picture_and_the_inverse_state(bundle: Bundle, origin: ResultOrigin) -> None:
    plain, inverted = films.LOOKS[0], films.LOOKS[0]._replace(photometric="MONOCHROME1")
    one, two = (made(bundle, origin, films.film(1, look=look)) for look in (plain, inverted))
    np.testing.assert_array_equal(one["sc"].pixel_array, two["sc"].pixel_array)
    assert one["gsps"].PresentationLUTShape == "IDENTITY"
    assert two["gsps"].PresentationLUTShape == "INVERSE"


@pytest.mark.skipif(shutil.which("dcmp2pgm") is None, reason="dcmp2pgm (dcmtk) is not installed")
@pytest.mark.parametrize("number", [0, 1, 3])
def test_dcmtk_shows_the_film_under_the_state_as_pellucid_reads_it(
    bundle: Bundle, origin: ResultOrigin, tmp_path: Path, number: int
) -> None:
    film = films.save(films.film(number), tmp_path / "film.dcm")
    state = films.save(made(bundle, origin, films.read(film), ["gsps"])["gsps"], tmp_path / "state.dcm")
    subprocess.run(["dcmp2pgm", "-p", state, film, tmp_path / "shown.pgm"], check=True, capture_output=True)
    import PIL.Image

    shown = np.asarray(PIL.Image.open(tmp_path / "shown.pgm").convert("L"), np.float64)
    ours = read_image(film).pixels[..., 0].astype(np.float64)
    dark = np.abs(shown - ours) > 40  # the outline and the label
    assert dark.mean() < 0.15
    assert np.abs(shown - ours)[~dark].mean() < 2


def test_the_overlay_is_that_of_every_other_page(bundle: Bundle) -> None:
    findings = found(bundle, films.film(1))
    top = display_limit(findings.attribution)
    assert findings.limit == top
    for limit in (top, 3 * top, top / 2, 0.0):
        expected = overlay(findings.picture, findings.attribution, limit=limit)
        difference = np.abs(overlaid(findings.picture, findings.attribution, limit).astype(int) - expected)
        assert difference.max() <= 3  # the table has 255 steps of strength


def test_captures_compress_without_loss(bundle: Bundle, origin: ResultOrigin) -> None:
    pytest.importorskip("jpeg_ls")
    capture = made(bundle, origin, films.film(1, 128), ["sc"])["sc"]
    small = compressed(capture)
    assert small.SOPInstanceUID == capture.SOPInstanceUID
    assert len(to_bytes(small)) < len(to_bytes(capture)) / 2
    np.testing.assert_array_equal(films.dcmread(io.BytesIO(to_bytes(small))).pixel_array, capture.pixel_array)
    picture = drawn(found(bundle, films.film(1, 128)), origin)
    assert (picture.rows, picture.columns, 3) == capture.pixel_array.shape


@pytest.mark.parametrize(("width", "height"), [(320, 24), (512, 25), (1024, 51)])
def test_long_sentences_are_shown_whole(width: int, height: int) -> None:
    name = "Pneumonia with consolidation of the right lower lobe and effusion"[:64]
    text = f"Evidence for {name} is strongest in the lower left; half of it lies in 29 % of the image."
    rows = _line(text, width, height, (255, 255, 255)).max(axis=(1, 2))
    columns = _line(text, width, height, (255, 255, 255)).max(axis=(0, 2))
    assert not columns[-2:].any()
    assert rows[: height // 2 - 1].any()
    assert rows[height // 2 + 1 :].any()
    assert rows.min() == 0


@pytest.mark.parametrize(
    ("changes", "side"),
    [
        ({"BodyPartExamined": "CHEST"}, None),
        ({"BodyPartExamined": "KNEE"}, ""),
        ({"BodyPartExamined": "KNEE", "ImageLaterality": "R"}, "R"),
        ({"BodyPartExamined": None}, ""),
        ({"BodyPartExamined": "HAND", "Laterality": "L", "ImageLaterality": None}, "L"),
    ],
)
def test_the_side_is_told_where_it_must_be(
    bundle: Bundle, origin: ResultOrigin, changes: dict[str, str], side: str | None
) -> None:
    for kind, result in made(bundle, origin, films.film(0, 128, **changes)).items():
        expected = None if kind in ("sr", "region") else side
        assert result.get("Laterality") == expected, kind


def test_results_bear_the_time_in_the_zone_of_the_film(bundle: Bundle, origin: ResultOrigin) -> None:
    film = films.film(0, 128, TimezoneOffsetFromUTC="+0900")
    when = datetime.datetime(2026, 11, 20, 23, 30, tzinfo=datetime.timezone.utc)
    result = make_results(found(bundle, film, when), origin, ["sr"])[0].object
    assert (result.ContentDate, result.ContentTime) == ("20261121", "083000")
    assert result.TimezoneOffsetFromUTC == "+0900"
    plain = make_results(found(bundle, films.film(0, 128), when), origin, ["sr"])[0].object
    assert "TimezoneOffsetFromUTC" not in plain


def test_a_report_names_the_one_that_it_replaces(bundle: Bundle, origin: ResultOrigin) -> None:
    before = InstanceReference(SR_CLASSES["comprehensive-3d"], "2.25.1", "2.25.2", "2.25.3")
    results = make_results(found(bundle, films.film(0, 128)), origin, ["sr"], before={"sr": [before]})
    by_kind = {r.kind: r.object for r in results}
    (study,) = by_kind["sr"].PredecessorDocumentsSequence
    assert study.StudyInstanceUID == "2.25.2"
    assert study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.1"
    assert "PredecessorDocumentsSequence" not in by_kind["region"]


def test_several_classes_have_a_group_each(tmp_path: Path) -> None:
    bundle = load(bundle_of(tmp_path / "b", ("a", "b", "c")), threads=1)
    film = films.film(0, 128)
    result = made(bundle, ResultOrigin(bundle, CodeTable()), film, ["sr"])["sr"]
    groups = items(result)["CONTAINER", "125007"]
    assert len(groups) == 3
    prediction = found(bundle, film).prediction
    told = [g.ContentSequence[2].ConceptCodeSequence[0].CodeMeaning for g in groups]
    assert told[0] == prediction.label
    probabilities = [float(items(g)["NUM", "122157"][0].MeasuredValueSequence[0].FloatingPointValue) for g in groups]
    assert probabilities == [pytest.approx(prediction.probabilities[name]) for name in told]
    assert ("NUM", "122411") not in items(result)


def test_a_withheld_answer_is_indeterminate_and_its_set_is_told(bundle: Bundle, origin: ResultOrigin) -> None:
    findings = found(bundle, films.film(0, 128))
    prediction = findings.prediction
    assert prediction.decision is not None
    decision = replace(
        prediction.decision, outcome="refer", label=REFER, candidates=("opacity", "normal"), coverage=0.9
    )
    withheld = replace(findings, prediction=replace(prediction, label=REFER, decision=decision))
    result = {r.kind: r.object for r in make_results(withheld, origin, ["sr", "sc"])}["sr"]
    listed = items(result)
    assert listed["CODE", "112001"][0].ConceptCodeSequence[0].CodeValue == "82334004"
    assert listed["CODE", "outcome"][0].ConceptCodeSequence[0].CodeValue == "refer"
    assert [i.ConceptCodeSequence[0].CodeMeaning for i in listed["CODE", "candidate"]] == ["opacity", "normal"]
    assert float(listed["NUM", "coverage"][0].MeasuredValueSequence[0].FloatingPointValue) == 0.9
    assert flagged(withheld.prediction, bundle.manifest)
