"""Which objectives, labels, augmentations and mixings make sense together. Inhibition goes with all of them."""

from tenet.augment import Augmentation
from tenet.errors import ConfigError
from tenet.methods import Method
from tenet.mixing import Mixing


def check_combination(
    method: Method, augmentation: Augmentation, mixing: Mixing | None, *, multi_label: bool = False
) -> None:
    """Raise ConfigError if the method is for another kind of label than the data set's, if a mixing blends labels that
    are no shares, or if the method compares several views of each sample and they are equal, or none is clean.

    multi_label: whether the data set's images may have several classes.
    """
    _check_labels(method, mixing, multi_label=multi_label)
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


def _check_labels(method: Method, mixing: Mixing | None, *, multi_label: bool) -> None:
    if multi_label and not method.labels.is_multi_label:
        raise ConfigError(
            "objective: its softmax shares one label among the classes, but images of the chosen dataset may show "
            "several; choose objective=binary_cross_entropy"
        )
    if method.labels.is_multi_label and not multi_label:
        raise ConfigError(
            "objective: it is for images that may show several classes, but those of the chosen dataset have one; "
            "choose objective=cross_entropy, or dataset.multi_label=true if its labels have a column for each class"
        )
    if multi_label and mixing is not None and mixing.mixes_labels:
        raise ConfigError(
            "mixing: it gives a sample shares of two classes, but a label of the chosen dataset is present or absent; "
            "choose mixing=none, or one that keeps the label, such as mixing=pixmix"
        )
