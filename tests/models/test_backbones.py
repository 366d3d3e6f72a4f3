"""Every family of backbones against the library's own whole classifier, up to its pooling."""

from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from tests.small_networks import noise, recipe_of
from torch import nn

from pellucid.errors import InputError, UnknownNameError
from pellucid.models.backbones import build_backbone, last_feature_layer
from pellucid.models.weights import fit_state
from pellucid.recipe_sections import ModelSection

# Which child of torchvision's classifier takes the feature map, or takes its mean over space.
TAKES_MAP = {
    "resnet18": "avgpool",
    "vgg11": "avgpool",
    "mobilenet_v2": "classifier",
    "mobilenet_v3_small": "avgpool",
    "densenet121": "classifier",
    "efficientnet_b0": "avgpool",
    "convnext_tiny": "avgpool",
    "squeezenet1_1": "classifier",
    "shufflenet_v2_x0_5": "fc",
    "mnasnet0_5": "classifier",
    "regnet_y_400mf": "avgpool",
    "googlenet": "avgpool",
    "inception_v3": "avgpool",
    "swin_t": "avgpool",
}


def section(backbone: str, **settings: Any) -> ModelSection:
    return recipe_of(backbone, **settings).model


def input_of(module: nn.Module, child: str, image: torch.Tensor) -> torch.Tensor:
    """What the child of a network is given when the network sees an image."""
    seen: list[torch.Tensor] = []
    module.get_submodule(child).register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        module(image)
    return seen[0]


def assert_same(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.shape == expected.shape
    assert float(expected.std()) > 0
    assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


@pytest.mark.parametrize("name", sorted(TAKES_MAP))
def test_torchvision_backbone_gives_the_map_that_its_classifier_pools(name):
    torch.manual_seed(0)
    size = 80 if name == "inception_v3" else 64
    options = {"init_weights": True, "aux_logits": False} if name in {"googlenet", "inception_v3"} else {}
    whole = torchvision.models.get_model(name, weights=None, **options).eval()
    backbone = build_backbone(section(name), (size, size)).eval()
    fit_state(backbone, whole.state_dict(), "the original")
    image = torch.from_numpy(noise(2, size))
    expected = input_of(whole, TAKES_MAP[name], image)
    with torch.no_grad():
        found = backbone(image)
    assert found.ndim == 4
    assert_same(found if expected.ndim == 4 else found.mean((2, 3)), expected)


def test_torchvision_transformer_gives_its_patches_as_a_map():
    torch.manual_seed(0)
    whole = torchvision.models.vit_b_16(weights=None, image_size=64).eval()
    nn.init.normal_(whole.encoder.pos_embedding)
    backbone = build_backbone(section("vit_b_16"), (64, 64)).eval()
    fit_state(backbone, whole.state_dict(), "the original")
    tokens: list[torch.Tensor] = []
    whole.encoder.ln.register_forward_hook(lambda m, i, output: tokens.append(output))
    image = torch.from_numpy(noise(2, 64))
    with torch.no_grad():
        whole(image)
        found = backbone(image)
    for row in range(4):
        for column in range(4):
            assert_same(found[:, :, row, column], tokens[0][:, 1 + row * 4 + column])


def test_torchvision_maxvit_gives_the_map_that_its_classifier_pools():
    torch.manual_seed(0)
    whole = torchvision.models.maxvit_t(weights=None, input_size=(224, 224)).eval()
    backbone = build_backbone(section("maxvit_t"), (224, 224)).eval()
    fit_state(backbone, whole.state_dict(), "the original")
    image = torch.from_numpy(noise(1, 224))
    with torch.no_grad():
        assert_same(backbone(image), input_of(whole, "classifier", image))


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050"])
def test_timm_backbone_gives_the_features_of_timm(name):
    torch.manual_seed(0)
    whole = timm.create_model(name, pretrained=False).eval()
    backbone = build_backbone(section(f"timm/{name}"), (64, 64)).eval()
    fit_state(backbone, whole.state_dict(), "the original")
    image = torch.from_numpy(noise(2, 64))
    with torch.no_grad():
        features = whole.forward_features(image)
        # MobileNetV3 has one more convolution behind its pooling, which here comes before it.
        expected = whole.act2(whole.conv_head(features)) if name.startswith("mobilenetv3") else features
        assert_same(backbone(image), expected)


def test_timm_map_with_channels_last_is_turned():
    torch.manual_seed(0)
    whole = timm.create_model("swin_tiny_patch4_window7_224", pretrained=False, img_size=(64, 96)).eval()
    backbone = build_backbone(section("swin_tiny_patch4_window7_224"), (64, 96)).eval()
    fit_state(backbone, whole.state_dict(), "the original")
    image = torch.from_numpy(noise(1, (64, 96)))
    with torch.no_grad():
        found, expected = backbone(image), whole.forward_features(image)
    assert found.shape == (1, 768, 2, 3)
    for row in range(2):
        for column in range(3):
            assert_same(found[:, :, row, column], expected[:, row, column])


@pytest.mark.parametrize(
    ("name", "patch", "prefix"), [("vit_tiny_patch16_224", 16, 1), ("vit_wee_patch16_reg1_gap_256", 16, 1)]
)
def test_timm_transformer_gives_its_patches_as_a_map(name, patch, prefix):
    torch.manual_seed(0)
    size = (2 * patch, 3 * patch)
    whole = timm.create_model(name, pretrained=False, img_size=size).eval()
    backbone = build_backbone(section(f"timm/{name}"), size).eval()
    fit_state(backbone, whole.state_dict(), "the original")
    image = torch.from_numpy(noise(1, size))
    with torch.no_grad():
        found, tokens = backbone(image), whole.fc_norm(whole.forward_features(image))
    assert found.shape[2:] == (2, 3)
    for row in range(2):
        for column in range(3):
            assert_same(found[:, :, row, column], tokens[:, prefix + row * 3 + column])


def test_own_cnn_is_what_its_description_says():
    torch.manual_seed(0)
    settings = section("cnn", filters=(4, 6), kernel=5, batch_norm=True)
    backbone = build_backbone(settings, (16, 20)).eval()
    state = backbone.state_dict()
    for index in (1, 2):
        nn.init.uniform_(state[f"norm{index}.running_mean"], -1, 1)
        nn.init.uniform_(state[f"norm{index}.running_var"], 0.5, 2)
    image = torch.from_numpy(noise(2, (16, 20)))
    expected = image
    for index in (1, 2):
        convolved = nn.functional.conv2d(expected, state[f"conv{index}.weight"], padding="same")
        mean, variance = (state[f"norm{index}.running_{s}"].view(1, -1, 1, 1) for s in ("mean", "var"))
        positive = ((convolved - mean) / (variance + 1e-5).sqrt()).clamp(min=0)
        n, c, h, w = positive.shape
        expected = positive.reshape(n, c, h // 2, 2, w // 2, 2).amax((3, 5))
    with torch.no_grad():
        assert_same(backbone(image), expected)


@pytest.mark.parametrize(
    ("backbone", "layer"),
    [
        ("cnn", "backbone.relu2"),
        ("resnet18", "backbone.layer4"),
        ("mobilenet_v2", "backbone.features.18"),
        ("squeezenet1_1", "backbone.features"),
        ("timm/resnet10t", "backbone"),
    ],
)
def test_the_last_layer_with_spatial_extent_is_found(backbone, layer):
    built = build_backbone(section(backbone), (64, 64)).eval()
    assert last_feature_layer(built, "backbone") == layer
    outputs: list[torch.Tensor] = []
    module = nn.ModuleDict({"backbone": built}).get_submodule(layer)
    module.register_forward_hook(lambda m, i, output: outputs.append(output))
    with torch.no_grad():
        final = built(torch.from_numpy(noise(1, 64)))
    # Nothing but a pooling may lie between it and the backbone's output.
    if outputs[0].shape == final.shape:
        assert torch.equal(outputs[0], final)
    else:
        assert torch.equal(nn.functional.max_pool2d(outputs[0], 2), final)


def test_a_pooling_within_a_nested_end_is_passed_over():
    poolings = nn.MaxPool2d(2), nn.AvgPool2d(2)
    block = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    assert last_feature_layer(nn.Sequential(nn.Sequential(block, *poolings)), "backbone") == "backbone.0.0"
    assert last_feature_layer(nn.Sequential(nn.Sequential(*block, *poolings)), "backbone") == "backbone.0.1"
    assert last_feature_layer(nn.Sequential(nn.Sequential(*block)), "backbone") == "backbone.0"


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(InputError, match=r"2 blocks halve the image 2 times: data.size must be at least 4, not 3"):
        build_backbone(section("cnn"), (3, 40))
    with pytest.raises(InputError, match=r"square images only: data.size must be one number, not \[64, 96\]"):
        build_backbone(section("vit_b_16"), (64, 96))


def test_a_model_without_a_feature_map_is_refused_in_one_sentence():
    with pytest.raises(InputError, match=r"timm's coat_tiny cannot be built .* without its pooling: .* Choose another"):
        build_backbone(section("timm/coat_tiny"), (64, 64))


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean mobilenet_v2 or") as caught:
        build_backbone(section("mobilenet_v22"), (64, 64))
    assert "`pellucid backbones` lists them" in str(caught.value)


def test_weights_of_noise_differ_between_seeds_and_repeat_with_one():
    def first(seed: int) -> np.ndarray:
        torch.manual_seed(seed)
        return build_backbone(section("cnn"), (24, 24)).state_dict()["conv1.weight"].numpy()

    assert np.array_equal(first(1), first(1))
    assert not np.array_equal(first(1), first(2))
