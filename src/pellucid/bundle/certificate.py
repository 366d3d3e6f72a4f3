"""`engines.json`: what each engine and precision gains and loses for this model on this machine, as measured.

The file lies in the bundle, which lists its checksum. It stores figures only: whether a candidate is accepted follows
from them and from the tolerance every time it is read. It holds for the graph, the weights and the decision
(calibration, threshold, description of the training images) that it was measured with, on the same CPU and with the
same OpenVINO.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from ..classifier import Task
from ..documents import FiniteDocument
from ..errors import BundleError, InputError
from .manifest import MODEL, WEIGHTS, FileName, Manifest
from .runtimes import AUTO, REFERENCE_RUNTIME, ModelRuntime, check_available, runtime_named

CERTIFICATE = "engines.json"
NEVER_SLOWER, WORTH = 1.03, 0.95
"""An advised engine takes at most 1.03 of the time of ONNX Runtime in float32 in every way measured, and at most 0.95
of it in the way that it is advised for."""

Loss = Literal["decisions", "unusual images", "sets", "auc", "maps", "no evidence compared", "not a number"]


class Interval(FiniteDocument):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class Tolerance(FiniteDocument):
    """What may be lost: a share of decisions and flags, AUC, and the median map correlation."""

    decisions: float = Field(default=0.005, ge=0, le=1)
    auc: float = Field(default=0.002, ge=0)
    maps: float = Field(default=0.98, ge=-1, le=1)


class Speed(FiniteDocument):
    """Seconds per image: one explained image on one thread and on all cores, and in batches of 16 on all cores."""

    one_thread: float = Field(gt=0)
    all_cores: float = Field(gt=0)
    batch: float = Field(gt=0)


class Quality(FiniteDocument):
    """How far answers and maps lie from those of ONNX Runtime in float32, on `images` validation images.

    `probability` is the largest change of a probability (of an output for a regression), `mean` that on average.
    `decisions` and `unusual` are the shares of images whose answer, or whose warning as unusual, changed, and
    `uncovered` that of images whose class left the prediction set (or interval). `auc` is the paired difference of the
    AUC (of R2 for a regression). `loss` is the change of the mean cross-entropy under the kept calibration. `margin` is
    the largest change of the distance to the point at which the answer changes, in logits, and `outside_margin` that of
    an outside score. Of `maps` Grad-CAM maps: the median and least rank correlation, the share whose strongest cell
    moved, and the mean change of insertion minus deletion area; None for a black box. `near` is the share of answers
    that lie so near to where they change that they have a warning.
    """

    images: int = Field(ge=1)
    probability: float | None
    mean: float | None
    changed: int
    decisions: Interval
    unusual: Interval | None
    auc: Interval | None
    loss: float | None
    margin: float = Field(ge=0)
    outside_margin: float = Field(default=0.0, ge=0)
    uncovered: Interval | None = None
    near: float | None = None
    maps: int = 0
    correlation: float | None = None
    correlation_least: float | None = None
    moved: float | None = None
    faithfulness: Interval | None = None

    def losses(self, tolerance: Tolerance, evidence: bool) -> tuple[Loss, ...]:
        """What is lost beyond the tolerance, by intervals and the median map correlation; empty if accepted."""
        lost: list[Loss] = []
        if self.probability is None:
            return ("not a number",)
        if self.decisions.low > tolerance.decisions:
            lost.append("decisions")
        if self.unusual is not None and self.unusual.low > tolerance.decisions:
            lost.append("unusual images")
        if self.uncovered is not None and self.uncovered.low > tolerance.decisions:
            lost.append("sets")
        if self.auc is not None and self.auc.high < -tolerance.auc:
            lost.append("auc")
        if evidence and self.correlation is None:
            lost.append("no evidence compared")
        if self.correlation is not None and self.correlation < tolerance.maps:
            lost.append("maps")
        return tuple(lost)


class Candidate(FiniteDocument):
    """One runtime as measured; without `quality` it is the one that the others are compared with."""

    runtime: ModelRuntime
    speed: Speed
    quality: Quality | None = None
    graph: FileName | None = None

    @model_validator(mode="after")
    def _compared(self) -> Candidate:
        if (self.quality is None) != (self.runtime == REFERENCE_RUNTIME):
            raise ValueError("every runtime but ONNX Runtime in float32 has a quality")
        return self


class Untried(FiniteDocument):
    """A runtime that was not measured: `reason` is a code, `detail` what was raised."""

    runtime: ModelRuntime
    reason: Literal["not installed", "no units", "no training images", "failed"]
    detail: str = ""


class Machine(FiniteDocument):
    """Where it was measured."""

    cpu: str
    cores: int
    openvino: str | None = None
    onnxruntime: str

    @classmethod
    def here(cls) -> Machine:
        """The machine that this runs on."""
        import onnxruntime

        return cls(cpu=_cpu(), cores=os.cpu_count() or 1, openvino=_installed(), onnxruntime=onnxruntime.__version__)


class Certificate(FiniteDocument):
    """All candidates of a bundle on one machine; the first is ONNX Runtime in float32."""

    schema_version: int = 1
    created: str
    model: str
    decision: str
    machine: Machine
    tolerance: Tolerance = Tolerance()
    data: str
    images: int
    task: Task | None = None
    calibrated_on: int = 0
    evidence: bool = True
    candidates: tuple[Candidate, ...] = Field(min_length=1)
    untried: tuple[Untried, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> Certificate:
        if self.candidates[0].runtime != REFERENCE_RUNTIME:
            raise ValueError("the first candidate is ONNX Runtime in float32")
        return self

    def losses(self, candidate: Candidate) -> tuple[Loss, ...]:
        """What a candidate loses beyond the tolerance; empty when it is accepted."""
        return () if candidate.quality is None else candidate.quality.losses(self.tolerance, self.evidence)

    def find(self, runtime: ModelRuntime) -> Candidate | None:
        """The candidate of a runtime, if it was measured."""
        return next((c for c in self.candidates if c.runtime == runtime), None)

    def advised(self, *, one_thread: bool = False) -> Candidate:
        """The accepted candidate that is fastest on all cores, or on one thread, and slower than the first nowhere.

        On one thread only the time there counts: a program chooses that for passes side by side.
        """
        base = self.candidates[0]
        first = base.speed
        best = base
        for other in self.candidates[1:]:
            if self.losses(other):
                continue
            speed = other.speed
            pairs = [(speed.one_thread, first.one_thread)]
            if not one_thread:
                pairs = [(speed.all_cores, first.all_cores), (speed.batch, first.batch), *pairs]
            ratio = pairs[0][0] / pairs[0][1]
            held = best.speed.one_thread if one_thread else best.speed.all_cores
            if all(a <= NEVER_SLOWER * b for a, b in pairs) and ratio <= WORTH and pairs[0][0] < held:
                best = other
        return best


DECIDING = frozenset(
    {"classes", "preprocessing", "calibration", "threshold", "operating_point", "reference", "answering"}
)


def decision_digest(manifest: Manifest) -> str:
    """The sha256 of what turns an image's logits and features into its answer."""
    parts = manifest.model_dump(mode="json", include=set(DECIDING), exclude_none=True)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def model_digest(manifest: Manifest) -> str:
    """The sha256 of the checksums of graph and weights."""
    return hashlib.sha256(f"{manifest.files[MODEL]} {manifest.files[WEIGHTS]}".encode()).hexdigest()


def read_certificate(folder: Path, manifest: Manifest) -> Certificate | None:
    """The certificate of a bundle, or None without one.

    Raises BundleError for one that cannot be read, that the manifest does not list, or that is of another model.
    """
    path = folder / CERTIFICATE
    if CERTIFICATE not in manifest.files:
        if path.exists():
            raise BundleError(f"{path} is not among the files that the manifest lists. Run `pellucid optimise` again.")
        return None
    try:
        found = Certificate.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise BundleError(
            f"{path} is not a certificate of engines: {str(error).splitlines()[0]}. Run `pellucid optimise` again."
        ) from error
    if found.model != model_digest(manifest):
        raise BundleError(f"{path} is of another model. Run `pellucid optimise` again.")
    return found


def chosen_runtime(
    folder: Path, manifest: Manifest, engine: str, precision: str = "float32", threads: int | None = None
) -> tuple[ModelRuntime, Candidate | None]:
    """The runtime that is asked for, with its proof; `auto` takes the advised one of this machine.

    Raises InputError for a precision that is not proven for this model on this machine, or that was refused.
    """
    if engine == AUTO:
        return _advised(folder, manifest, precision, threads)
    runtime = runtime_named(engine, precision)
    check_available(runtime)
    if runtime.exact:
        return runtime, None
    certificate = read_certificate(folder, manifest)
    candidate = None if certificate is None else certificate.find(runtime)
    if certificate is None or candidate is None:
        raise InputError(
            f"{runtime.title} is not proven for this model: its figures were fitted to answers in float32. Run "
            "`pellucid optimise`, which measures what it gains and loses."
        )
    if certificate.decision != decision_digest(manifest):
        raise InputError(
            f"{runtime.title} was proven with another calibration, threshold or description of the training images "
            "than this bundle has now. Run `pellucid optimise` again."
        )
    here = Machine.here()
    if certificate.machine.cpu != here.cpu:
        raise InputError(
            f"{runtime.title} was proven on another CPU ({certificate.machine.cpu}) than this one ({here.cpu}), and "
            "rounds differently there. Run `pellucid optimise` here."
        )
    if certificate.machine.openvino != here.openvino:
        raise InputError(
            f"{runtime.title} was proven with OpenVINO {certificate.machine.openvino}, and {here.openvino} is "
            "installed. Run `pellucid optimise` again."
        )
    if lost := certificate.losses(candidate):
        raise InputError(
            f"{runtime.title} was refused for this model, because it loses more than the tolerance in: "
            f"{', '.join(lost)}. Use `precision='float32'`."
        )
    return runtime, candidate


def _advised(
    folder: Path, manifest: Manifest, precision: str, threads: int | None
) -> tuple[ModelRuntime, Candidate | None]:
    if precision != "float32":
        raise InputError("`engine='auto'` chooses the precision itself: leave `precision=` out.")
    certificate = read_certificate(folder, manifest)
    here = Machine.here()
    if certificate is None or certificate.decision != decision_digest(manifest):
        return REFERENCE_RUNTIME, None
    if (certificate.machine.cpu, certificate.machine.cores) != (here.cpu, here.cores):
        return REFERENCE_RUNTIME, None
    best = certificate.advised(one_thread=threads == 1)
    if best.runtime.engine == "openvino" and certificate.machine.openvino != here.openvino:
        return REFERENCE_RUNTIME, None
    return best.runtime, best


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        known = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        return f"{known['model name']} ({known.get('vendor_id', '')} {known.get('cpu family', '')}-{known['model']})"
    except (OSError, KeyError):
        return platform.processor() or platform.machine()


def _installed() -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("openvino")
    except PackageNotFoundError:
        return None
