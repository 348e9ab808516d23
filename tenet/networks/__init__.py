"""Image classifiers with named stages; see `Backbone` for the contract."""

from tenet.networks.backbone import Backbone
from tenet.networks.imagenet_resnet import ImageNetResNet
from tenet.networks.resnet import ResNet
from tenet.networks.resnext import ResNeXt
from tenet.networks.wide_resnet import WideResNet

__all__ = ["Backbone", "ImageNetResNet", "ResNeXt", "ResNet", "WideResNet"]
