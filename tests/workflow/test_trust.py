"""The trust card of an untrained network: figures against direct computation, budgets, choices, the model's scale."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tests.small_networks import manifest_of, network_of, noise, recipe_of

from pellucid.bundle.bundle import Bundle, load
from pellucid.data.dataset import Dataset, Sample
from pellucid.errors import InputError, UnknownNameError
from pellucid.evaluation.intervals import Resampling
from pellucid.explanation.catalogue import METHODS
from pellucid.explanation.faithfulness import CurveSettings
from pellucid.explanation.lime import LimeSettings
from pellucid.explanation.localisation import average_precision, energy_inside
from pellucid.explanation.maps import INPUT_PIXELS
from pellucid.models.export import export_bundle
from pellucid.preprocessing import Preprocessing
from pellucid.workflow.scales import DRAWN, cheap_methods, keep_scales, measure_scales, model_limit
from pellucid.workflow.trust.audit import audit_explanations, choose_samples, chosen_methods, measure_trust
from pellucid.workflow.trust.budget import Limit
from pellucid.workflow.trust.card import figure
from pellucid.workflow.trust.image import ImageChecker, onto_input

SIZE = (32, 32)
QUICK = CurveSettings(steps=4, replacement="mean")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    recipe = recipe_of("cnn", SIZE, batch_norm=True, pool="average")
    network = network_of(recipe, 2, seed=1)
    folder = tmp_path_factory.mktemp("trust") / "small"
    manifest = manifest_of(network, recipe.preprocessing(), 2, network.explained_layer)
    export_bundle(network, manifest, folder, images=noise(2, SIZE), source="noise")
    return load(folder, threads=1)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Nine pictures of 40 x 48 pixels; those of the second class have a bright box."""
    root, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    samples = []
    for i in range(9):
        pixels = random.integers(0, 120, (40, 48, 3), dtype=np.uint8)
        label = i % 2
        boxes = ((8.0, 10.0, 24.0, 22.0),) if label else ()
        if label:
            pixels[10:22, 8:24] = 230
        PIL.Image.fromarray(pixels).save(root / f"{i}.png")
        samples.append(Sample(f"{i}.png", label, boxes=boxes, group=f"g{i // 2}"))
    return Dataset(root, ("ant", "bee"), tuple(samples))


def test_the_card_holds_what_a_direct_computation_gives(bundle: Bundle, pictures: Dataset) -> None:
    card = measure_trust(bundle, pictures, {"hirescam": chosen("hirescam")}, images=9, curves=QUICK)
    (method,) = card.methods
    assert (card.images, card.classes, card.budget.reached) == (9, {"ant": 5, "bee": 4}, False)
    assert (method.images, method.localised, method.passes) == (9, 4, 1)
    marked = [s for s in pictures.samples if s.boxes]
    mask = np.zeros((40, 48), bool)
    mask[10:22, 8:24] = True
    maps = [bundle.explain(pictures.file(s), method="hirescam", target="bee") for s in marked]
    share = mask.mean()
    energies = [energy_inside(m, mask) or 0.0 for m in maps]
    precisions = [average_precision(m, mask) or share for m in maps]
    found = method.localisation
    assert found["energy_inside"].found.value == pytest.approx(np.mean(energies), rel=1e-3)
    assert found["average_precision"].found.value == pytest.approx(np.mean(precisions), rel=1e-3)
    assert found["energy_inside"].chance == pytest.approx(share, rel=1e-3)
    assert found["energy_inside"].over.value == pytest.approx(np.mean(energies) - share, abs=1e-4)
    assert found["energy_inside"].over.low is None, "four images are too few for an interval"
    assert "marked objects" not in method.verdict
    assert method.curves.gap.value == pytest.approx(
        method.curves.insertion.value - method.curves.deletion.value, abs=2e-3
    )
    over = method.curves.gap.value - card.baselines["edges"].gap.value
    assert method.against["edges"].value == pytest.approx(over, abs=2e-3)
    assert set(method.randomisation) == {1, 2, card.layers}
    assert method.curves.deletion_curve[0] == pytest.approx(method.curves.insertion_curve[-1], rel=1e-3)


def chosen(name: str) -> object:
    (row,) = (m for m in METHODS if m.name == name)
    return row.settings()


def test_sampled_methods_are_tried_under_another_seed_and_costly_ones_on_one_random_model(
    bundle: Bundle, pictures: Dataset
) -> None:
    settings = LimeSettings(samples=64, superpixels=8, replacement="mean")
    card = measure_trust(bundle, pictures, {"lime": settings}, images=6, curves=QUICK)
    (method,) = card.methods
    assert method.seed is not None
    assert -1 <= method.seed.value <= 1
    assert 8 < method.passes <= 66
    assert set(method.randomisation) == {card.layers}


def test_a_budget_ends_between_images_and_is_said(bundle: Bundle, pictures: Dataset) -> None:
    whole = measure_trust(bundle, pictures, {"grad-cam": chosen("grad-cam")}, images=9, curves=QUICK)
    limit = Limit("few passes", passes=whole.budget.passes - 1)
    card = measure_trust(bundle, pictures, {"grad-cam": chosen("grad-cam")}, images=9, limit=limit, curves=QUICK)
    assert card.budget.reached
    assert 4 <= card.images < 9
    assert card.budget.passes <= limit.passes  # type: ignore[operator]
    assert card.budget.sentence.startswith(f"The budget of few passes was reached after {card.images} of 9 images")


def test_too_few_images_are_not_judged(bundle: Bundle, pictures: Dataset) -> None:
    card = measure_trust(bundle, pictures, {"grad-cam": chosen("grad-cam")}, images=3, curves=QUICK)
    assert card.methods[0].level == "unknown"
    assert card.methods[0].curves.gap.low is None


def test_methods_that_cannot_be_served_are_named(bundle: Bundle, pictures: Dataset) -> None:
    methods = {name: chosen(name) for name in ("ablation-cam", "grad-cam")}
    card = measure_trust(bundle, pictures, methods, images=4, curves=QUICK)
    assert [m.name for m in card.methods] == ["grad-cam"]
    assert "tail" in card.left_out["ablation-cam"]
    with pytest.raises(InputError, match="No method can be measured"):
        measure_trust(bundle, pictures, {"ablation-cam": chosen("ablation-cam")}, images=4, curves=QUICK)


def test_files_and_page_are_written(bundle: Bundle, pictures: Dataset, tmp_path: Path) -> None:
    listed = "\n".join(f"{pictures.file(s)},{pictures.classes[s.label]}" for s in pictures.samples)
    (tmp_path / "data.csv").write_text(f"path,label\n{listed}\n", encoding="utf-8")
    card, folder = audit_explanations(
        bundle.folder, tmp_path / "data.csv", methods=["grad-cam"], images=5, out=tmp_path / "card"
    )
    document = json.loads((folder / "trust.json").read_text(encoding="utf-8"))
    assert document == card.model_dump(mode="json")
    assert "grad-cam" in (folder / "trust.html").read_text(encoding="utf-8")


def test_samples_are_even_by_class_marked_first_and_decided_by_the_seed() -> None:
    samples = tuple(Sample(f"{i}", int(i >= 30), boxes=((0, 0, 1, 1),) if i % 10 == 0 else ()) for i in range(40))
    dataset = Dataset(Path(), ("a", "b"), samples)
    found = choose_samples(dataset, 12, seed=0)
    assert [s.label for s in found] == [0, 1] * 6
    assert [bool(s.boxes) for s in found[:4]] == [True, True, True, False]
    assert choose_samples(dataset, 12, seed=0) == found
    assert choose_samples(dataset, 12, seed=1) != found
    assert sorted(s.path for s in choose_samples(dataset, 99, seed=0)) == sorted(s.path for s in samples)


def test_method_names(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert chosen_methods((), manifest) == cheap_methods()
    black_box = manifest.model_copy(update={"layer": None})
    assert {m.needs for m in chosen_methods((), black_box)} == {"probabilities"}
    assert chosen_methods(["all"], manifest) == list(METHODS)
    assert [m.name for m in chosen_methods(["lime", "grad-cam", "lime"], manifest)] == ["lime", "grad-cam"]
    with pytest.raises(UnknownNameError, match="grad-cam"):
        chosen_methods(["gradcam"], manifest)


def test_cheap_methods_take_the_usual_pass_alone() -> None:
    names = [m.name for m in cheap_methods()]
    assert names == ["grad-cam", "grad-cam++", "hirescam", "xgrad-cam", "layercam", "eigen-cam"]


def test_figures_are_means_of_what_is_known_with_bootstrap_intervals() -> None:
    values = np.random.default_rng(0).normal(3, 1, 200)
    values[::4] = np.nan
    resampling = Resampling.of(200, [""] * 200, 2000, 0)
    found = figure(values, resampling)
    known = values[np.isfinite(values)]
    assert found.value == pytest.approx(known.mean(), rel=1e-4)
    error = known.std() / np.sqrt(len(known))
    assert found.low == pytest.approx(known.mean() - 1.96 * error, abs=0.25 * error)
    assert found.high == pytest.approx(known.mean() + 1.96 * error, abs=0.25 * error)
    assert figure(np.full(200, np.nan), resampling).low is None


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_a_map_goes_to_the_original_and_back(fit: str) -> None:
    preprocessing = Preprocessing(height=20, width=28, fit=fit, crop_share=0.8 if fit == "crop" else 1.0)
    y, x = np.meshgrid(np.linspace(0, 1, 20), np.linspace(0, 2, 28), indexing="ij")
    plane = (y + x + 1).astype(np.float32)
    original = preprocessing.to_original(plane, INPUT_PIXELS, (200, 150))
    back = onto_input(original, preprocessing)
    place = preprocessing.placement((200, 150))
    rows, columns = ((np.arange(n) + 0.5 - place.shift[d]) / place.scale[d] for d, n in enumerate((20, 28)))
    inside = ((rows > 1) & (rows < 199))[:, None] & ((columns > 1) & (columns < 149))
    np.testing.assert_allclose(back[inside], plane[inside], atol=0.1)
    assert (back[~((rows >= 0) & (rows < 200))] == original.min()).all()


def test_one_image_is_checked_against_its_own_baselines(bundle: Bundle, pictures: Dataset) -> None:
    file = pictures.file(pictures.samples[1])
    image = bundle.read(file)
    tensor = bundle.preprocessing.tensors([image])[0]
    checker = ImageChecker(bundle, tensor, image.size, score=None, layer=None)
    attribution = bundle.explain(file, method="hirescam", target="bee")
    found = checker.check(attribution, chosen("hirescam"))
    assert found.gap == pytest.approx(found.insertion - found.deletion, abs=1e-3)
    assert set(found.baselines) == {"random", "centre", "edges"}
    assert found.noise is not None
    assert found.noise > 0.5
    assert found.seed is None


def test_the_model_s_scale_is_the_quantile_of_largest_values(bundle: Bundle, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    pixels = random.integers(0, 255, (40, *SIZE, 3), dtype=np.uint8)
    rows = np.arange(5, 37)
    scales = measure_scales(bundle, pixels, rows, lambda done, total: None)
    batch = bundle.preprocessing.normalise(pixels[rows])
    (row,) = (m for m in METHODS if m.name == "hirescam")
    largest = np.maximum(row.run(bundle, batch, None, None, row.settings()).values.max(axis=(1, 2, 3)), 0)
    assert scales["hirescam"][DRAWN] == pytest.approx(np.quantile(largest, 0.95), rel=1e-3)
    assert set(scales) == {m.name for m in cheap_methods()}
    copy = shutil.copytree(bundle.folder, tmp_path / "kept")
    kept = keep_scales(load(copy), pixels, rows, lambda done, total: None)
    assert load(copy).manifest.scales == scales
    assert model_limit(kept, "hirescam") == scales["hirescam"][DRAWN]
    with pytest.raises(InputError, match=r"no scale for lime: it has one for grad-cam.*`scale=.image.`"):
        model_limit(kept, "lime")
    with pytest.raises(InputError, match="default score and layer only"):
        model_limit(kept, "hirescam", score="logit")
    with pytest.raises(InputError, match="before scales were stored"):
        model_limit(bundle, "hirescam")


def test_randomising_all_images_at_once_gives_what_a_few_at_a_time_give(bundle: Bundle, pictures: Dataset) -> None:
    methods = {name: chosen(name) for name in ("grad-cam", "hirescam")}
    together = measure_trust(bundle, pictures, methods, images=9, curves=QUICK)
    apart = measure_trust(bundle, pictures, methods, images=9, curves=QUICK, limit=Limit("ample", passes=10**6))
    assert together.budget.passes == apart.budget.passes
    for one, other in zip(together.methods, apart.methods, strict=True):
        assert one.randomisation == pytest.approx(other.randomisation, abs=1e-4)
        assert one.curves.gap.value == pytest.approx(other.curves.gap.value, abs=1e-4)


def test_a_quick_card_says_the_same_for_a_fraction_of_the_passes(bundle: Bundle, pictures: Dataset) -> None:
    many = Dataset(pictures.root, pictures.classes, pictures.samples * 4)
    methods = {"hirescam": chosen("hirescam")}
    full = measure_trust(bundle, many, methods, images=36)
    curves = CurveSettings(steps=4, rule="simpson")
    quick = measure_trust(bundle, many, methods, images=36, curves=curves, quick=True)
    assert quick.budget.passes < full.budget.passes / 4
    assert quick.methods[0].level == full.methods[0].level
    assert quick.methods[0].beaten == full.methods[0].beaten
    for baseline, found in quick.methods[0].against.items():
        other = full.methods[0].against[baseline]
        assert found.low <= other.high, baseline
        assert found.high >= other.low, baseline


class Measured:
    """Stands for measurements of one method: gaps over those of a baseline."""

    def __init__(self, gap: float, spread: float, images: int = 12, noise: float = 0.95) -> None:
        from pellucid.workflow.trust.measures import Measured as Values

        random = np.random.default_rng(0)
        self.curves, self.newest = QUICK, 4
        self.samples = [Sample(f"{i}.png", 0) for i in range(images)]
        own, base = Values(), Values()
        own.add("gap", gap + spread * random.normal(size=images))
        own.add("noise", np.full(images, noise))
        base.add("gap", np.zeros(images))
        self.measured, self.baselines = {"grad-cam": own}, {"centre": base}


@pytest.mark.parametrize(
    ("measured", "settled"),
    [
        (Measured(2.0, 0.3), True),
        (Measured(-2.0, 0.3), True),
        (Measured(2.0, 0.3, images=16), False),  # no look is due
        (Measured(2.0, 0.3, images=24), True),
        (Measured(0.1, 0.5), False),
        (Measured(2.0, 2.5), False),  # clearly above 0, but wide
        (Measured(2.0, 0.3, noise=0.6), False),
    ],
)
def test_measuring_ends_when_what_decides_lies_on_one_side(measured: Measured, settled: bool) -> None:
    from pellucid.workflow.trust.settled import is_settled

    assert is_settled(measured) == settled  # type: ignore[arg-type]
