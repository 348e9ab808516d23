"""Small images that show any number of three colours."""

from pathlib import Path

import numpy as np

CLASSES = ("red", "green", "blue")


def arrays(images: int, *, seed: int) -> dict[str, np.ndarray]:
    """Noise of 16 x 16 pixels, bright in the channels of the classes that are present; of 20 labels, one is not counted."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(2, size=(images, len(CLASSES))).astype(np.int8)
    pixels = generator.integers(120, size=(images, 16, 16, 3)) + 100 * labels[:, None, None, :]
    labels[generator.random(labels.shape) < 0.05] = -1
    return {"images": pixels.astype(np.uint8), "labels": labels}


def write_npz(path: Path, **changes: np.ndarray) -> Path:
    """The data set as `dataset=arrays` reads it, 96 training and 40 test images; changes: other arrays, by name."""
    parts = {"train": arrays(96, seed=0), "test": arrays(40, seed=1)}
    content = {f"{split}_{key}": value for split, part in parts.items() for key, value in part.items()}
    np.savez(path, **{**content, "classes": np.array(CLASSES), **changes})
    return path
