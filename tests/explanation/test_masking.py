import numpy as np
import pytest
from tests.black_boxes import BlackBox, ProbabilitiesOnly, bent, preprocessing_of, scene, subject_of
from threadpoolctl import threadpool_info, threadpool_limits

from pellucid.classifier import PREDICTED
from pellucid.errors import InputError, UnknownNameError
from pellucid.explanation.masking import Hiding, Subject, explain_each
from pellucid.preprocessing import FloatArray

SIZE = (20, 26)


def test_a_mask_mixes_a_pixel_with_its_replacement() -> None:
    seen: list[FloatArray] = []

    def watching(batch: FloatArray) -> FloatArray:
        seen.append(batch.copy())
        return batch.mean(axis=(2, 3))[:, :1]

    subject = subject_of(BlackBox(watching, preprocessing_of(*SIZE)), scene(*SIZE)[0])
    masks = np.random.default_rng(0).random((7, *SIZE), np.float32)
    masks[0], masks[1] = 0, 1
    answered = list(subject.answers([masks[:3], masks[3:]]))
    for mask, picture in zip(masks, np.concatenate(seen), strict=True):
        np.testing.assert_allclose(picture, mask * subject.image + (1 - mask) * subject.hidden, atol=1e-6)
    assert (np.concatenate(seen)[0] == subject.hidden).all()
    scores = np.concatenate([scores for _, scores in answered])
    np.testing.assert_allclose(scores[:, 0], np.concatenate(seen).mean(axis=(2, 3))[:, 0], rtol=1e-6)


def test_slices_are_of_at_most_a_batch() -> None:
    subject = subject_of(BlackBox(bent(SIZE), preprocessing_of(*SIZE)), scene(*SIZE)[0], batch_size=4)
    assert list(subject.slices(2, 11)) == [slice(2, 6), slice(6, 10), slice(10, 11)]


def test_a_classifier_that_changes_its_batch_does_no_harm() -> None:
    def spoiling(batch: FloatArray) -> FloatArray:
        batch -= 1
        return batch.mean(axis=(2, 3))[:, :1]

    image = scene(*SIZE)[0]
    before = image.copy()
    subject = subject_of(BlackBox(spoiling, preprocessing_of(*SIZE)), image)
    one, two = (scores for _, scores in subject.answers([np.ones((2, *SIZE), np.float32)] * 2))
    assert (one == two).all()
    assert (image == before).all()


@explain_each
def names_and_scores(subject: Subject, settings: Hiding) -> tuple[FloatArray, dict[str, object]]:
    (_, scores), *_ = subject.answers([np.ones((1, *subject.size), np.float32)])
    return np.broadcast_to(scores[0][:, None, None], (len(subject.targets), *subject.size)), {"of": subject.targets}


def test_each_image_is_asked_about_its_own_predicted_class() -> None:
    box = BlackBox(bent(SIZE, 3), preprocessing_of(*SIZE), 3)
    batch = scene(*SIZE, images=6)
    maps = names_and_scores(box, batch, ("cat", PREDICTED), None, Hiding())
    own = [box.classes[i] for i in maps.probabilities.argmax(axis=1)]
    assert len(set(own)) > 1
    assert [s["of"] for s in maps.settings] == [("cat", name) for name in own]
    assert maps.targets == ("cat", PREDICTED)
    assert maps.logits is not None
    z = maps.logits.astype(np.float64)
    others = np.array([np.log(np.exp(np.delete(row, 2)).sum()) for row in z])
    np.testing.assert_allclose(maps.values[:, 0, 0, 0], z[:, 2] - others, rtol=1e-5)


def test_probabilities_are_enough() -> None:
    function, batch = bent(SIZE), scene(*SIZE, images=2)
    full, least = (kind(function, preprocessing_of(*SIZE)) for kind in (BlackBox, ProbabilitiesOnly))
    one, other = (names_and_scores(box, batch, ("ant", "bee"), None, Hiding()) for box in (full, least))
    np.testing.assert_allclose(one.values, other.values, rtol=1e-3, atol=1e-4)
    assert other.logits is None
    with pytest.raises(InputError, match="log-odds"):
        names_and_scores(least, batch, "bee", "logit", Hiding())


def test_no_images_give_no_maps() -> None:
    box = BlackBox(bent(SIZE), preprocessing_of(*SIZE))
    assert names_and_scores(box, scene(*SIZE)[:0], "bee", None, Hiding()).values.shape == (0, 1, *SIZE)


def test_unsuitable_settings_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="blur, mean, grey, noise"):
        Hiding(replacement="white")
    with pytest.raises(InputError, match="batch_size must be at least 1"):
        Hiding(batch_size=0)
    with pytest.raises(InputError, match="seed"):
        Hiding(seed=-1)


def test_matrix_products_stay_in_one_thread_while_a_method_runs_and_not_after() -> None:
    """Helper threads of NumPy's BLAS that wait busily would hold up the passes."""

    def threads() -> set[int]:
        return {found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"}

    seen: list[set[int]] = []

    def one(subject: Subject, settings: Hiding) -> tuple[FloatArray, dict[str, object]]:
        seen.append(threads())
        return np.zeros((1, *SIZE), np.float32), {}

    black_box = BlackBox(bent(SIZE), preprocessing_of(*SIZE))
    with threadpool_limits(limits=2, user_api="blas"):
        before = threads()
        explain_each(one)(black_box, scene(*SIZE), None, None, Hiding())
        assert threads() == before
    assert seen == [{1}]
