"""Names of backbones, and where they come from."""

import pytest
import timm
import torchvision

from pellucid.errors import UnknownNameError
from pellucid.models.catalogue import find_backbone, timm_names, torchvision_names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cnn", ("own", "cnn")),
        ("resnet18", ("torchvision", "resnet18")),  # timm has the name too
        ("timm/resnet18", ("timm", "resnet18")),
        ("resnet10t", ("timm", "resnet10t")),
        ("resnet18.a1_in1k", ("timm", "resnet18.a1_in1k")),
        ("timm/resnet10t.c3_in1k", ("timm", "resnet10t.c3_in1k")),
    ],
)
def test_a_name_is_found_at_its_source(name, expected):
    assert find_backbone(name) == expected


def test_every_listed_name_can_be_asked_for():
    assert all(find_backbone(name) == ("torchvision", name) for name in torchvision_names())
    assert all(find_backbone(f"timm/{name}") == ("timm", name) for name in timm_names())


def test_only_classifiers_are_listed():
    names = torchvision_names()
    assert {"resnet18", "vit_b_16", "swin_t", "maxvit_t"} <= set(names)
    for name in names:
        assert torchvision.models.get_model_builder(name).__module__.startswith("torchvision.models.")
        assert not set(torchvision.models.get_model_builder(name).__module__.split(".")) & {
            "detection", "segmentation", "video", "quantization", "optical_flow",
        }  # fmt: skip
    assert set(timm_names()) == {n.split(".")[0] for n in timm.list_models()}


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("mobilenet_v22", "mobilenet_v2"),
        ("ResNet18", "resnet18"),
        ("timm/resnet10tt", "resnet10t"),
        ("cnnn", "cnn"),
        ("efficientnet-b0", "efficientnet_b0"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name, offered):
    with pytest.raises(UnknownNameError) as caught:
        find_backbone(name)
    assert caught.value.near[0] == offered
    assert f"There is no backbone named {name!r}. Did you mean {offered}" in str(caught.value)


@pytest.mark.parametrize("name", ["", "timm/", "zzzzqq", "cnn/cnn"])
def test_a_name_near_to_nothing_is_told_where_the_list_is(name):
    with pytest.raises(UnknownNameError, match="`pellucid backbones` lists them"):
        find_backbone(name)
