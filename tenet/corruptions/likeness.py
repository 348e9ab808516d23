"""Whether an archive shows the test images: equal labels do not prove it."""

import logging
from typing import TYPE_CHECKING

import numpy as np
import torch

from tenet.corruptions.names import SEVERITIES
from tenet.data import ImageSource

if TYPE_CHECKING:
    from tenet.corruptions.archive import OfficialArchive

logger = logging.getLogger("tenet")

# Corruptions that leave the pixels in their places and change little at severity 1; the first one present is compared.
IN_PLACE = (
    "brightness", "jpeg_compression", "pixelate", "spatter", "contrast", "fog", "gaussian_blur", "defocus_blur",
    "shot_noise", "speckle_noise", "gaussian_noise", "snow", "frost", "motion_blur", "zoom_blur", "checkerboard_cutout",
)  # fmt: skip
COMPARED_IMAGES = 100
# Of CIFAR-10-C's images, at least 0.91 in each of these corruptions; of other images of equal classes, 0.08.
LEAST_LIKENESS = 0.5


def warn_of_other_images(archive: "OfficialArchive", test: ImageSource) -> None:
    """Log a warning if the archive's mildest images hardly resemble the test images at the same positions."""
    value = likeness(archive, test)
    if value is not None and value < LEAST_LIKENESS:
        logger.warning(
            "%s has the labels of the test set, but its images hardly resemble the test images: their median "
            "correlation is %.2f, and that of a benchmark's own images is above %.1f; is this the archive of other images?",
            archive.root,
            value,
            LEAST_LIKENESS,
        )


def likeness(archive: "OfficialArchive", test: ImageSource) -> float | None:
    """The median correlation of images at severity 1 with the test images at the same positions.

    None if the archive has another number of images than the test set, or nothing to compare.
    """
    count = archive.images_per_severity
    name = next((name for name in IN_PLACE if name in archive.names), None)
    if name is None or count != len(test):
        return None
    ids = torch.linspace(0, count - 1, min(count, COMPARED_IMAGES)).long()
    corrupted, clean = (
        centred(next(source.batches([ids])).images.cpu().numpy())
        for source in (archive.cell(name, SEVERITIES[0]), test)
    )
    spreads = np.sqrt(np.square(corrupted).sum(axis=1) * np.square(clean).sum(axis=1))
    products = (corrupted * clean).sum(axis=1)
    varied = spreads > 0
    return float(np.median(products[varied] / spreads[varied])) if varied.any() else None


def centred(images: np.ndarray) -> np.ndarray:
    """Each image as a row of values with mean 0."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    return flat - flat.mean(axis=1, keepdims=True)
