"""Coverage on answers of real models: 200 random re-splits of two tables of scores lie in the exact bands.

`flowers.csv` has the logits of a linear head for five kinds of flowers on 600 photographs that it was not fitted to;
`films.csv` those of a fine-tuned network for 422 chest X-rays of 238 patients (numbered) that it was not trained on.
"""

import csv
from pathlib import Path

import numpy as np
import pytest
from tests.evaluation.test_conformal import Prepared, in_band

import pellucid.evaluation.conformal as conformal
from pellucid.classifier import probabilities_from_logits
from pellucid.evaluation.conformal import conformal_quantile, covered, fit_sets, set_scores

TABLES = Path(__file__).parents[1] / "fixtures" / "prediction-tables"
SPLITS = 200


def read(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels (N,), probabilities (N, K), groups (N,)."""
    with (TABLES / name).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    logits = np.array([[v for k, v in row.items() if k.startswith("logit")] for row in rows], np.float32)
    labels = np.array([int(row["label"]) for row in rows])
    return labels, probabilities_from_logits(logits).astype(float), np.array([row.get("group", "") for row in rows])


@pytest.mark.parametrize("score", ["lac", "aps", "raps"])
@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_coverage_lies_in_the_beta_binomial_band(score: str, coverage: float) -> None:
    """Of a fixed table too the number covered is beta-binomial: a random split orders the scores at random."""
    labels, p, _ = read("flowers.csv")
    rng = np.random.default_rng(1)
    covers = []
    for _ in range(SPLITS):
        scores = set_scores(p, score, left_out=rng.random((len(p), 1)))
        own = scores[np.arange(len(p)), labels]
        order = rng.permutation(len(p))
        covers.append(int((own[order[150:]] <= conformal_quantile(own[order[:150]], coverage)).sum()))
    in_band(covers, 150, coverage, len(p) - 150)


def test_coverage_by_class_lies_in_the_band_of_each_class() -> None:
    labels, p, _ = read("flowers.csv")
    rng = np.random.default_rng(2)
    covers: dict[int, list[int]] = {k: [] for k in range(p.shape[1])}
    for _ in range(SPLITS):
        rows = {k: rng.permutation(np.flatnonzero(labels == k)) for k in covers}
        fitted = np.concatenate([r[:40] for r in rows.values()])
        rule = fit_sets(labels[fitted], p[fitted], coverage=0.9, by="class")
        for k, counts in covers.items():
            new = rows[k][40:100]
            counts.append(int(covered(rule.members(p[new], never_empty=False), labels[new]).sum()))
    for counts in covers.values():
        in_band(counts, 40, 0.9, 60)


def test_one_film_of_each_patient_lies_in_the_band_and_all_films_keep_the_promise() -> None:
    labels, p, groups = read("films.csv")
    patients = np.unique(groups)
    of = [np.flatnonzero(groups == g) for g in patients]
    own = set_scores(p, "lac")[np.arange(len(p)), labels]
    rng = np.random.default_rng(3)
    single, means = [], []
    for _ in range(SPLITS):
        order = rng.permutation(len(of))
        known, new = order[:100], order[100:]
        one = np.array([rng.choice(rows) for rows in of])
        single.append(int((own[one[new]] <= conformal_quantile(own[one[known]], 0.9)).sum()))
        rows = np.concatenate([of[i] for i in known])
        limit = conformal_quantile(own[rows], 0.9, groups[rows].tolist())
        means.append(np.mean([np.mean(own[of[i]] <= limit) for i in new]))
    in_band(single, 100, 0.9, len(of) - 100)
    spread = np.std(means) / np.sqrt(SPLITS)
    assert 0.9 - 4 * spread < np.mean(means) < 0.9 + 1 / 101 + 4 * spread


@pytest.mark.parametrize("coverage", [0.8, 0.9])
@pytest.mark.parametrize("score", ["lac", "aps", "raps"])
def test_sets_of_the_table_are_those_of_mapie(score: str, coverage: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its RAPS chooses the penalty and the free ranks on a part of its own; with these ours gives the same sets.

    It penalises a class in a set by the rank of the class before it, hence one rank more is free there.
    """
    mapie = pytest.importorskip("mapie.classification")
    labels, p, _ = read("flowers.csv")
    order = np.random.default_rng(4).permutation(len(p))
    fitted, new = order[:300], order[300:]
    classes = p.shape[1]
    theirs = mapie.SplitConformalClassifier(
        Prepared(classes), confidence_level=coverage, conformity_score=score, prefit=True, random_state=3
    )
    theirs.conformalize(p[fitted], labels[fitted])
    last = None if score == "lac" else {"include_last_label": True}
    wanted = theirs.predict_set(p[new], conformity_score_params=last)[1][:, :, 0]
    inner = theirs._mapie_classifier.conformity_score_function_
    if score == "raps":  # the images that are left to calibrate on, in its order
        kept = p[fitted][_left_by_raps(inner, p[fitted], labels[fitted])]
        known = labels[fitted][_left_by_raps(inner, p[fitted], labels[fitted])]
        monkeypatch.setattr(conformal, "PENALTY", float(np.ravel(inner.lambda_star)[0]))
        monkeypatch.setattr(conformal, "FREE", int(np.ravel(inner.k_star)[0]))
    else:
        kept, known = p[fitted], labels[fitted]
    drawn = 1.0 if score == "lac" else np.random.RandomState(3).uniform(size=(len(kept), 1))
    own = set_scores(kept, score, left_out=drawn)[np.arange(len(kept)), known]
    if score == "raps":
        monkeypatch.setattr(conformal, "FREE", conformal.FREE + 1)
    assert np.array_equal(set_scores(p[new], score) <= conformal_quantile(own, coverage), wanted)


def _left_by_raps(inner: object, p: np.ndarray, labels: np.ndarray) -> np.ndarray:
    from sklearn.model_selection import StratifiedShuffleSplit

    split = StratifiedShuffleSplit(n_splits=1, test_size=inner.size_raps, random_state=inner.random_state)  # type: ignore[attr-defined]
    return next(split.split(p, labels))[0]
