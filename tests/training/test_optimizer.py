"""A step that is refused leaves everything unchanged, to the last bit."""

import copy

import pytest
import torch
from torch import nn

from tenet.methods import Batch, Draw, Update
from tenet.networks import Network
from tenet.training.optimizer import GuardedOptimizer
from tenet.training.schedule import Constant, OneCycle, Span

POISON = {"a NaN": torch.nan, "an infinity": torch.inf}


def make(optimizer_class=torch.optim.SGD, *, precision="fp32", **settings):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))
    network = Network(model, precision=precision)
    return network, optimizer_class(network.parameters(), lr=0.1, **settings)


def guard(network, optimizer, *, skips=True, clip_norm=None):
    """A guarded optimizer, and the list of updates that it refuses."""
    refused = []
    guarded = GuardedOptimizer(
        optimizer, network, on_nonfinite=refused.append, skips=skips, clip_norm=clip_norm
    )
    return guarded, refused


def loss_of(network, images):
    return nn.functional.cross_entropy(network(images), torch.tensor([0, 1, 0, 1]))


def update_of(loss, name="loss"):
    labels = torch.tensor([0, 1, 0, 1])
    batch = Batch(images=torch.zeros(4, 3, 8, 8), labels=labels, step=1, draw=Draw("cpu", seed=0, step=1))
    return Update(loss=loss, batch=batch, samples=4, name=name)


def snapshot(network, optimizer):
    return copy.deepcopy((dict(network.state_dict()), optimizer.state_dict()["state"]))


def assert_same(first, second):
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
@pytest.mark.parametrize(
    ("optimizer_class", "settings"),
    [(torch.optim.SGD, {"momentum": 0.9, "nesterov": True}), (torch.optim.AdamW, {})],
)
def test_a_skipped_step_changes_no_bit_of_weights_optimizer_and_statistics(poison, optimizer_class, settings):
    network, optimizer = make(optimizer_class, **settings)
    guarded, refused = guard(network, optimizer)
    images = torch.randn(4, 3, 8, 8)
    first = update_of(loss_of(network, images))
    guarded.step(first)
    assert first.gradient_norm > 0
    before = snapshot(network, optimizer)
    bad = images.clone()
    bad[0, 0, 0, 0] = poison
    second = update_of(loss_of(network, bad), name="inhibited loss")
    guarded.step(second)
    assert second.is_refused
    assert_same(snapshot(network, optimizer), before)
    assert [update.name for update in refused] == ["inhibited loss"]
    # The next step is the one that would have followed without it.
    guarded.step(update_of(loss_of(network, images)))
    twin, twins = make(optimizer_class, **settings)
    for _ in range(2):
        twins.zero_grad()
        loss_of(twin, images).backward()
        twins.step()
    assert_same(snapshot(network, optimizer), snapshot(twin, twins))


def test_a_finite_loss_with_a_non_finite_gradient_is_refused():
    network, optimizer = make()
    guarded, refused = guard(network, optimizer)
    before = snapshot(network, optimizer)
    weight = network.backbone[3].weight
    # The root's slope at 0 is infinite, its value is not.
    guarded.step(update_of(loss_of(network, torch.randn(4, 3, 8, 8)) + (0 * weight).abs().sqrt().sum()))
    assert len(refused) == 1
    assert refused[0].loss < 10
    assert_same(snapshot(network, optimizer), before)


def test_an_overflow_in_bf16_is_refused():
    network, optimizer = make(precision="bf16")
    guarded, refused = guard(network, optimizer)
    with torch.no_grad():
        network.backbone[3].weight.fill_(3e38)
    guarded.step(update_of(loss_of(network, torch.randn(4, 3, 8, 8))))
    assert len(refused) == 1


def test_without_skipping_the_refusal_comes_before_any_weight_is_touched():
    network, optimizer = make()

    def on_nonfinite(update):
        raise ArithmeticError(update.name)

    guarded = GuardedOptimizer(optimizer, network, on_nonfinite=on_nonfinite)
    before = [one.detach().clone() for one in network.parameters()]
    with pytest.raises(ArithmeticError, match=r"^loss$"):
        guarded.step(update_of(loss_of(network, torch.full((4, 3, 8, 8), torch.nan))))
    assert_same(list(network.parameters()), before)
    assert any(one.grad.isnan().any() for one in network.parameters()), "for the diagnosis"


def test_other_steps_are_the_optimizers_own():
    network, optimizer = make(momentum=0.9)
    twin, twins = make(momentum=0.9)
    guarded, refused = guard(network, optimizer, skips=False)
    for seed in range(3):
        torch.manual_seed(seed)
        images = torch.randn(4, 3, 8, 8)
        update = update_of(loss_of(network, images))
        guarded.step(update)
        assert not update.loss.requires_grad, "its graph is released"
        twins.zero_grad()
        loss_of(twin, images).backward()
        expected = torch.cat([one.grad.flatten() for one in twin.parameters()]).norm()
        torch.testing.assert_close(update.gradient_norm, expected)
        twins.step()
    assert refused == []
    assert_same(snapshot(network, optimizer), snapshot(twin, twins))


@pytest.mark.parametrize("clip_norm", [0.1, 100.0])
def test_a_gradient_is_clipped_as_torch_does_and_its_norm_is_the_one_before(clip_norm):
    network, optimizer = make(momentum=0.9)
    twin, twins = make(momentum=0.9)
    guarded, _ = guard(network, optimizer, skips=False, clip_norm=clip_norm)
    for seed in range(3):
        torch.manual_seed(seed)
        images = torch.randn(4, 3, 8, 8)
        update = update_of(loss_of(network, images))
        guarded.step(update)
        twins.zero_grad()
        loss_of(twin, images).backward()
        assert update.gradient_norm == nn.utils.clip_grad_norm_(twin.parameters(), clip_norm) > 0.1
        twins.step()
    assert_same(snapshot(network, optimizer), snapshot(twin, twins))


@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9}])
def test_a_schedule_that_cycles_the_momentum_sets_it_or_the_first_beta(settings):
    optimizer_class = torch.optim.SGD if settings else torch.optim.AdamW
    network, optimizer = make(optimizer_class, **settings)
    guarded, _ = guard(network, optimizer)
    (group,) = optimizer.param_groups
    guarded.follow(OneCycle(pct_start=0.3), 2, Span(10, 5))
    assert group["lr"] == pytest.approx(0.1)
    assert (group["momentum"] if settings else group["betas"]) == (0.85 if settings else (0.85, 0.999))
    guarded.follow(Constant(), 3, Span(10, 5))
    assert (group["momentum"] if settings else group["betas"][0]) == 0.85, "left alone"
