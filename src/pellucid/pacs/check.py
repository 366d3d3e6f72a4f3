"""Whether objects keep pellucid's own rules, and what `dciodvfy` and PixelMed's validator say where installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .rules_of_objects import broken_rules

By = Literal["pellucid", "dciodvfy", "PixelMed"]
VALIDATORS: tuple[By, ...] = ("pellucid", "dciodvfy", "PixelMed")
JAVA_FOLDER = Path("/usr/share/java")
# The rules of TID 1500 are larger than what Java allows an XPath expression by default.
_LIMITS = [f"-Djdk.xml.{name}=0" for name in ("xpathTotalOpLimit", "xpathExprOpLimit", "xpathExprGrpLimit")]
_SECONDS = 180
_REPORTS = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.88\.")


@dataclass(frozen=True, slots=True)
class Remark:
    """One line of a check: who says it, whether it is an error, and what."""

    by: By
    error: bool
    text: str


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """The remarks on one file, and which validators looked at it."""

    path: Path
    remarks: tuple[Remark, ...]
    checked_by: tuple[By, ...]

    @property
    def errors(self) -> int:
        return sum(remark.error for remark in self.remarks)


def validators() -> dict[str, str]:
    """The external validators, and the reason for each that cannot run ("" for those that can)."""
    java = "" if shutil.which("java") else "java is not installed (apt-get install default-jre-headless)"
    jar = "" if list(JAVA_FOLDER.glob("pixelmed*.jar")) else "it is not installed (apt-get install libpixelmed-java)"
    tools = "" if shutil.which("dciodvfy") else "it is not installed (apt-get install dicom3tools)"
    return {"dciodvfy": tools, "PixelMed": jar or java}


def check_file(path: Path, *, only: Sequence[By] = VALIDATORS) -> CheckedFile:
    """Check one file by pellucid's rules, and by those of the validators in `only` that are installed.

    PixelMed's validator looks only at reports and key objects, and takes about ten seconds for each.
    """
    sop_class, broken = broken_rules(path)
    remarks = [Remark("pellucid", True, text) for text in broken]
    by: list[By] = ["pellucid"]
    missing = validators()
    if "dciodvfy" in only and sop_class and not missing["dciodvfy"]:
        remarks += _dciodvfy(path)
        by.append("dciodvfy")
    if "PixelMed" in only and _REPORTS.match(sop_class) and not missing["PixelMed"]:
        remarks += _pixelmed(path)
        by.append("PixelMed")
    return CheckedFile(path, tuple(remarks), tuple(by))


def _dciodvfy(path: Path) -> Iterator[Remark]:
    for line in _lines(["dciodvfy", "-new", str(path)]):
        kind, dash, text = line.partition(" - ")
        if dash and kind in ("Error", "Warning"):
            yield Remark("dciodvfy", kind == "Error", text)


def _pixelmed(path: Path) -> Iterator[Remark]:
    jars = [str(p) for p in sorted(JAVA_FOLDER.glob("*.jar")) if not re.search("slf4j|maven", p.name)]
    command = ["java", *_LIMITS, "-cp", ":".join(jars), "com.pixelmed.validate.DicomSRValidator", str(path)]
    complete = False
    for line in _lines(command):
        kind, colon, text = line.partition(": ")
        if colon and kind in ("Error", "Warning"):
            yield Remark("PixelMed", kind == "Error", text)
        complete = complete or line.strip() == "IOD validation complete"
    if not complete:
        yield Remark("PixelMed", True, "The validator did not come to its end.")


def _lines(command: list[str]) -> list[str]:
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return ["Error - the validator did not answer"]
    return (done.stdout + b"\n" + done.stderr).decode("utf-8", "replace").splitlines()
