"""The product of objectives, augmentations, mixings, attacks and inhibition: each combination trains, or is refused."""

from itertools import product

import pytest
import torch

from tenet.config.build import build
from tenet.data import ImageArrays, TrainingLoader
from tenet.errors import ConfigError
from tenet.experiment import Experiment
from tenet.experiment.combinations import check_combination
from tenet.experiment.method import with_attack
from tenet.methods import Batch, Draw, Inhibited, Jsd
from tenet.mixing import DataFacts
from tenet.networks import Network, ResNet
from tests.config.options import OPTIONS, composed, composed_with

OBJECTIVES, AUGMENTATIONS, MIXINGS = (
    [option for name, option in OPTIONS if name == group] for group in ("objective", "augment", "mixing")
)
MULTI = ["dataset=arrays", "dataset.path=own.npz", "dataset.multi_label=true"]
FACTS = DataFacts(2, (0.5, 0.5, 0.5))
# What makes no sense with objective=jsd: equal views, and a first view that is not clean.
EQUAL, UNCLEAN = {"none", "standard"}, {"pixmix"}
# The objective for images with several classes, and the mixings that make no sense with such labels.
MULTI_LABEL, BLENDS_LABELS = "binary_cross_entropy", {"mixup", "cutmix"}


@pytest.fixture(scope="module")
def parts():
    """The built parts, by group and option."""
    groups = ("objective", "augment", "mixing")
    return {
        (group, option): build(composed_with(group, option)[group], key=group)
        for group, option in OPTIONS
        if group in groups
    }


def is_refused(*arguments, **data):
    try:
        check_combination(*arguments, **data)
    except ConfigError:
        return True
    return False


def test_combinations_without_sense_are_refused_and_no_others(parts):
    refused = {
        (*names, multi_label)
        for *names, multi_label in product(OBJECTIVES, AUGMENTATIONS, MIXINGS, (False, True))
        if is_refused(
            *(parts[part] for part in zip(("objective", "augment", "mixing"), names, strict=True)),
            multi_label=multi_label,
        )
    }
    assert refused == {
        (objective, augment, mixing, multi_label)
        for objective, augment, mixing, multi_label in product(
            OBJECTIVES, AUGMENTATIONS, MIXINGS, (False, True)
        )
        if multi_label != (objective == MULTI_LABEL)
        or (multi_label and mixing in BLENDS_LABELS)
        or (objective == "jsd" and (augment in EQUAL or mixing in UNCLEAN))
    }


@pytest.mark.slow
@pytest.mark.parametrize("augment", AUGMENTATIONS)
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_other_combination_trains_with_inhibition_on_top(parts, objective, augment):
    assert_trains(parts, objective, augment, "none", updates=1)


# The updates of an iteration.
ATTACKS = {"pgd": 1, "fgsm_rs": 1, "free": 4, "trades": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("objective", "attack"),
    [
        (objective, attack)
        for objective, attack in product(OBJECTIVES, ATTACKS)
        if attack == "free" or objective == "cross_entropy" or (attack != "trades" and objective == "jsd")
    ],
)
def test_attacks_go_under_inhibition_and_around_objectives_and_mixings(parts, objective, attack):
    assert_trains(parts, objective, "augmix", attack, updates=ATTACKS[attack])


def assert_trains(parts, objective, augment, attack, *, updates):
    """With every mixing that makes sense, each update is followed by an inhibited one."""
    # An attack that leaves some predictions right.
    small = {} if attack == "none" else {"radius": 1e-4}
    attacks = {**composed_with("attack", attack)["attack"], **small}
    generator = torch.Generator().manual_seed(0)
    multi_label = objective == MULTI_LABEL
    # Of two classes, each is present in two thirds of the images.
    labels = (
        torch.tensor([[1, 0], [0, 1], [1, 1]] * 4, dtype=torch.int8) if multi_label else torch.arange(12) % 2
    )
    images = torch.randint(256, (12, 16, 16, 3), generator=generator, dtype=torch.uint8)
    torch.manual_seed(0)
    network = Network(ResNet(num_classes=2, depth=8, width=4), cut="stage_2").train()
    for mixing in MIXINGS:
        combination = parts["objective", objective], parts["augment", augment], parts["mixing", mixing]
        if is_refused(*combination, multi_label=multi_label):
            continue
        attacked = with_attack(attacks, combination[0])
        method = Inhibited(method=attacked, layer="stage_2", groups=3, start_step=0, interval=1)
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
        count = 0
        for update in method.updates(network, batch):
            update.loss.backward()
            assert torch.isfinite(update.loss)
            if update.correct is not None:
                chosen = int(method.labels.chosen(batch.labels, update.correct).sum())
            else:
                assert 0 < update.samples == chosen <= len(batch.labels)
            count += 1
        assert count == 2 * updates, mixing


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["objective=jsd", "augment=standard"], "^objective: it compares several views of each sample, but the chosen"),
        (["objective=jsd", "augment=ipmix", "augment.rounds=0"], "^objective: .* the chosen augment makes them equal"),
        (["objective=jsd", "mixing=pixmix"], "^mixing: it changes each view by itself, so that none is the clean one"),
        (["objective=binary_cross_entropy"], "^objective: it is for images that may show several classes"),
        (MULTI, "^objective: its softmax shares one label among the classes"),
        ([*MULTI, "objective=jsd"], "^objective: its softmax shares one label among the classes"),
        ([*MULTI, "objective=binary_cross_entropy", "mixing=cutmix"], "^mixing: it gives a sample shares of two classes"),
        ([*MULTI, "objective=binary_cross_entropy", "attack=pgd"], "^attack: it raises the cross-entropy of a single"),
        (["objective=jsd", "attack=trades"], "^attack: TRADES has a loss of its own, on top of the cross-entropy alone"),
    ],
)  # fmt: skip
def test_a_refusal_names_the_group_and_the_remedy(overrides, message):
    config = composed("experiment=quickstart", *overrides)
    with pytest.raises(ConfigError, match=message + r".*choose .*="):
        Experiment(config).check()


def test_a_mixing_says_whether_it_changes_all_views_alike(parts):
    """The property that a refusal rests on: JSD's first view is then made of clean images alone."""
    views = Jsd.views
    clean, *augmented = torch.rand(views, 8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    for name, step in product(MIXINGS, range(1, 5)):  # some mixings leave a part of the batches alone
        mixing = parts["mixing", name]
        if mixing is None:
            continue

        def mixed(*images, mixing=mixing, step=step):
            draw = Draw("cpu", seed=0, step=step)
            labels = torch.arange(8) % 2
            batch = Batch(images=torch.cat(images), labels=labels, step=step, draw=draw, views=views)
            return mixing.mix(batch, FACTS).images.unflatten(0, (views, 8))

        same, different = mixed(*[clean] * views), mixed(clean, *augmented)
        assert torch.allclose(same[0], same[1], atol=1e-5) == mixing.is_alike_in_views, name
        if mixing.is_alike_in_views:
            assert torch.allclose(different[0], same[0], atol=1e-5), name
