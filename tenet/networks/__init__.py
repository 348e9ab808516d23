"""Image classifiers, and `Network`, which wraps one of them: it takes images in [0, 1] and can be cut at any module."""

from tenet.networks.allconv import AllConv
from tenet.networks.compile import compile_network
from tenet.networks.cuts import Cut, find_cuts, list_cuts, resolve_cut
from tenet.networks.densenet import DenseNet
from tenet.networks.imagenet import imagenet_resnet
from tenet.networks.layouts import Layout
from tenet.networks.network import Network, find_min_batch_size, unwrap
from tenet.networks.preact_resnet18 import PreActResNet18
from tenet.networks.resnet import ResNet
from tenet.networks.resnet18 import ResNet18
from tenet.networks.resnext import ResNeXt
from tenet.networks.wide_resnet import WideResNet
from tenet.networks.zoo import Pretrained, ZooModel, zoo_model

__all__ = [
    "AllConv",
    "Cut",
    "DenseNet",
    "Layout",
    "Network",
    "PreActResNet18",
    "Pretrained",
    "ResNeXt",
    "ResNet",
    "ResNet18",
    "WideResNet",
    "ZooModel",
    "compile_network",
    "find_cuts",
    "find_min_batch_size",
    "imagenet_resnet",
    "list_cuts",
    "resolve_cut",
    "unwrap",
    "zoo_model",
]
