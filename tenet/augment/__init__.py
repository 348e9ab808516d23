"""Augmentations of whole batches, on the device of the images."""

from tenet.augment.augmix import AugMix
from tenet.augment.views import Augmentation, NoAugmentation, Standard, View

__all__ = ["AugMix", "Augmentation", "NoAugmentation", "Standard", "View"]
