"""The parts of a run: refused before data is read, built once, and the same as train.py's."""

import pytest
import torch

from tenet.errors import ConfigError, DatasetError
from tenet.experiment import Experiment
from tests.config.options import composed

TINY = ("experiment=quickstart", "backbone.width=4", "dataset.fraction=0.1", "trainer.device=cpu")


def test_what_can_be_refused_is_refused_before_any_data_is_read() -> None:
    missing = ("dataset=arrays", "dataset.path=nowhere.npz")
    experiment = Experiment(composed(*TINY[:2], *missing, "trainer.device=cpu"))
    experiment.check()
    with pytest.raises(DatasetError, match=r"nowhere\.npz"):
        _ = experiment.splits
    for override, message in {
        "tenet.groups=9": "tenet.groups=9 exceeds the 8 channels at layer stage_2",
        "tenet.layer=stage_7": "tenet.layer=stage_7 is no module of ResNet",
        "optimizer.momentum=0": "optimizer: Nesterov",
    }.items():
        with pytest.raises(ConfigError, match=message):
            Experiment(composed(*TINY[:2], *missing, override)).check()


def test_a_frozen_network_is_refused() -> None:
    experiment = Experiment(composed(*TINY))
    experiment.outline.requires_grad_(False)
    with pytest.raises(ConfigError, match="backbone: all of its parameters have requires_grad=False"):
        experiment.check()


def test_a_network_wider_than_memory_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"backbone: its weights take [\d,.]+ GB, and this machine has"):
        _ = Experiment(composed(*TINY, "backbone.width=4096", "backbone.depth=1994")).outline


def test_parts_are_built_once_and_initial_weights_depend_on_the_seed_alone() -> None:
    first, again, other = (Experiment(composed(*TINY, f"seed={seed}")) for seed in (3, 3, 4))
    assert first.network is first.network
    assert first.classifier.network is first.network
    torch.manual_seed(99)
    weights = [experiment.network.state_dict() for experiment in (first, again, other)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert not all(torch.equal(value, weights[2][name]) for name, value in weights[0].items())


def test_a_layer_may_be_any_module_by_its_own_name() -> None:
    experiment = Experiment(composed(*TINY, "tenet.layer=stages.stage_2.0.conv_1"))
    experiment.check()
    assert experiment.network.cut == "stages.stage_2.0.conv_1"
    assert Experiment(composed(*TINY)).network.cut == "stages.stage_2"
    assert Experiment(composed(*TINY, "tenet=none")).network.cut is None
