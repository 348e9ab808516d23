"""The full product of objectives, augmentations, mixings and inhibition: each combination trains, or is refused."""

from itertools import product

import pytest
import torch

from tenet.combinations import check_combination
from tenet.config.build import build
from tenet.data import ImageArrays, TrainingLoader
from tenet.errors import ConfigError
from tenet.experiment import Experiment
from tenet.methods import Batch, Draw, Inhibited, Jsd
from tenet.mixing import DataFacts
from tenet.networks import Network, ResNet
from tests.config.options import OPTIONS, composed, composed_with

OBJECTIVES, AUGMENTATIONS, MIXINGS = (
    [option for name, option in OPTIONS if name == group] for group in ("objective", "augment", "mixing")
)
FACTS = DataFacts(2, (0.5, 0.5, 0.5))
# What makes no sense with objective=jsd: equal views, and a first view that is not clean.
EQUAL, UNCLEAN = {"none", "standard"}, {"pixmix"}


@pytest.fixture(scope="module")
def parts():
    """The built parts, by group and option."""
    groups = ("objective", "augment", "mixing")
    return {
        (group, option): build(composed_with(group, option)[group], key=group)
        for group, option in OPTIONS
        if group in groups
    }


def is_refused(*arguments):
    try:
        check_combination(*arguments)
    except ConfigError:
        return True
    return False


def test_combinations_without_sense_are_refused_and_no_others(parts):
    refused = {
        names
        for names in product(OBJECTIVES, AUGMENTATIONS, MIXINGS)
        if is_refused(*(parts[part] for part in zip(("objective", "augment", "mixing"), names, strict=True)))
    }
    assert refused == {
        ("jsd", augment, mixing)
        for augment, mixing in product(AUGMENTATIONS, MIXINGS)
        if augment in EQUAL or mixing in UNCLEAN
    }


@pytest.mark.parametrize("augment", AUGMENTATIONS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_other_combination_trains_with_inhibition_on_top(parts, objective, augment):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(12) % 2
    images = torch.randint(256, (12, 16, 16, 3), generator=generator, dtype=torch.uint8)
    torch.manual_seed(0)
    network = Network(ResNet(num_classes=2, depth=8, width=4), cut="stage_2").train()
    for mixing in MIXINGS:
        combination = parts["objective", objective], parts["augment", augment], parts["mixing", mixing]
        if is_refused(*combination):
            continue
        method = Inhibited(method=combination[0], layer="stage_2", groups=3, start_step=0, interval=1)
        loader = TrainingLoader(
            ImageArrays(images, labels),
            augmentation=combination[1],
            mixing=combination[2],
            facts=FACTS,
            views_together=method.views,
            batch_size=12,
            seed=0,
        )
        batch = next(loader.epoch(0))
        updates = list(method.updates(network, batch))
        assert len(updates) == 2, mixing
        plain, inhibited = updates
        assert torch.isfinite(torch.stack([plain.loss, inhibited.loss])).all()
        assert 0 < inhibited.samples == int(plain.correct.sum()) <= len(batch.labels)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["augment=standard"], "^objective: it compares several views of each sample, but the chosen augment makes"),
        (["augment=ipmix", "augment.rounds=0"], "^objective: .* the chosen augment makes them equal"),
        (["mixing=pixmix"], "^mixing: it changes each view by itself, so that none is the clean one"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_group_and_the_remedy(overrides, message):
    config = composed("experiment=quickstart", "objective=jsd", *overrides)
    with pytest.raises(ConfigError, match=message + r".*choose .*="):
        Experiment(config).check()


def test_a_mixing_says_whether_it_changes_all_views_alike(parts):
    """The property that a refusal rests on."""
    views = Jsd.views
    for name in MIXINGS:
        mixing = parts["mixing", name]
        if mixing is None:
            continue
        images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0)).repeat(views, 1, 1, 1)
        draw = Draw("cpu", seed=0, step=1)
        batch = Batch(images=images, labels=torch.arange(8) % 2, step=1, draw=draw, views=views)
        mixed = mixing.mix(batch, FACTS).images.unflatten(0, (views, 8))
        assert torch.allclose(mixed[0], mixed[1], atol=1e-5) == mixing.is_alike_in_views, name
