"""Models of timm and torchvision, by their names there."""

from collections.abc import Mapping
from typing import Any, Literal

from torch import nn

from tenet.networks.zoo.model import Pretrained, ZooModel
from tenet.networks.zoo.timm_models import TimmModel
from tenet.networks.zoo.torchvision_models import TorchvisionModel

__all__ = ["Pretrained", "ZooModel", "zoo_model"]

LIBRARIES: dict[str, type[ZooModel]] = {"timm": TimmModel, "torchvision": TorchvisionModel}


def zoo_model(
    num_classes: int,
    name: str,
    library: Literal["timm", "torchvision"],
    pretrained: bool = False,
    stem: Literal["cifar"] | None = None,
    kwargs: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A model of another library by its name there, such as `convnext_atto` or `resnet50.a1_in1k` of timm.

    library: timm (pip install 'tenet-training[models]') or torchvision.
    pretrained: whether training starts from its published weights (see `ZooModel.download`).
    stem: cifar for small images (see `fit_stem_to_small_images`). kwargs: of the model's constructor, such as
        drop_path_rate.
    stage_1 to stage_4 are where features have 1/4, 1/8, 1/16 and 1/32 of the image's side, without `stem`.
    Raises ValueError for a name that the library lacks, with the nearest ones, and for refused `kwargs`.
    """
    return LIBRARIES[library](name, kwargs or {}, pretrained).build(num_classes, stem=stem)
