"""What reviewers ask of a report on a model: the items of CLAIM 2024 and TRIPOD+AI, filled as far as a run can tell.

An item that only its authors know stays blank, visibly. The wording of the items is shortened; the originals are

- CLAIM: Tejani et al., "Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 update", Radiology:
  Artificial Intelligence 6 (2024) e240300;
- TRIPOD+AI: Collins et al., "TRIPOD+AI statement", BMJ 385 (2024) e078378.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .contents import RunContents
from .findings import findings
from .views import limits
from .words import count, duration, listed, metric_name, number, with_interval


@dataclass(frozen=True, slots=True)
class ChecklistItem:
    """One item: its number and topic, and what this run says to it; "" where that is left to the authors."""

    number: str
    topic: str
    answer: str


CLAIM_TOPICS: tuple[tuple[str, str, str], ...] = (
    ("1", "Title: the kind of artificial intelligence", ""), ("2", "Abstract: structured summary", ""),
    ("3", "Background, intended use and role", ""), ("4", "Aims and hypotheses", ""),
    ("5", "Prospective or retrospective study", ""), ("6", "Goal of the study", ""),
    ("7", "Sources of the data", "source"), ("8", "Inclusion and exclusion criteria", ""),
    ("9", "Preprocessing", "preprocessing"), ("10", "Selection of data subsets", "subsets"),
    ("11", "De-identification", ""), ("12", "Missing data", "missing"),
    ("13", "Image acquisition protocol", ""), ("14", "Definition of the reference standard", ""),
    ("15", "Why this reference standard", ""), ("16", "Source of the annotations; annotators", ""),
    ("17", "Annotation of the test set", ""), ("18", "Agreement between and within annotators", ""),
    ("19", "How data were assigned to partitions", "partitions"), ("20", "Level at which they are disjoint", "level"),
    ("21", "Intended sample size", ""), ("22", "The model: inputs, outputs, layers", "model"),
    ("23", "Software, versions, hardware", "software"), ("24", "Initial parameters", "initial"),
    ("25", "Training: augmentation, hyperparameters, stopping", "training"),
    ("26", "How the final model was selected", "selection"), ("27", "Ensembling", "ensemble"),
    ("28", "Metrics of performance", "metrics"), ("29", "Measures of uncertainty", "uncertainty"),
    ("30", "Robustness or sensitivity analysis", "robustness"), ("31", "Methods of explanation", "explanation"),
    ("32", "Evaluation on internal data", "internal"), ("33", "Testing on external data", "external"),
    ("34", "Clinical trial registration", ""), ("35", "Numbers of patients and images included", "numbers"),
    ("36", "Demographic and clinical characteristics", ""),
    ("37", "Performance on all partitions", "performance"), ("38", "Estimates and their precision", "performance"),
    ("39", "Analysis of failures", "failures"), ("40", "Limitations", "limitations"),
    ("41", "Implications for practice", ""), ("42", "Full study protocol", ""),
    ("43", "Availability of software, model and data", "availability"), ("44", "Funding and its role", ""),
)  # fmt: skip

TRIPOD_TOPICS: tuple[tuple[str, str, str], ...] = (
    ("1", "Title", ""), ("2", "Abstract", ""), ("3a", "Healthcare context and existing models", ""),
    ("3b", "Target population and intended users", ""), ("3c", "Known health inequalities", ""),
    ("4", "Objectives", ""),
    ("5a", "Sources of data, separately for development and evaluation", "source"), ("5b", "Dates of the data", ""),
    ("6a", "Setting, number and location of centres", ""), ("6b", "Eligibility", ""), ("6c", "Treatments received", ""),
    ("7", "Data preparation and quality checks", "preprocessing"), ("8a", "Outcome and its assessment", ""),
    ("8b", "Qualifications of the assessors", ""), ("8c", "Blinding of the assessment", ""),
    ("9a", "Choice of predictors", "predictors"), ("9b", "Definition of the predictors", "predictors"),
    ("9c", "Qualifications of those who assessed predictors", ""), ("10", "Sample size", ""),
    ("11", "Missing data", "missing"), ("12a", "How the data were used", "partitions"),
    ("12b", "Handling of predictors", "preprocessing"), ("12c", "Type of model, building, hyperparameters", "training"),
    ("12d", "Heterogeneity between clusters", "subgroups"), ("12e", "Measures of performance", "metrics"),
    ("12f", "Model updating", "calibration"), ("12g", "How predictions were made", "prediction"),
    ("13", "Class imbalance", "imbalance"), ("14", "Approaches to fairness", "subgroups"),
    ("15", "Output of the model and its threshold", "threshold"),
    ("16", "Differences of development and evaluation data", ""), ("17", "Ethical approval", ""),
    ("18a", "Funding", ""), ("18b", "Conflicts of interest", ""), ("18c", "Protocol", ""), ("18d", "Registration", ""),
    ("18e", "Data sharing", ""), ("18f", "Code sharing", "availability"), ("19", "Patient and public involvement", ""),
    ("20a", "Flow of participants", "numbers"), ("20b", "Characteristics of participants", ""),
    ("20c", "Comparison of development and evaluation data", ""), ("21", "Numbers in each analysis", "numbers"),
    ("22", "Full specification of the model", "availability"), ("23a", "Performance with intervals", "performance"),
    ("23b", "Heterogeneity of performance", "subgroups"), ("24", "Results of updating", "calibration"),
    ("25", "Interpretation", ""), ("26", "Limitations", "limitations"),
    ("27a", "Handling of poor or missing input", "outside"), ("27b", "User interaction and expertise needed", ""),
    ("27c", "Next steps of research", ""),
)  # fmt: skip


def claim(run: RunContents) -> list[ChecklistItem]:
    """The 44 items of CLAIM 2024."""
    return _filled(CLAIM_TOPICS, answers(run))


def tripod(run: RunContents) -> list[ChecklistItem]:
    """The items of TRIPOD+AI."""
    return _filled(TRIPOD_TOPICS, answers(run))


def _filled(topics: tuple[tuple[str, str, str], ...], known: Mapping[str, str]) -> list[ChecklistItem]:
    return [ChecklistItem(number, topic, known.get(key, "")) for number, topic, key in topics]


def answers(run: RunContents) -> dict[str, str]:
    """What the run says, by topic; a topic of which it knows nothing is missing."""
    said = {**_about_data(run), **_about_model(run), **_about_results(run)}
    return {key: text for key, text in said.items() if text}


def _about_data(run: RunContents) -> dict[str, str]:
    data, recipe = run.record.data, run.recipe
    of = "; ".join(f"{split or 'undecided'}: {sum(counts.values()):,}" for split, counts in data.counts.items())
    groups = f" of {count(data.groups, 'group')}" if data.groups else ""
    level = "patient or group" if data.groups else "image, and it is not known which images share a patient"
    total = {name: sum(c.get(name, 0) for c in data.counts.values()) for name in next(iter(data.counts.values()), {})}
    weighed = "classes weighed equally in the loss" if recipe.train.class_weights == "balanced" else "no weighing"
    fitted = f"each image fitted to the input by {recipe.data.fit}, {recipe.data.interpolation}, antialiased"
    return {
        "source": f"{data.source} ({data.images:,} images, sha256 of all contents {data.checksum[:16]}).",
        "preprocessing": f"Decoded to 8-bit RGB, upright; {fitted}; values {run.values}.",
        "subsets": " ".join(data.notes) or "All readable images were used.",
        "missing": f"{count(len(data.skipped), 'file was', 'files were')} left out, with the reason, in run.json.",
        "partitions": f"By the data's own folders or by seed {run.record.seed}, kept in split.csv: {of} images.",
        "level": f"{level[0].upper()}{level[1:]}. " + (" ".join(data.overlaps) or "No overlap was found."),
        "numbers": f"{data.images:,} images{groups}; {of}.",
        "imbalance": f"{'; '.join(f'{name}: {n:,}' for name, n in total.items())}; {weighed}.",
        "predictors": "The pixels of one image, nothing else.",
    }


def _about_import(run: RunContents) -> dict[str, str]:
    """An imported model, whose training is not known."""
    record, unknown = run.record, "Not known: the model was imported. Ask those who trained it."
    imported = record.imported
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    kind = "" if imported is None else f"{imported.kind}, from {imported.file} (sha256 {imported.sha256[:16]})."
    return {
        "model": kind,
        "software": f"{versions}; {record.hardware.get('device', '')}.",
        **dict.fromkeys(("training", "selection", "initial", "ensemble"), unknown),
        "explanation": "Heat maps from activations and gradients of the last spatial layer, and others on request.",
        "availability": "The bundle (model.onnx, weights.safetensors, manifest.json) lies in the run folder; how data "
        "and model are shared is for the authors to say.",
        "prediction": "By the bundle: one forward pass for each image.",
    }


def _about_fit(run: RunContents) -> dict[str, str]:
    """A detector that learnt from normal images alone."""
    record, manifest, section = run.record, run.manifest, run.recipe.anomaly
    kept = manifest.anomaly if manifest is not None else None
    said = _about_import(run) | {
        "model": f"Anomaly detector ({section.method}) on features of {run.recipe.model.backbone}"
        + (f", layers {', '.join(kept.layers)}." if kept else "."),
        "training": "None: features of a network with fixed weights are compared with those of "
        f"{count(record.anomaly.learnt if record.anomaly else 0, 'normal image')}.",
        "selection": "Nothing was selected on validation images but the threshold.",
        "ensemble": "A single model.",
        "explanation": "The map of distances of which the score is made, and methods that need the score only.",
    }
    if manifest is not None:
        sources = ", ".join(f"{k}: {v}" for k, v in manifest.initial_weights.items())
        said["initial"] = f"{sources}." if sources else f"{run.recipe.model.weights}."
        point = manifest.operating_point
        said["threshold"] = f"Score {manifest.threshold:.3g}.{' ' + point.statement if point else ''}"
    return said


def _about_model(run: RunContents) -> dict[str, str]:
    recipe, record, training = run.recipe, run.record, run.record.training
    if record.anomaly is not None:
        return _about_fit(run)
    if training is None:
        return _about_import(run)
    manifest, section = run.manifest, run.recipe.train
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    size = recipe.data.size if isinstance(recipe.data.size, int) else " x ".join(map(str, recipe.data.size))
    head = ", ".join(f"{d.dense} {d.activation}" for d in recipe.model.head) or "one output layer"
    said = {
        "model": f"{recipe.model.backbone}, input {size} pixels, {recipe.model.pool} pooling, head: {head}; "
        f"{training.parameters:,} parameters, {training.trainable_parameters:,} trained.",
        "software": f"{versions}; {record.hardware.get('device', '')}.",
        "training": f"{section.optimizer}, learning rate {section.learning_rate:g} ({section.schedule}), batch "
        f"{section.batch_size}, {training.epochs} epochs in {duration(training.seconds)}; {training.ended}. "
        + ("Augmented as the recipe says." if recipe.augment.active else "No augmentation."),
        "selection": f"The epoch with the best {training.monitor} on the validation split: {training.best_epoch}.",
        "ensemble": "A single model.",
        "explanation": "Heat maps from activations and gradients of the last spatial layer, and others on request.",
        "availability": "The bundle (model.onnx, weights.safetensors, manifest.json), recipe.toml and split.csv lie in "
        "the run folder; how data and model are shared is for the authors to say.",
        "prediction": "By the bundle: one forward pass for each image.",
    }
    if manifest is not None:
        sources = ", ".join(f"{k}: {v}" for k, v in manifest.initial_weights.items())
        said["initial"] = f"{sources}." if sources else f"{recipe.model.weights}."
        point, calibration, reference = manifest.operating_point, manifest.calibration, manifest.reference
        chosen = f" {point.statement}" if point and point.statement else ""
        if manifest.task == "multiclass":
            said["threshold"] = "None: the most probable class is answered."
        else:
            said["threshold"] = f"Class probabilities; threshold {manifest.threshold:.3g}.{chosen}"
        if calibration is not None:
            said["calibration"] = (
                f"Probabilities calibrated by {calibration.method} scaling on {calibration.images:,} {calibration.of}."
            )
        if reference is not None:
            said["outside"] = (
                "Unusual images are flagged by the distance of their features from those of the training images."
            )
    return said


def _about_results(run: RunContents) -> dict[str, str]:
    result, audit = run.evaluation, run.audit
    said = {"limitations": " ".join(limits(run))}
    if run.others:
        said["external"] = f"Evaluated on {listed([name for name, _ in run.others], 4)}; see there."
    if result is not None:
        named = [metric_name(name) for name in result.metrics]
        main = [(n, m) for n, m in result.metrics.items() if n in {"accuracy", "roc_auc", "sensitivity", "specificity"}]
        figures = "; ".join(f"{metric_name(n)} {with_interval(m.value, m.low, m.high)}" for n, m in main)
        wrong = int((result.predicted != result.labels).sum())
        said |= {
            "metrics": f"{', '.join(named)}.",
            "uncertainty": f"95 % intervals: {result.interval}.",
            "internal": f"On {count(len(result.labels), 'image')} of the {result.split} split.",
            "performance": f"{figures} (n = {len(result.labels):,}).",
            "failures": f"{count(wrong, 'wrong answer')}, the most confident ones with heat maps in report.html.",
        }
    if audit is not None:
        said["robustness"] = audit.verdict
        if audit.subgroups:
            areas = (f"{s.name} {number(s.accuracy.value)}" for s in audit.subgroups if s.accuracy)
            said["subgroups"] = f"Accuracy by {audit.subgroup_by}: {', '.join(areas)}."
    problems = [f.text for f in findings(run) if f.level == "problem"]
    if problems:
        said["limitations"] = f"{' '.join(problems)} {said['limitations']}"
    return said
