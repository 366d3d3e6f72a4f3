"""Why one class and not another: the map of a difference is the difference of maps."""

import numpy as np
import pytest
from tests.small_networks import manifest_of, network_of, noise, recipe_of

from pellucid.bundle.bundle import load
from pellucid.classifier import Against, selected_targets, versus
from pellucid.errors import InputError, UnknownNameError
from pellucid.explanation.catalogue import find_method, settings_of
from pellucid.models.export import export_bundle

LINEAR = ("grad-cam", "hirescam", "xgrad-cam", "gradient-x-input", "occlusion", "ablation-cam")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    recipe = recipe_of()
    network = network_of(recipe, 3)
    manifest = manifest_of(network, recipe.preprocessing(), 3, network.explained_layer)
    folder = tmp_path_factory.mktemp("contrast") / "bundle"
    export_bundle(network, manifest, folder, images=noise(2, 24), source="noise", every_method=True)
    return load(folder, threads=1)


def values(bundle, method, target, score):
    row = find_method(method)
    return row.run(bundle, noise(2, 24, seed=3), target, score, settings_of(row)).values


@pytest.mark.parametrize("method", LINEAR)
def test_the_map_of_a_difference_is_the_difference_of_the_maps_of_logits(bundle, method):
    found = values(bundle, method, Against("ant", "cat"), "logit")[:, 0]
    both = values(bundle, method, ("ant", "cat"), "logit")
    assert np.abs(found).max() > 0
    assert np.allclose(found, both[:, 0] - both[:, 1], atol=1e-4 * np.abs(both).max())


def test_log_odds_and_logits_are_one_score_of_two_classes(bundle):
    first, second = (values(bundle, "grad-cam", Against("ant", "bee"), score) for score in (None, "logit"))
    assert np.array_equal(first, second)


def test_turned_round_it_speaks_the_other_way(bundle):
    there = values(bundle, "grad-cam", Against("ant", "bee"), None)
    back = values(bundle, "grad-cam", Against("bee", "ant"), None)
    assert np.allclose(there, -back, atol=1e-6)


def test_a_score_is_the_log_of_the_ratio_of_probabilities(bundle):
    from pellucid.explanation.maps import target_scores

    class ByProbability:
        classes, task, preprocessing = bundle.classes, bundle.task, bundle.preprocessing
        probabilities = staticmethod(bundle.probabilities)

    batch = noise(4, 24, seed=5)
    p = bundle.probabilities(batch)
    expected = np.log(p[:, 0] / p[:, 2])
    for classifier in (bundle, ByProbability()):
        assert np.allclose(target_scores(classifier, batch, Against("ant", "cat"), None)[:, 0], expected, atol=1e-4)


def test_an_image_is_explained_for_one_class_against_another(bundle):
    picture = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    found = bundle.explain(picture, target="ant", against="cat", score="logit")
    one, other = bundle.explain(picture, target=("ant", "cat"), score="logit")
    assert found.target == "ant against cat"
    assert np.allclose(found.values, one.values - other.values, atol=1e-5 * np.abs(one.values).max() + 1e-6)


def test_what_cannot_be_asked_is_said(bundle):
    picture = np.zeros((24, 24, 3), np.uint8)
    with pytest.raises(InputError, match="name the first by `target=`"):
        bundle.explain(picture, against="cat")
    with pytest.raises(InputError, match="goes with one class"):
        bundle.explain(picture, target=("ant", "bee"), against="cat")
    with pytest.raises(InputError, match="against itself"):
        bundle.explain(picture, target="ant", against="ant")
    with pytest.raises(UnknownNameError, match="dog"):
        bundle.explain(picture, target="ant", against="dog")
    with pytest.raises(InputError, match="one after the other"):
        selected_targets(bundle.classes, "multiclass", 1, ("bee", Against("ant", "cat")), None)


def test_two_classes_have_one_score_and_it_is_that_of_the_class():
    rows, contrast, names = selected_targets(("no", "yes"), "binary", 1, Against("yes", "no"), None)
    assert (rows.tolist(), contrast, names) == ([[[1.0]]], 0.0, ("yes against no",))
    assert selected_targets(("no", "yes"), "binary", 1, Against("no", "yes"), None)[0].tolist() == [[[-1.0]]]


def test_a_question_survives_the_way_to_another_process():
    import copy
    import pickle

    asked = versus("ant", "cat")
    for found in (pickle.loads(pickle.dumps(asked)), copy.copy(asked)):
        assert (found, found.target, found.against) == ("ant against cat", "ant", "cat")
