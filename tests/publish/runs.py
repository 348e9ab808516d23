"""A run folder as training leaves it, on a few images of 16 x 16, with a report if asked for."""

import json
from pathlib import Path

import torch

from evaluate import run as evaluate
from tenet.config.run_config import write_config
from tenet.files.names import ENVIRONMENT_FILE
from tenet.files.weights import save_weights
from tenet.loading import ModelDescription
from tenet.networks import Network, ResNet
from tests.config.options import composed
from tests.test_own_report import write_images

SETTINGS = (
    "dataset=arrays",
    "backbone=resnet8",
    "backbone.width=4",
    "tenet.groups=3",
    "ema.decay=0.9",
    "tracking=none",
)

MEAN = [0.4, 0.5, 0.6]


def make_run(place: Path, *, evaluated: bool = True) -> Path:
    """With plain and averaged weights, which are random; the report is of the plain ones."""
    run = place / "run"
    write_images(place / "own.npz", noise=20)
    config = composed(*SETTINGS, f"dataset.path={place}/own.npz")
    write_config(config, run / "config.yaml")
    command = f"{place}/train.py dataset.path={place}/own.npz backbone.width=4"
    (run / ENVIRONMENT_FILE).write_text(json.dumps({"command": command}))
    for seed, name in enumerate(("weights-ema", "weights")):
        torch.manual_seed(seed)
        about = {"classes": ["0", "1"], "image_size": [16, 16], "mean": MEAN}
        network = Network(ResNet(2, depth=8, width=4), **about)
        network(torch.rand(32, 3, 16, 16))  # statistics of BatchNorm
        description = ModelDescription.from_config(config)._asdict()
        path = run / f"{name}.safetensors"
        save_weights(network.backbone, path, interface=network.interface, description=description)
    if evaluated:
        evaluate(composed(f"run={run}", name="evaluate"))
    return run
