"""Which columns of a table say that images belong together; in one that lists DICOM files, patient and study."""

from __future__ import annotations

from collections.abc import Sequence

from .table import GROUP_COLUMNS, key_of

PATIENT_KEYS, STUDY_KEYS = ("patientid", "patient_id"), ("studyinstanceuid", "study_instance_uid")


def study_columns(header: Sequence[str]) -> tuple[int, ...]:
    """The places of the columns that name patient and study, in this order, in a table with a StudyInstanceUID.

    Empty for any other table: only this name says that files of DICOM are listed.
    """
    keys = [key_of(name) for name in header]
    study = [keys.index(key) for key in STUDY_KEYS if key in keys]
    patient = [keys.index(key) for key in PATIENT_KEYS if key in keys]
    return (*patient[:1], *study[:1]) if study else ()


def group_of(row: Sequence[str], places: Sequence[int]) -> str:
    """The patient of a row; its study where the patient is not named; "" where neither is."""
    return next((row[place].strip() for place in places if place < len(row) and row[place].strip()), "")


def grouping_note(header: Sequence[str], places: Sequence[int]) -> str:
    """The sentence on what images are kept together by, or could be; "" where the table names no patient or object."""
    if places:
        named = ", or one ".join(header[place] for place in places)
        return f"Images of one {named} stay in one split; `group_by=` names another column."
    name = next((name for name in header if key_of(name) in GROUP_COLUMNS), None)
    return f"Images of one {name} may end up in two splits: `group_by='{name}'` keeps them together." if name else ""
