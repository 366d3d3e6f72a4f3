"""The answers on disk: one Parquet file for each part of the plan, whole or absent.

Skipped items of a part are kept in the metadata of the same file, so that a part accounts for all of its items or does
not exist.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...classifier import Decision, gives_score
from ...errors import InputError
from ...files import cells, write_whole
from .job import BatchRecord
from .plan import Plan
from .tables import open_parquet, read_columns
from .work import Answer, AnswerRow, Skip

if TYPE_CHECKING:
    import pyarrow as pa

SKIPPED = "skipped.csv"
_KEY = b"pellucid.part"


def part_path(out: Path, part: int) -> Path:
    """The path of a part."""
    return out / f"part-{part:06d}.parquet"


def schema_of(job: BatchRecord) -> pa.Schema:
    """The columns of a part.

    `index` counts the images of the source from 0; `sha256` is that of the image's bytes. `class` is the most probable
    class, `decision` what is answered (the `label` of `predict --json`), `confidence` the probability of the class at
    the operating point, `p_<class>` each probability; a regression has `output` instead of these. `outside_score` is
    the distance to the training images divided by the distance that gives a warning (null for a model without
    reference). For a bundle with rules of answering, `outcome` is `answer`, `none` or `refer`, `predicted` the class at
    the operating point, `set` the prediction set (null without one), `reasons` the codes of why no class is answered;
    a regression has `interval_low` and `interval_high`. `seconds` is the time on one core. With an explanation, `map`
    is the raw map of `map_target`, row by row (its shape and position are in `job.json`).
    """
    import pyarrow as pa

    small, words = pa.float32(), pa.dictionary(pa.int32(), pa.string())
    columns = [("index", pa.int64()), ("path", pa.string()), ("sha256", pa.string())]
    columns += [("class", words), ("decision", words)]
    if gives_score(job.task):
        columns += [("output", small)]
    else:
        columns += [("confidence", small), *((f"p_{name}", small) for name in job.classes)]
    columns += [("outside_score", small), ("warnings", pa.list_(pa.string())), ("seconds", small)]
    if job.answering:
        columns += [("outcome", words), ("predicted", words), ("set", pa.list_(pa.string()))]
        columns += [("reasons", pa.list_(pa.string()))]
        if job.task == "regression":
            columns += [("interval_low", small), ("interval_high", small)]
    if job.maps is not None:
        columns += [("map", pa.list_(pa.float16())), ("map_target", words)]
    return pa.schema(columns)


def write_part(out: Path, job: BatchRecord, part: int, answers: Sequence[Answer]) -> None:
    """Write the answers of a part, in order. On OSError nothing is left."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [a for a in answers if isinstance(a, AnswerRow)]
    skipped = [[a.index, a.path, a.reason] for a in answers if isinstance(a, Skip)]
    note = json.dumps({"job": job.id, "part": part, "items": len(answers), "skipped": skipped})
    schema = schema_of(job)
    columns = _columns(job, rows)
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    table = pa.Table.from_arrays(arrays, schema=schema.with_metadata({_KEY: note.encode()}))
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_whole(part_path(out, part), buffer.getvalue())


def _columns(job: BatchRecord, rows: Sequence[AnswerRow]) -> dict[str, list[object]]:
    answers = [row.prediction for row in rows]
    columns: dict[str, list[object]] = {
        "index": [r.index for r in rows],
        "path": [r.path for r in rows],
        "sha256": [r.sha256 for r in rows],
        "class": [r.most_probable for r in rows],
        "decision": [a.label for a in answers],
        "output": [a.output for a in answers],
        "confidence": [a.confidence for a in answers],
        "outside_score": [a.outside_score for a in answers],
        "warnings": [list(a.warnings) for a in answers],
        "seconds": [r.seconds for r in rows],
        "map": [None if r.map is None else r.map.ravel() for r in rows],
        "map_target": [r.map_target for r in rows],
    }
    columns |= _decided([a.decision for a in answers]) if job.answering else {}
    return columns | {f"p_{name}": [a.probabilities.get(name) for a in answers] for name in job.classes}


def _decided(decisions: Sequence[Decision | None]) -> dict[str, list[object]]:
    """The columns of what became of each image."""
    known = [d for d in decisions if d is not None]
    ends = [d.interval or (None, None) for d in known]
    return {
        "outcome": [d.outcome for d in known],
        "predicted": [d.predicted for d in known],
        "set": [None if d.candidates is None else list(d.candidates) for d in known],
        "reasons": [[r.code for r in d.reasons] for d in known],
        "interval_low": [low for low, _ in ends],
        "interval_high": [high for _, high in ends],
    }


def finished_parts(out: Path, job: BatchRecord, plan: Plan) -> set[int]:
    """The numbers of the finished parts. Raises InputError for a part that belongs to another batch."""
    done = set()
    for part in range(plan.parts):
        path = part_path(out, part)
        note = _note(path) if path.is_file() else None
        if note is None:
            continue
        if note.get("job") != job.id or note.get("part") != part:
            raise InputError(f"{path} belongs to another batch. Choose another `out=`.")
        if note.get("items") == plan.length(part):
            done.add(part)
    return done


def _note(path: Path) -> dict[str, object] | None:
    """The metadata of a part; None for a part that cannot be read and must be made again."""
    import pyarrow as pa

    try:
        with path.open("rb") as file, open_parquet(file) as table:
            metadata = table.schema_arrow.metadata or {}
        note = json.loads(metadata[_KEY])
    except (OSError, KeyError, ValueError, pa.ArrowException):
        return None
    return note if isinstance(note, dict) else None


def read_parts(out: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Some columns of every part, one part at a time, in order. Raises InputError for a part that is damaged."""
    import pyarrow as pa

    for path in sorted(out.glob("part-*.parquet")):
        try:
            with path.open("rb") as file:
                table = read_columns(file, columns)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{path} cannot be read ({error}): add `resume=True`, which makes it again.") from error
        yield table


def read_skipped(out: Path) -> Iterator[Skip]:
    """The skipped items, in order."""
    for path in sorted(out.glob("part-*.parquet")):
        found = (_note(path) or {}).get("skipped", [])
        if isinstance(found, list):
            yield from (Skip(*row) for row in found)


def write_skipped(out: Path) -> int:
    """Write `skipped.csv` (path, reason) from the parts; returns the number of skipped items."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "reason"])
    skipped = 0
    for skip in read_skipped(out):
        writer.writerow(cells([skip.path, skip.reason]))
        skipped += 1
    write_whole(out / SKIPPED, text.getvalue())
    return skipped
