"""Augmentations of whole batches, on the device of the images."""

from tenet.augment.augmix import AugMix
from tenet.augment.ipmix import IPMix
from tenet.augment.policies import AutoAugment, RandAugment, TrivialAugment
from tenet.augment.prime import Prime
from tenet.augment.single_frequency import AprSingle, HybridSingle
from tenet.augment.views import Augmentation, NoAugmentation, Standard, View

__all__ = [
    "AprSingle",
    "AugMix",
    "Augmentation",
    "AutoAugment",
    "HybridSingle",
    "IPMix",
    "NoAugmentation",
    "Prime",
    "RandAugment",
    "Standard",
    "TrivialAugment",
    "View",
]
