"""Which films are answered, and what the configuration refuses."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.pacs import films

from pellucid.errors import InputError
from pellucid.pacs.config import Accept, read_config
from pellucid.pacs.rules import refusal, view_of

NO_PART = {"BodyPartExamined": None, "AnatomicRegionSequence": None, "SeriesDescription": "PA"}
TODAY = datetime.date(2026, 11, 30)


def header(**elements: Any) -> Dataset:
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def coded(value: str, meaning: str) -> Dataset:
    return header(CodeValue=value, CodingSchemeDesignator="SCT", CodeMeaning=meaning)


@pytest.mark.parametrize(
    ("elements", "view"),
    [
        ({"ViewPosition": "PA"}, "PA"),
        ({"ViewPosition": "LL"}, "LATERAL"),
        ({"ViewPosition": "LLO"}, ""),
        ({"ViewPosition": "", "SeriesDescription": "W033 Thorax p.a."}, "PA"),
        ({"SeriesDescription": "Thorax_ap_liegend"}, "AP"),
        ({"ProtocolName": "CHEST LAT"}, "LATERAL"),
        ({"AcquisitionDeviceProcessingDescription": "CHEST,PA"}, "PA"),
        ({"SeriesDescription": "Chest PA and LAT"}, ""),
        ({"PerformedProcedureStepDescription": "Chest 2 views", "PatientOrientation": ["A", "F"]}, "LATERAL"),
        ({"PatientOrientation": ["L", "F"]}, ""),
        ({"ViewCodeSequence": [coded("399348003", "postero-anterior")], "ViewPosition": "LL"}, "PA"),
        ({"ViewCodeSequence": [coded("x", "left lateral")]}, "LATERAL"),
        ({"SeriesDescription": "Lapland Pandemic"}, ""),
    ],
)
def test_the_view_wherever_a_vendor_puts_it(elements: dict[str, Any], view: str) -> None:
    assert view_of(header(**elements)) == view


@pytest.mark.parametrize(
    ("changes", "accept", "code"),
    [
        ({}, {}, None),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, {}, "sop-class"),
        ({"Manufacturer": "pellucid"}, {}, "derived"),
        ({"ImageType": ["DERIVED", "SECONDARY"]}, {}, "derived"),
        ({"ImageType": ["DERIVED", "PRIMARY"]}, {}, None),
        ({}, {"modalities": ["CR"]}, "modality"),
        ({"BodyPartExamined": "KNEE"}, {}, "body-part"),
        ({"BodyPartExamined": ""}, {}, None),  # AnatomicRegionSequence says Chest
        ({**NO_PART, "StudyDescription": "Knie"}, {}, "body-part"),
        ({**NO_PART, "StudyDescription": "Knie"}, {"unknown_body_part": "take"}, None),
        ({**NO_PART, "StudyDescription": "Thorax"}, {}, None),
        ({"BodyPartExamined": "KNEE"}, {"body_parts": []}, None),
        ({"ViewPosition": "", "ViewCodeSequence": None, "SeriesDescription": ""}, {}, "unknown-view"),
        ({"ViewPosition": "", "ViewCodeSequence": None, "SeriesDescription": ""}, {"unknown_view": "take"}, None),
        ({"StudyDate": "20200101"}, {}, "prior"),
        ({"StudyDate": "20200101"}, {"newest_days": 0}, None),
        ({"StudyDate": "20991231"}, {}, None),  # a modality whose clock is ahead
        ({"StudyDate": ""}, {}, None),
    ],
)
def test_films_are_left_out_with_a_code(changes: dict[str, Any], accept: dict[str, Any], code: str | None) -> None:
    film = films.film(0, 64, **changes)
    assert refusal(film, Accept.model_validate(accept), TODAY) == code


STORE = '[store]\nstow = "http://127.0.0.1:1/dicom-web"\n'
POLL = '[poll]\northanc = "http://127.0.0.1:1"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (STORE, "films come from nowhere"),
        (POLL, "store is missing"),
        (POLL + STORE + "retries = 3", "there is no key store.retries"),
        (POLL + '[store]\nstow = "ftp://x"', "is not an address"),
        (POLL + "[store]\nport = 4", "give one of stow and host"),
        ("[listen]\nport = 11112\ncallers = []\n" + STORE, "listen.callers"),
        ('[listen]\nport = 11112\ncallers = ["A NAME THAT IS TOO LONG"]\n' + STORE, "listen.callers"),
        ("[listen]\nport = 0\n" + STORE, "listen.port"),
        ('kinds = "pdf"\n' + POLL + STORE, "no kind of result named"),
        ("[poll]\nevery = 1\n" + STORE, "give one of orthanc and qido"),
        (POLL + STORE + '[accept]\nviews = ["XX"]', "accept.views"),
    ],
)
def test_a_wrong_configuration_names_its_key(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "pacs.toml"
    path.write_text('state = "state"\n' + text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_config(path)


def test_paths_start_at_the_file(tmp_path: Path) -> None:
    path = tmp_path / "pacs.toml"
    tls = '[poll.tls]\nca = "ca.pem"\n'
    path.write_text('state = "state"\ncodes = "c.toml"\n' + POLL + tls + STORE, encoding="utf-8")
    config = read_config(path)
    assert config.state == tmp_path / "state"
    assert config.codes == tmp_path / "c.toml"
    assert config.poll is not None
    assert config.poll.tls is not None
    assert config.poll.tls.ca == tmp_path / "ca.pem"
