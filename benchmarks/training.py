"""The training that the benchmarks measure: the parts that train.py would build, on synthetic images."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from tenet.config.command_line import plan
from tenet.data import ImageArrays, Splits
from tenet.doctor.rehearsal import Rehearsal
from tenet.experiment import Experiment

CONF = Path(__file__).resolve().parents[1] / "conf"
BACKBONES = sorted(path.stem for path in (CONF / "backbone").glob("*.yaml"))
CLASSES = tuple(str(number) for number in range(10))


@lru_cache
def compose(*overrides: str) -> dict[str, Any]:
    return plan(overrides, config_dir=CONF, config_name="train")[1]


def make_experiment(device: str, *overrides: str, images: ImageArrays | None = None) -> Experiment:
    """What train.py would build with these overrides, with `images` as the data set.

    By default inhibition begins at once, and the optimizer is fused on CUDA.
    """
    fused = "true" if device == "cuda" else "null"
    common = ["tracking=none", f"optimizer.fused={fused}", f"trainer.device={device}"]
    if "tenet=none" not in overrides:
        common.append("tenet.start_step=0")
    experiment = Experiment(compose(*common, *overrides))
    arrays = images or ImageArrays(torch.zeros(10, 32, 32, 3, dtype=torch.uint8), torch.arange(10), CLASSES)
    experiment.splits = Splits(arrays, None, arrays)
    return experiment


def make_rehearsal(device: str, precision: str, *overrides: str) -> Rehearsal:
    """The steps of ResNeXt-29 at learning rate 0: a plain and an inhibited one for every batch.

    channels_last only on CUDA, unless overridden.
    """
    layout = f"trainer.channels_last={'true' if device == 'cuda' else 'false'}"
    return Rehearsal(make_experiment(device, f"trainer.precision={precision}", layout, *overrides))
