"""Image classifiers with named stages; see `Backbone` for the contract."""

from tenet.backbones.backbone import Backbone
from tenet.backbones.imagenet_resnet import ImageNetResNet
from tenet.backbones.resnet import ResNet
from tenet.backbones.resnext import ResNeXt
from tenet.backbones.wide_resnet import WideResNet

__all__ = ["Backbone", "ImageNetResNet", "ResNeXt", "ResNet", "WideResNet"]
