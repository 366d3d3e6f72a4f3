"""Build the candidates, measure each, and keep the accepted ones with their certificate in the bundle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from ..._optional import require
from ...bundle.bundle import Bundle, ProvenRuntime, load, open_bundle
from ...bundle.certificate import (
    CERTIFICATE,
    Candidate,
    Certificate,
    Machine,
    Speed,
    Tolerance,
    Untried,
    decision_digest,
    model_digest,
)
from ...bundle.io import amend_bundle, read_bundle
from ...bundle.manifest import MANIFEST
from ...bundle.runtimes import REFERENCE_RUNTIME, ModelRuntime, check_available
from ...data.table import TableOptions
from ...errors import InputError, MissingDependencyError
from ...progress import Progress, Silent
from ..provenance import now
from .images import Compared, images_for
from .int8 import GRAPH, VALUES, quantised
from .quality import Answered, answered, quality
from .speed import speeds

CANDIDATES = (
    ModelRuntime(engine="openvino", precision="float32"),
    ModelRuntime(engine="openvino", precision="bfloat16"),
    ModelRuntime(engine="openvino", precision="int8"),
)


USUAL = Tolerance()


@dataclass
class _OpenCandidate:
    """A candidate that opened: its bundle on one thread and on all cores."""

    runtime: ModelRuntime
    one: Bundle
    every: Bundle
    graph: str | None = None
    said: Answered | None = field(default=None)


def optimise_run(
    run: Path,
    data: Path | None = None,
    *,
    tolerance: Tolerance = USUAL,
    seconds: float = 2.0,
    table: TableOptions | None = None,
    progress: Progress | None = None,
) -> Certificate:
    """Measure engines and precisions for a run or bundle on this machine, and keep the accepted ones in the bundle.

    Answers and maps are compared on the validation images of the run, or of `data`; int8 takes its ranges from training
    images. `seconds` is about the time for each measurement of speed. Raises DataError without labelled images.
    """
    progress = progress or Silent()
    base = load(run)
    images = images_for(run, base, data, table, progress)
    with TemporaryDirectory(prefix="pellucid-") as name:
        trials, untried, files = _candidates(base, images, Path(name), progress)
        with progress.bar("Measuring the speed") as advance:
            measured = speeds([(t.one, t.every) for t in trials], seconds=seconds, advance=advance)
        found = _compared(trials, measured, images, progress)
    certificate = Certificate(
        created=now(),
        model=model_digest(base.manifest),
        decision=decision_digest(base.manifest),
        machine=Machine.here(),
        tolerance=tolerance,
        data=images.source,
        images=len(images.pixels),
        task=base.task,
        calibrated_on=0 if images.training is None else len(images.training),
        evidence=base.manifest.layer is not None,
        candidates=tuple(found),
        untried=tuple(untried),
    )
    _keep(base.folder, certificate, files)
    return certificate


def _candidates(
    base: Bundle, images: Compared, scratch: Path, progress: Progress
) -> tuple[list[_OpenCandidate], list[Untried], dict[str, bytes]]:
    """The candidates that can be opened here, those that cannot, and the files that int8 needs."""
    trials = [_OpenCandidate(REFERENCE_RUNTIME, load(base.folder, threads=1), base)]
    untried: list[Untried] = []
    files: dict[str, bytes] = {}
    for runtime in CANDIDATES:
        with _or_untried(runtime, untried):
            _check(runtime)
            graph = base.folder / "model.onnx"
            if runtime.precision == "int8":
                if images.training is None:
                    untried.append(Untried(runtime=runtime, reason="no training images"))
                    continue
                progress.say(f"Quantising on {len(images.training)} training images.")
                files = quantised(base, images.training)
                for file, content in files.items():
                    (scratch / file).write_bytes(content)
                graph = scratch / GRAPH
            one, every = (
                open_bundle(base.folder, base.manifest, ProvenRuntime(runtime), t, graph=graph) for t in (1, None)
            )
            trials.append(_OpenCandidate(runtime, one, every, GRAPH if runtime.precision == "int8" else None))
    return trials, untried, files


def _check(runtime: ModelRuntime) -> None:
    check_available(runtime)
    if runtime.precision == "int8":
        require("nncf", extra="openvino")


@contextmanager
def _or_untried(runtime: ModelRuntime, untried: list[Untried]) -> Iterator[None]:
    """While open, an error means that the runtime is not tried, and why."""
    try:
        yield
    except MemoryError:
        raise
    except MissingDependencyError as error:
        untried.append(Untried(runtime=runtime, reason="not installed", detail=str(error)))
    except InputError as error:
        untried.append(Untried(runtime=runtime, reason="no units", detail=str(error)))
    except Exception as error:  # nncf and OpenVINO raise errors without a common base
        detail = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        untried.append(Untried(runtime=runtime, reason="failed", detail=detail))


def _compared(
    trials: list[_OpenCandidate], measured: list[Speed], images: Compared, progress: Progress
) -> list[Candidate]:
    """Every candidate with its speed and, but for the first, how far it lies from the first."""
    base: Answered | None = None
    found = []
    for trial, speed in zip(trials, measured, strict=True):
        with progress.bar(f"Comparing {trial.runtime.title}") as advance:
            said = answered(trial.every, images, advance, None if base is None else base.predicted)
        held = None if base is None else quality(base, said, images)
        base = base or said
        found.append(Candidate(runtime=trial.runtime, speed=speed, quality=held, graph=trial.graph))
    return found


def _keep(folder: Path, certificate: Certificate, files: dict[str, bytes]) -> None:
    """Write the certificate and, where int8 was accepted, its graph; what an earlier certificate kept goes."""
    accepted = any(c.graph and not certificate.losses(c) for c in certificate.candidates)
    kept = files if accepted else {}
    manifest = read_bundle(folder)
    if not accepted and manifest.files.keys() & {GRAPH, VALUES}:
        rest = {name: value for name, value in manifest.files.items() if name not in (GRAPH, VALUES)}
        text = manifest.model_copy(update={"files": rest}).model_dump_json(indent=2)
        (folder / MANIFEST).write_text(text, encoding="utf-8")
        for name in (GRAPH, VALUES):
            (folder / name).unlink(missing_ok=True)
    content = certificate.model_dump_json(indent=2).encode()
    amend_bundle(folder, {}, {**kept, CERTIFICATE: content + b"\n"})
