"""Recipes: reading, overriding, refusing with the right words, and writing back."""

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from pellucid.errors import RecipeError, UnknownNameError
from pellucid.recipe import Recipe, known_keys, load_recipe, recipe_names, recipe_text, tomllib, validate_recipe
from pellucid.recipe_sections import AugmentSection, DataSection, ModelSection, TrainSection


def file(folder, text):
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def said(values):
    with pytest.raises(RecipeError) as raised:
        validate_recipe(values, "mine.toml")
    return str(raised.value)


class TestShipped:
    @pytest.mark.parametrize("name", recipe_names())
    def test_every_one_loads_under_its_own_name_and_survives_writing(self, name, tmp_path):
        recipe = load_recipe(name)
        assert recipe.name == name
        assert recipe.description
        assert load_recipe(file(tmp_path, recipe.to_toml())) == recipe

    @pytest.mark.parametrize("name", recipe_names())
    def test_every_value_in_the_file_is_the_recipes(self, name):
        def held(value, wanted):
            if isinstance(wanted, dict):
                return all(
                    held(getattr(value, k) if isinstance(value, BaseModel) else value[k], wanted[k]) for k in wanted
                )
            if isinstance(wanted, list):
                return len(value) == len(wanted) and all(map(held, value, wanted))
            return value == wanted

        assert held(load_recipe(name), tomllib.loads(recipe_text(name)))

    def test_an_unknown_name_offers_the_nearest_and_says_where_the_list_is(self):
        with pytest.raises(UnknownNameError, match=r"'phantm'\. Did you mean phantom\?.*`pellucid recipes`"):
            load_recipe("phantm")

    def test_published_figures_are_shares(self):
        for name in recipe_names():
            for figure in load_recipe(name).published:
                assert all(0 <= value <= 1 for value in figure.metrics.values()), name


class TestAsTabled:
    """The five reference systems, value by value; see each recipe's source in its own words."""

    def test_scratch_cnn(self):
        recipe = load_recipe("scratch-cnn")
        assert (recipe.model.backbone, recipe.model.weights, recipe.model.pool) == ("cnn", "none", "flatten")
        assert [h.activation for h in recipe.model.head] == ["relu"]  # the table gives one dense layer, and no size
        assert recipe.model.head[0].dropout > 0
        assert (recipe.train.optimizer, recipe.train.monitor) == ("adam", "val_loss")
        assert recipe.train.patience > 0
        assert recipe.published[0].metrics == {"accuracy": 0.9}

    def test_anomaly_score(self):
        recipe = load_recipe("anomaly-score")
        assert (recipe.task, recipe.data.size, recipe.data.values) == ("regression", 325, "unit")
        assert (recipe.model.backbone, recipe.model.filters, recipe.model.pool) == ("cnn", (5, 5, 5), "flatten")
        assert [h.dense for h in recipe.model.head] == [100, 30, 20]
        train = recipe.train
        assert (train.optimizer, train.learning_rate, train.loss) == ("rmsprop", 1e-3, "mae")
        assert (train.epochs, train.batch_size) == (250, 8)
        assert recipe.published[0].metrics == {"mae": 0.49}

    def test_cats_dogs(self):
        recipe = load_recipe("cats-dogs")
        assert (recipe.model.backbone, recipe.model.weights, recipe.model.pool) == (
            "mobilenet_v2",
            "imagenet",
            "average",
        )
        assert (recipe.model.head, recipe.model.freeze, recipe.data.size) == ((), "all", 224)

    def test_covid_xray(self):
        recipe = load_recipe("covid-xray")
        assert recipe.data.merge == {"covid or pneumonia": ("covid", "pneumonia")}
        assert (recipe.data.values, recipe.data.size, recipe.medical) == ("unit", 224, True)
        assert (recipe.model.backbone, recipe.model.weights) == ("vgg16", "imagenet")
        assert recipe.model.freeze == "block5_conv1"
        assert recipe.augment.rotation > 0
        assert recipe.augment.flip
        assert recipe.train.patience > 0
        assert recipe.published[0].metrics == {"accuracy": 0.87}

    def test_pneumonia(self):
        recipe = load_recipe("pneumonia")
        assert (recipe.data.positive, recipe.data.size, recipe.medical) == ("PNEUMONIA", 224, True)
        assert recipe.data.group_by is not None
        assert (recipe.model.backbone, recipe.model.freeze, recipe.model.pool) == ("vgg16", "block5_conv1", "average")
        assert [(h.dense, h.activation, h.dropout) for h in recipe.model.head] == [
            (512, "relu", 0.5),
            (256, "relu", 0.3),
            (128, "relu", 0.2),
        ]
        train, augment = recipe.train, recipe.augment
        assert (train.optimizer, train.learning_rate, train.batch_size, train.epochs) == ("adam", 1e-4, 32, 25)
        assert (train.patience, train.schedule, train.plateau_factor) == (5, "plateau", 0.5)
        assert train.monitor == "val_accuracy"
        shares = (augment.shift, augment.shear, augment.zoom)
        assert (augment.rotation, shares, augment.flip) == (20, (0.2, 0.2, 0.2), True)
        ours, *others = recipe.published
        assert ours.metrics == {
            "accuracy": 0.8862,
            "precision": 0.9370,
            "recall": 0.8769,
            "specificity": 0.9017,
            "npv": 0.8147,
            "f1": 0.9060,
            "roc_auc": 0.9661,
        }
        assert [f.source.split(",")[0] for f in others[:3]] == ["Rajpurkar 2017", "Wang 2017", "Kermany 2018"]


class TestFiles:
    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(RecipeError, match=r"none\.toml cannot be read.*No such file"):
            load_recipe(tmp_path / "none.toml")

    def test_a_folder_named_like_a_recipe_is_refused(self, tmp_path):
        (tmp_path / "folder.toml").mkdir()
        with pytest.raises(RecipeError, match=r"folder\.toml cannot be read"):
            load_recipe(tmp_path / "folder.toml")

    def test_bytes_that_are_no_text_are_refused(self, tmp_path):
        (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(RecipeError, match=r"bytes\.toml cannot be read"):
            load_recipe(tmp_path / "bytes.toml")

    def test_invalid_toml_says_where(self, tmp_path):
        with pytest.raises(RecipeError, match=r"mine\.toml is not valid TOML.*line 2"):
            load_recipe(file(tmp_path, 'name = "x"\nepochs 3\n'))

    def test_a_file_needs_no_suffix(self, tmp_path):
        (tmp_path / "mine").write_text("[train]\nepochs = 3\n")
        assert load_recipe(tmp_path / "mine").train.epochs == 3

    def test_an_empty_file_is_all_defaults(self, tmp_path):
        assert load_recipe(file(tmp_path, "")) == Recipe()


class TestOverrides:
    @pytest.mark.parametrize(
        ("override", "path", "value"),
        [
            ("train.epochs=3", ("train", "epochs"), 3),
            (" train.epochs = 3 ", ("train", "epochs"), 3),
            ("train.learning_rate=1e-4", ("train", "learning_rate"), 1e-4),
            ("augment.flip=false", ("augment", "flip"), False),
            ("train.optimizer=sgd", ("train", "optimizer"), "sgd"),
            ("train.optimizer = sgd ", ("train", "optimizer"), "sgd"),
            ('train.optimizer="sgd"', ("train", "optimizer"), "sgd"),
            ("data.size=96", ("data", "size"), 96),
            ("data.size=[96, 128]", ("data", "size"), (96, 128)),
            ("data.positive=a=b", ("data", "positive"), "a=b"),
            ("data.positive=1", ("data", "positive"), "1"),
            (r"data.group_by=^(p\d+)_", ("data", "group_by"), r"^(p\d+)_"),
            ('data.merge.ill=["flu", "cold"]', ("data", "merge"), {"ill": ("flu", "cold")}),
            ('data.merge={ill = ["flu"]}', ("data", "merge"), {"ill": ("flu",)}),
            ("model.filters=[8, 16]", ("model", "filters"), (8, 16)),
            ("model.freeze=15", ("model", "freeze"), 15),
            ("model.freeze=all", ("model", "freeze"), "all"),
            ("name=night shift", ("name",), "night shift"),
            ("medical=true", ("medical",), True),
        ],
    )
    def test_every_kind_of_value(self, override, path, value):
        found = load_recipe("phantom", [override])
        for part in path:
            found = getattr(found, part)
        assert found == value
        assert type(found) is type(value)

    def test_a_head_can_be_given_whole(self):
        head = load_recipe("phantom", ["model.head=[{dense = 16, dropout = 0.5}, {dense = 4}]"]).model.head
        assert [(h.dense, h.dropout, h.activation) for h in head] == [(16, 0.5, "relu"), (4, 0.0, "relu")]

    def test_the_last_of_several_wins_and_the_rest_of_the_recipe_stays(self):
        changed = load_recipe("phantom", ["train.epochs=3", "train.epochs=4"])
        plain = load_recipe("phantom")
        assert changed.train.epochs == 4
        assert changed == plain.model_copy(update={"train": plain.train.model_copy(update={"epochs": 4})})

    @pytest.mark.parametrize("override", ["data.group_by=", "data.group_by= "])
    def test_an_empty_value_takes_the_key_out_of_the_recipe(self, override):
        assert load_recipe("phantom").data.group_by is not None
        assert load_recipe("phantom", [override]).data.group_by is None
        assert load_recipe("phantom", ["model.filters="]).model.filters == ModelSection().filters
        assert load_recipe("scratch-cnn", [override]).data.group_by is None

    @pytest.mark.parametrize("override", ["train.epochs", "=3", ""])
    def test_one_without_key_or_value_shows_the_form(self, override):
        with pytest.raises(RecipeError, match=r"write section\.key=value, for example train\.epochs=3"):
            load_recipe("phantom", [override])

    @pytest.mark.parametrize(
        ("override", "near"),
        [
            ("train.epoch=3", "train.epochs"),
            ("epochs=3", "train.epochs"),
            ("trian.epochs=3", "train.epochs"),
            ("train.rotation=3", "augment.rotation"),
            ("train.qqqq=3", None),
        ],
    )
    def test_an_unknown_key_offers_the_nearest(self, override, near):
        with pytest.raises(UnknownNameError, match=r"recipe key named") as raised:
            load_recipe("phantom", [override])
        assert (raised.value.near or [None])[0] == near

    def test_a_key_below_something_that_is_no_section_is_refused(self, tmp_path):
        with pytest.raises(RecipeError, match="train is not a section in this recipe but 3"):
            load_recipe(file(tmp_path, "train = 3"), ["train.epochs=3"])

    def test_every_known_key_can_be_set_to_its_own_value(self):
        recipe = load_recipe("scratch-cnn")
        plain = tomllib.loads(recipe.to_toml())
        for key in known_keys():
            section, _, last = key.rpartition(".")
            value = (plain[section] if section else plain).get(last)
            if value is not None and not isinstance(value, (dict, list)):
                written = f'"{value}"' if isinstance(value, str) else str(value).lower()
                assert load_recipe("scratch-cnn", [f"{key}={written}"]) == recipe, key


class TestRefusals:
    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"train": {"epoch": 3}}, "unknown key 'train.epoch' (did you mean train.epochs?)"),
            ({"trian": {"epochs": 3}}, "unknown key 'trian' (did you mean train"),
            ({"epochs": 3}, "unknown key 'epochs' (did you mean train.epochs?)"),
            ({"qqqq": 3}, "unknown key 'qqqq'"),
            (
                {"model": {"head": [{"dense": 3, "droput": 0.1}]}},
                "'model.head.0.droput' (did you mean model.head.0.dropout?)",
            ),
            ({"published": [{"sauce": "x", "metrics": {}}]}, "(did you mean published.0.source?)"),
            ({"model": {"head": [{"dropout": 0.1}]}}, "model.head.0.dense is missing"),
        ],
    )
    def test_unknown_and_missing_keys(self, values, words):
        assert words in said(values)

    @pytest.mark.parametrize(
        ("section", "key", "value", "rule"),
        [
            ("augment", "rotation", 400, "less than or equal to 180"),
            ("augment", "shift", -0.1, "greater than or equal to 0"),
            ("train", "epochs", 0, "greater than or equal to 1"),
            ("train", "epochs", 2.5, "valid integer"),
            ("train", "learning_rate", 0, "greater than 0"),
            ("train", "learning_rate", float("nan"), "less than or equal to 10"),
            ("train", "optimizer", "adm", "'adam', 'adamw', 'rmsprop' or 'sgd'"),
            ("train", "label_smoothing", 0.5, "less than 0.5"),
            ("data", "size", 4, "each from 8 to 4096"),
            ("data", "size", 5000, "each from 8 to 4096"),
            ("data", "size", "big", "one number of pixels, or [height, width]"),
            ("data", "size", [96, 4], "each from 8 to 4096"),
            ("data", "size", [96, 96, 3], "[height, width]"),
            ("data", "crop_share", 0.1, "greater than 0.2"),
            ("data", "merge", 3, "valid dictionary"),
            ("model", "freeze", -1, "a count of layers from the input on"),
            ("model", "freeze", True, "a count of layers from the input on"),
            ("model", "filters", [], "at least 1 item"),
            ("model", "dropout", 1, "less than 1"),
        ],
    )
    def test_a_wrong_value_names_key_rule_and_value(self, section, key, value, rule):
        words = said({section: {key: value}})
        assert words.startswith("Recipe mine.toml: ")
        assert f"{section}.{key} = {value!r}: " in words
        assert rule in words
        assert words.count(";") == 0

    def test_all_complaints_come_at_once(self):
        words = said({"train": {"epochs": 0, "batchsize": 3}, "data": {"size": 3}})
        assert words.count(";") == 2
        for part in ("train.epochs = 0", "train.batch_size", "data.size = 3"):
            assert part in words

    @pytest.mark.parametrize(
        ("task", "train", "words"),
        [
            ("regression", {"monitor": "val_accuracy"}, "needs classes; a regression has val_loss and val_mae"),
            ("regression", {"monitor": "val_roc_auc"}, "needs classes"),
            ("classification", {"monitor": "val_mae"}, "is for a regression; take val_loss"),
            ("classification", {"loss": "mae"}, "train.loss = 'mae' is for a regression"),
            ("regression", {"class_weights": "balanced"}, "a regression has neither"),
            ("regression", {"label_smoothing": 0.1}, "a regression has neither"),
            ("classification", {"epochs": 3, "warmup": 3}, "train.warmup = 3 must end before the 3 epochs do"),
        ],
    )
    def test_what_does_not_fit_the_task(self, task, train, words):
        assert words in said({"task": task, "train": train})

    def test_a_regression_of_its_own_kind_is_taken(self):
        recipe = validate_recipe({"task": "regression", "train": {"monitor": "val_mae", "loss": "mse"}}, "x")
        assert recipe.train.loss == "mse"


class TestPreprocessing:
    @pytest.mark.parametrize(
        ("values", "black", "white"),
        [
            ("unit", [0, 0, 0], [1, 1, 1]),
            ("symmetric", [-1, -1, -1], [1, 1, 1]),
            (
                "imagenet",
                [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225],
                [0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225],
            ),
        ],
    )
    def test_black_and_white_become_what_the_name_says(self, values, black, white):
        factor, shift = Recipe(data=DataSection(values=values)).preprocessing().factor_and_shift()
        assert shift == pytest.approx(black, abs=1e-6)
        assert 255 * factor + shift == pytest.approx(white, abs=1e-5)

    def test_sizes_and_fit_are_passed_on(self):
        made = Recipe(
            data=DataSection(size=(40, 60), fit="crop", crop_share=0.5, interpolation="bicubic")
        ).preprocessing()
        assert (made.height, made.width, made.fit, made.crop_share, made.interpolation) == (
            40,
            60,
            "crop",
            0.5,
            "bicubic",
        )
        square = Recipe(data=DataSection(size=40)).preprocessing()
        assert (square.height, square.width) == (40, 40)


def sections():
    def share(most):
        return st.floats(0, most, allow_nan=False).filter(lambda x: x < most)

    words = st.text(max_size=12).filter(lambda s: "\r" not in s)
    data = st.builds(
        DataSection,
        size=st.one_of(st.integers(8, 4096), st.tuples(st.integers(8, 4096), st.integers(8, 4096))),
        fit=st.sampled_from(["stretch", "crop", "pad"]),
        positive=st.none() | words,
        merge=st.dictionaries(words, st.lists(words, max_size=3).map(tuple), max_size=2),
    )
    augment = st.builds(AugmentSection, rotation=st.floats(0, 180), zoom=share(0.5), flip=st.booleans())
    model = st.builds(
        ModelSection,
        filters=st.lists(st.integers(1, 4096), min_size=1, max_size=4).map(tuple),
        head=st.just(()) | st.builds(lambda n: ModelSection(head=[{"dense": n}]).head, st.integers(1, 99)),
        freeze=st.one_of(st.integers(0, 99), words),
        layer=st.none() | words,
    )
    train = st.builds(
        TrainSection, learning_rate=st.floats(1e-9, 10), epochs=st.integers(1, 9999), patience=st.integers(0)
    )
    return st.builds(Recipe, name=words, description=words, data=data, augment=augment, model=model, train=train)


@settings(max_examples=40, deadline=None)
@given(sections())
def test_any_recipe_survives_being_written_and_read(recipe):
    assert validate_recipe(tomllib.loads(recipe.to_toml()), "written") == recipe


def described(kind):
    for name, field in kind.model_fields.items():
        yield f"{kind.__name__}.{name}", field.description
        inner = (field.annotation, *get_args(field.annotation))
        for part in inner:
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from described(part)


def test_every_key_is_described():
    keys = dict(described(Recipe))
    assert len(keys) > 50
    assert [key for key, words in keys.items() if not words] == []


def test_an_augment_section_is_active_when_anything_is_changed():
    assert not AugmentSection().active
    for name in AugmentSection.model_fields:
        assert AugmentSection(**{name: True if name == "flip" else 0.1}).active, name


def test_a_recipe_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        load_recipe("phantom").train.epochs = 3


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[1] / "benchmarks/recipes").glob("*.toml")), ids=lambda path: path.stem
)
def test_recipes_of_the_documented_figures_are_read(path):
    assert load_recipe(path).name == path.stem
