"""The error tree against the drawing at the top of its module, and the offer of near names."""

import inspect
import re

import pytest

from pellucid import errors
from pellucid.errors import ImageError, InputError, MissingDependencyError, PellucidError, UnknownNameError, nearest


def drawn_tree():
    """{child: parent} as drawn in the docstring: a name's depth is where its first letter stands."""
    above, parents = [], {}
    for line in errors.__doc__.splitlines():
        found = re.match(r"([ |`-]*)([A-Z]\w+Error)\b", line)
        if found is None:
            continue
        depth, name = len(found[1]), found[2]
        above = [(d, n) for d, n in above if d < depth]
        parents[name] = above[-1][1] if above else "Exception"
        above.append((depth, name))
    return parents


def test_the_drawing_is_the_tree():
    defined = {
        name: kind.__bases__[0].__name__
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, Exception)
    }
    assert drawn_tree() == defined


def test_a_missing_dependency_is_an_import_error_too():
    assert issubclass(MissingDependencyError, ImportError)
    assert issubclass(MissingDependencyError, PellucidError)


def test_an_image_error_carries_its_code():
    error = ImageError("empty", "The file is empty.")
    assert (error.code, str(error), error.reason) == ("empty", "The file is empty.", "The file is empty.")


@pytest.mark.parametrize(
    ("name", "known", "sentence"),
    [
        ("resnet5", ["resnet50", "vgg16"], "There is no backbone named 'resnet5'. Did you mean resnet50?"),
        ("VGG16", ["resnet50", "vgg16"], "There is no backbone named 'VGG16'. Did you mean vgg16?"),
        ("zebra", ["resnet50", "vgg16"], "There is no backbone named 'zebra'."),
        ("anything", [], "There is no backbone named 'anything'."),
    ],
)
def test_an_unknown_name_offers_the_nearest(name, known, sentence):
    assert str(UnknownNameError("backbone", name, known)) == sentence
    assert isinstance(UnknownNameError("backbone", name, known), InputError)


def test_the_remedy_stands_last():
    error = UnknownNameError("recipe", "phantoms", ["phantom"], "`pellucid recipes` lists them.")
    assert str(error).endswith("Did you mean phantom? `pellucid recipes` lists them.")
    assert error.near == ["phantom"]


def test_nearest_gives_known_spelling_best_first_and_no_more_than_asked():
    known = ["Epochs", "epoch_size", "epoch", "batch"]
    assert nearest("epochs", known) == ["Epochs", "epoch", "epoch_size"]
    assert nearest("epochs", known, count=1) == ["Epochs"]
    assert nearest("qqq", known) == []
