"""Attacks: the published values, within the ball, and without a trace on the network."""

import copy

import pytest
import torch
from torch.nn import functional as F

from tenet.methods import Draw
from tenet.methods.attacks import ApgdCe, Fgsm, FgsmRs, LinfBall, Pgd
from tenet.networks import Network, ResNet
from tests.methods import small_net

ATTACKS = [
    Fgsm(),
    Fgsm(norm="l2", radius=0.5),
    FgsmRs(),
    Pgd(steps=3, restarts=2),
    Pgd(steps=3, norm="l2", radius=0.5, step_size=0.2),
    ApgdCe(steps=12, restarts=2),
    ApgdCe(steps=12, norm="l2", radius=0.5),
]
DRAW = Draw("cpu", seed=0, step=1)


@pytest.mark.parametrize(
    ("name", "attack"),
    [("pgd", Pgd()), ("fgsm_rs", FgsmRs()), ("fgsm", Fgsm())],
    ids=lambda value: str(value)[:8],
)
def test_an_attack_gives_the_official_images_from_the_official_start(name, attack, monkeypatch):
    values, network, images, labels = small_net.load()
    monkeypatch.setattr(type(attack.ball), "draw", lambda ball, images, generators: values["pgd/start"])
    expected = values[f"{name}/adversarial"]
    found = attack.perturb(network, images[:6], labels[:6], draw=DRAW)
    torch.testing.assert_close(found[: len(expected)], expected, atol=1e-6, rtol=0)
    loss = F.cross_entropy(network(found), labels[:6])
    torch.testing.assert_close(loss.detach(), values[f"{name}/loss"], atol=1e-6, rtol=0)


@pytest.fixture(scope="module")
def trained():
    """A small network with BatchNorm that has learned to tell bright from dark images, and such images."""
    torch.manual_seed(0)
    network = Network(ResNet(num_classes=2, depth=8, width=4)).train()
    images = torch.rand(64, 3, 16, 16)
    labels = torch.arange(64) % 2
    images = (0.8 * images + 0.1 * labels[:, None, None, None]).clamp(0, 1)
    images[:4] = images[:4].round()  # pixels at the ends
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for _ in range(25):
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()
    return network.eval(), images, labels


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_images_stay_in_the_ball_and_in_the_unit_range_and_are_the_same_in_other_batches(trained, attack):
    network, images, labels = trained

    def perturb(ids):
        # A generator for each image.
        def draw(purpose):
            return [Draw("cpu", seed=0, step=index)(purpose) for index in ids]

        return attack.perturb(network, images[ids], labels[ids], draw=draw)

    found = perturb(list(range(64)))
    changes = (found - images).flatten(1)
    size = changes.abs().amax(1) if isinstance(attack.ball, LinfBall) else changes.norm(dim=1)
    assert size.max() <= attack.ball.radius + 1e-6
    assert size.max() > 0.9 * attack.ball.radius
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.allclose(perturb([7, 3, 50]), found[[7, 3, 50]], atol=1e-6)


def test_more_steps_and_restarts_are_never_weaker_on_average(trained):
    network, images, labels = trained
    settings = {"radius": "2/255", "step_size": "0.5/255"}

    def loss(attack):
        with torch.no_grad():
            return F.cross_entropy(network(attack.perturb(network, images, labels, draw=DRAW)), labels)

    steps = [loss(Pgd(**settings, steps=steps)) for steps in (1, 3, 8, 20)]
    assert steps == sorted(steps)
    assert steps[0] > F.cross_entropy(network(images), labels)
    assert loss(Pgd(**settings, steps=8, restarts=3)) >= steps[2]
    assert loss(ApgdCe(radius="2/255", steps=20)) >= 0.99 * steps[-1]


@pytest.mark.parametrize("attack", ATTACKS[2:6:3], ids=str)
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_an_attack_leaves_no_trace_on_the_network_and_computes_in_float32(trained, attack, mode):
    network, images, labels = trained
    network = copy.deepcopy(network).train(mode == "train")
    before = copy.deepcopy(network.state_dict())
    expected = attack.perturb(network, images, labels, draw=DRAW)
    network.precision = "bf16"
    assert torch.equal(attack.perturb(network, images, labels, draw=DRAW), expected)
    assert network.precision == "bf16"
    assert network.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    # BatchNorm is as it was: a forward in train mode moves its statistics.
    network.train()(images)
    name = "backbone.stages.stem.1.running_mean"
    assert not torch.equal(network.state_dict()[name], before[name])


def test_soft_labels_are_attacked_as_shares(trained):
    network, images, labels = trained
    shares = F.one_hot(labels, 2).float()
    for attack in (Pgd(steps=2, restarts=2), ApgdCe(steps=5)):
        hard, soft = (attack.perturb(network, images, one, draw=DRAW) for one in (labels, shares))
        torch.testing.assert_close(hard, soft, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("attack", "settings", "message"),
    [
        (Pgd, {"radius": 8}, "radius=8 must be at most 1, because images are in .0, 1.; write 8/255"),
        (Pgd, {"step_size": 2}, "step_size=2 must be at most 1, because images are in .0, 1.; write 2/255"),
        (FgsmRs, {"radius": "300/255"}, "radius=300/255 must be at most 1"),
        (Fgsm, {"radius": -0.1}, "radius=-0.1 must be a number of at least 0, or a fraction such as 8/255"),
        (Pgd, {"step_size": "2/0"}, "step_size='2/0' must be a number"),
        (Pgd, {"restarts": 2, "random_start": False}, "restarts=2 need random_start=true"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_in_a_line(attack, settings, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        attack(**settings)
