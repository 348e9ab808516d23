"""Tiny models of many families, each with a cut in the middle of it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from tenet.networks import Network, zoo_model

WIDTHS = {"layers": [1, 1, 1, 1], "channels": [8, 16, 16, 16], "zero_init_last": False}
VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}


class Family(NamedTuple):
    name: str
    cut: str
    kwargs: Mapping[str, Any] = {}
    library: str = "timm"
    size: int = 32
    layout: str = "maps"


FAMILIES = {
    "resnet": Family("resnet18", "stage_2", WIDTHS),
    "resnext": Family("resnext50_32x4d", "layer2.0.conv2", {**WIDTHS, "cardinality": 4, "base_width": 16}),
    "wide resnet": Family("wide_resnet50_2", "stage_2", WIDTHS),
    "densenet": Family("densenet121", "features.denseblock2", {"growth_rate": 4, "block_config": [2, 2, 2, 2]}),
    "convnext": Family("convnext_atto", "stage_2", {"depths": [1, 1, 1, 1], "dims": [8, 16, 16, 16]}),
    "convnext inside": Family(
        # With the usual 1e-6, the block's part in the scores would be as small as rounding errors.
        "convnext_tiny", "stages.1.blocks.0.mlp.fc1",
        {"depths": [1, 1, 1, 1], "dims": [8, 16, 16, 16], "ls_init_value": 0.1},
        layout="channels_last",
    ),
    "efficientnet": Family("test_efficientnet", "stage_3"),
    "mobilenetv3": Family("mobilenetv3_small_050", "blocks.2.1"),
    "regnet": Family("regnetx_002", "s2", {"drop_path_rate": 0.1}),
    "vit": Family("vit_tiny_patch16_224", "blocks.0", {**VIT, "reg_tokens": 2}, layout="tokens+3"),
    "swin": Family(
        "swin_tiny_patch4_window7_224", "layers.0",
        {"img_size": 32, "window_size": 4, "embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2]},
        layout="channels_last",
    ),
    "deit": Family("deit_tiny_distilled_patch16_224", "blocks.0.mlp", VIT, layout="tokens+2"),
    "mobileone": Family("mobileone_s0", "stages.1"),
    "vgg": Family("vgg11", "features.10", {"mlp_ratio": 0.01}),
    "maxvit": Family(
        "maxvit_rmlp_pico_rw_256", "stages.1.blocks.0.attn_block",
        {"img_size": 64, "embed_dim": [32, 32, 32, 32], "depths": [1, 1, 1, 1], "stem_width": 8},
        size=64, layout="channels_last",
    ),
    "torchvision resnet": Family("resnet18", "layer2.0.conv2", library="torchvision"),
    "torchvision shufflenet": Family("shufflenet_v2_x0_5", "stage2", library="torchvision"),
    "torchvision mobilenetv3": Family("mobilenet_v3_small", "features.6", library="torchvision"),
}  # fmt: skip
CLASSES = 3


def make_network(family: Family, *, cut: bool = True, seed: int = 0) -> Network:
    """BatchNorm has the statistics of a batch: with its initial ones, some of these models give equal logits for all."""
    torch.manual_seed(seed)
    backbone = zoo_model(CLASSES, family.name, family.library, kwargs=family.kwargs)
    network = Network(backbone, cut=family.cut if cut else None)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    if norms:
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 1.0
        with torch.no_grad():
            network.train()(make_batch(family, seed=3)[0])
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    return network


def make_batch(family: Family, *, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(4, 3, family.size, family.size, generator=generator), torch.arange(4) % CLASSES
