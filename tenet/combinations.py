"""Which objectives, augmentations and mixings make sense together. Inhibition goes with all of them."""

from tenet.augment import Augmentation
from tenet.errors import ConfigError
from tenet.methods import Method
from tenet.mixing import Mixing


def check_combination(method: Method, augmentation: Augmentation, mixing: Mixing | None) -> None:
    """Raise ConfigError if the method compares several views of each sample and they are equal, or none is clean."""
    if method.views == 1:
        return
    if not augmentation.changes_images:
        raise ConfigError(
            "objective: it compares several views of each sample, but the chosen augment makes them equal; choose "
            "another, such as augment=augmix"
        )
    if mixing is not None and not mixing.is_alike_in_views:
        raise ConfigError(
            "mixing: it changes each view by itself, so that none is the clean one that the chosen objective needs; "
            "choose mixing=none (augment=ipmix mixes pictures into the other views alone) or objective=cross_entropy"
        )
