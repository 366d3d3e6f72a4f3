"""One small model of each of a hundred families of classifiers that timm and torchvision offer, with random weights.

Depth and width are cut where a family has no small member and its class takes such settings: what may fail is the kind
of layers, not their number. `python -m tests.families.attempt NAME` exports one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["convolutional", "hybrid", "transformer", "mlp"]


@dataclass(frozen=True)
class Family:
    """A family by its name, the model that stands for it, and the size of its images."""

    name: str
    model: str
    kind: Kind = "convolutional"
    size: int = 64
    settings: dict[str, Any] = field(default_factory=dict)
    stride: int = 32

    @property
    def grid(self) -> tuple[int, int]:
        """The rows and columns of the last block's cells, each of `stride` pixels of the image."""
        side = -(-self.size // self.stride)
        return side, side

    @property
    def library(self) -> str:
        return "torchvision" if self.model.startswith("torchvision/") else "timm"


def _vit(name: str, model: str, size: int = 64, stride: int = 16, **settings: Any) -> Family:
    return Family(name, model, "transformer", size, settings, stride)


SHALLOW = {"depth": 3, "embed_dim": 96, "num_heads": 3}

FAMILIES: tuple[Family, ...] = (
    # timm, convolutional
    Family("ResNet", "resnet10t"),
    Family("ResNet-D", "resnet26d"),
    Family("SE-ResNet", "legacy_seresnet18"),
    Family("ECA-ResNet", "ecaresnet26t"),
    Family("ResNeXt", "resnext26ts"),
    Family("ResNetV2", "resnetv2_18"),
    Family("Res2Net", "res2net50_14w_8s"),
    Family("ResNeSt", "resnest14d"),
    Family("SKNet", "skresnet18"),
    Family("TResNet", "tresnet_m"),
    Family("RegNetX", "regnetx_002"),
    Family("RegNetY", "regnety_002"),
    Family("RegNetZ", "regnetz_b16"),
    Family("NFNet", "test_nfnet"),
    Family("NF-RegNet", "nf_regnet_b0"),
    Family("VGG", "vgg11_bn", stride=16),
    Family("DenseNet", "densenet121"),
    Family("RDNet", "rdnet_tiny"),
    Family("DLA", "dla46_c"),
    Family("HRNet", "hrnet_w18_small"),
    Family("DPN", "dpn48b"),
    Family("CSPNet", "cspresnet50"),
    Family("CS3DarkNet", "cs3darknet_s"),
    Family("DarkNet", "darknet17"),
    Family("CSPNeXt", "cspnext_tiny"),
    Family("VoVNet", "ese_vovnet19b_slim_dw"),
    Family("SelecSLS", "selecsls42"),
    Family("HardCoRe-NAS", "hardcorenas_a"),
    Family("EfficientNet", "efficientnet_b0"),
    Family("EfficientNetV2", "efficientnetv2_rw_t"),
    Family("MixNet", "mixnet_s"),
    Family("MNASNet", "mnasnet_small"),
    Family("MobileNetV1", "mobilenetv1_100"),
    Family("MobileNetV2", "mobilenetv2_050"),
    Family("MobileNetV3", "mobilenetv3_small_050"),
    Family("MobileNetV4", "mobilenetv4_conv_small_035"),
    Family("LCNet", "lcnet_035"),
    Family("LCNetV2", "lcnetv2_small"),
    Family("TinyNet", "tinynet_e"),
    Family("FBNet", "fbnetc_100"),
    Family("SPNASNet", "spnasnet_100"),
    Family("GhostNet", "ghostnet_050"),
    Family("RepGhostNet", "repghostnet_050"),
    Family("ReXNet", "rexnet_100"),
    Family("MobileOne", "mobileone_s0"),
    Family("RepVGG", "repvgg_a0"),
    Family("GERNet", "gernet_s"),
    Family("RepViT", "repvit_m0_9"),
    Family("InceptionV3", "inception_v3", size=128, stride=64),
    Family("InceptionV4", "inception_v4", size=128, stride=64),
    Family("Inception-ResNetV2", "inception_resnet_v2", size=128, stride=64),
    Family("Xception", "legacy_xception", size=96),
    Family("Aligned Xception", "xception41", size=96),
    Family("PNASNet", "pnasnet5large", size=96),
    Family("ConvNeXt", "test_convnext"),
    Family("ConvNeXtV2", "convnextv2_atto"),
    Family("ConvMixer", "convmixer_768_32", size=63, stride=7),
    Family("InceptionNeXt", "inception_next_atto"),
    Family("HGNet", "hgnet_tiny"),
    Family("HGNetV2", "hgnetv2_b0"),
    Family("StarNet", "starnet_s050"),
    Family("FasterNet", "fasternet_t0"),
    Family("MambaOut", "test_mambaout"),
    # timm, hybrid
    Family("BoTNet", "botnet26t_256", "hybrid", 128),
    Family("HaloNet", "halonet26t", "hybrid", 256),
    Family("LambdaNet", "lambda_resnet26t", "hybrid", 128),
    Family("CoAtNet", "test_coatnet", "hybrid", 128),
    Family("MaxViT", "test_maxvit", "hybrid", 128),
    Family("MobileViT", "mobilevit_xxs", "hybrid", 128),
    Family("MobileViTV2", "mobilevitv2_050", "hybrid", 128),
    Family("EdgeNeXt", "edgenext_xx_small", "hybrid"),
    Family("EfficientFormer", "efficientformer_l1", "hybrid", 224),
    Family("EfficientFormerV2", "efficientformerv2_s0", "hybrid", 128),
    Family("EfficientViT (MIT)", "efficientvit_b0", "hybrid"),
    Family("EfficientViT (MSRA)", "efficientvit_m0", "hybrid", 128, stride=64),
    Family("FastViT", "fastvit_t8", "hybrid"),
    Family("GhostNetV2", "ghostnetv2_100", "hybrid"),
    Family("LeViT", "levit_128s", "hybrid", 128, stride=64),
    Family("NextViT", "nextvit_small", "hybrid"),
    Family("PoolFormer", "poolformer_s12", "hybrid"),
    Family("CAFormer", "caformer_s18", "hybrid"),
    Family("SHViT", "shvit_s1", "hybrid", 128, stride=64),
    Family("SwiftFormer", "swiftformer_xs", "hybrid", 128),
    Family("TinyViT", "tiny_vit_5m_224", "hybrid", 128),
    Family("Visformer", "visformer_tiny", "hybrid", 128),
    Family("ViTamin", "vitamin_small_224", "hybrid", stride=16),
    Family("ViT hybrid", "vit_tiny_r_s16_p8_224", "hybrid"),
    # timm, transformers
    _vit("ViT", "test_vit"),
    _vit("ViT with registers", "vit_tiny_patch16_224", reg_tokens=4, depth=4),
    _vit("DeiT", "deit_tiny_patch16_224", depth=4),
    _vit("DeiT distilled", "deit_tiny_distilled_patch16_224", depth=4),
    _vit("BEiT", "beit_base_patch16_224", **SHALLOW),
    _vit("EVA", "eva02_tiny_patch14_224", 56, 14, depth=3),
    _vit("CaiT", "cait_xxs24_224", depth=4),
    _vit("XCiT", "xcit_nano_12_p8_224", 64, 8, depth=3),
    _vit("CrossViT", "crossvit_tiny_240", 120, 18),
    _vit("ConViT", "convit_tiny", depth=4, local_up_to_layer=3),
    _vit("CoaT", "coat_lite_tiny", 64, 32),
    _vit("Swin", "swin_tiny_patch4_window7_224", 64, 32, embed_dim=24, depths=(1, 1, 2, 1), window_size=2),
    _vit("SwinV2", "swinv2_tiny_window8_256", 64, 32, embed_dim=24, depths=(1, 1, 2, 1), window_size=2),
    _vit("Swin-CR", "swinv2_cr_tiny_224", 64, 32, embed_dim=24, depths=(1, 1, 2, 1), window_size=2),
    _vit("PVTv2", "pvt_v2_b0", 64, 32),
    _vit("Twins", "twins_svt_small", 64, 32, depths=(1, 1, 2, 1)),
    _vit("Hiera", "hiera_tiny_224", 64, 32),
    _vit("MViTv2", "mvitv2_tiny", 64, 32),
    _vit("PiT", "pit_ti_224", 64, 32),
    _vit("NesT", "nest_tiny", 64),
    _vit("TNT", "tnt_s_patch16_224", depth=3),
    _vit("VOLO", "volo_d1_224", 64),
    _vit("DaViT", "davit_tiny", 64, 32, depths=(1, 1, 2, 1)),
    _vit("FocalNet", "focalnet_tiny_srf", 64, 32),
    _vit("GC ViT", "gcvit_xxtiny", 64, 32),
    _vit("ViT relative position", "test_vit_relpos"),
    _vit("SAM ViT", "samvit_base_patch16_224", 64, **SHALLOW),
    _vit("NaFlexViT", "naflexvit_base_patch16_gap", 64, **SHALLOW),
    # timm, MLPs and what stands in for attention
    Family("MLP-Mixer", "mixer_s32_224", "mlp", 64),
    Family("gMLP", "gmlp_ti16_224", "mlp", stride=16),
    Family("ResMLP", "resmlp_12_224", "mlp", stride=16),
    Family("gMixer", "gmixer_12_224", "mlp", stride=16),
    Family("Sequencer", "sequencer2d_s", "mlp", 56, {"layers": (1, 1, 1, 1)}, stride=14),
    # torchvision
    Family("AlexNet", "torchvision/alexnet", size=96, stride=20),
    Family("SqueezeNet", "torchvision/squeezenet1_1", stride=22),
    Family("GoogLeNet", "torchvision/googlenet", size=96, stride=32),
    Family("ShuffleNetV2", "torchvision/shufflenet_v2_x0_5"),
    Family("ResNet (torchvision)", "torchvision/resnet18"),
    Family("EfficientNet (torchvision)", "torchvision/efficientnet_b0"),
    Family("ViT (torchvision)", "torchvision/vit_b_32", "transformer", 96, stride=32),
    Family("Swin (torchvision)", "torchvision/swin_t", "transformer", 64),
    Family("MaxViT (torchvision)", "torchvision/maxvit_t", "hybrid", 224),
)

TINY: tuple[Family, ...] = (
    Family("ECA-ResNet", "ecaresnet26t", settings={"layers": (1, 1, 1, 1)}),
    Family("NFNet", "test_nfnet"),
    Family("ConvNeXt", "test_convnext"),
    Family("MobileNetV3", "mobilenetv3_small_050"),
    _vit("ViT", "test_vit", 64),
    _vit("CaiT", "cait_xxs24_224", 32, depth=1, embed_dim=48, num_heads=2),
    _vit("Swin", "swin_tiny_patch4_window7_224", 32, 8, embed_dim=24, depths=(1, 1), num_heads=(1, 2), window_size=2),
    Family("MLP-Mixer", "mixer_s32_224", "mlp"),
)
"""One quick model of each kind of layers that the choice of the layer and the export once failed at."""


def build(family: Family, classes: int = 5) -> Any:
    """The model of a family in evaluation mode, with seeded weights."""
    import torch

    torch.manual_seed(0)
    if family.library == "torchvision":
        import torchvision

        name = family.model.partition("/")[2]
        options: dict[str, Any] = dict(family.settings)
        if name == "googlenet":
            options |= {"aux_logits": False, "init_weights": True}
        if name.startswith("vit"):
            options |= {"image_size": family.size}
        return torchvision.models.get_model(name, weights=None, num_classes=classes, **options).eval()
    import timm

    options = {"num_classes": classes, **family.settings}
    try:
        return timm.create_model(family.model, img_size=family.size, **options).eval()
    except TypeError:  # only what depends on the image's size takes it
        return timm.create_model(family.model, **options).eval()
