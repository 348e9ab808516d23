"""A step that is refused leaves everything, to the last bit, as it was."""

import copy

import pytest
import torch
from torch import nn

from tenet.training.optimizer import Guard

POISON = {"a NaN": torch.nan, "an infinity": torch.inf}


def make(optimizer_class=torch.optim.SGD, **settings):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))
    return model, optimizer_class(model.parameters(), lr=0.1, **settings)


def loss_of(model, images):
    return nn.functional.cross_entropy(model(images), torch.tensor([0, 1, 0, 1]))


def snapshot(model, optimizer):
    return copy.deepcopy((dict(model.state_dict()), optimizer.state_dict()["state"]))


def assert_same(first, second):
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
@pytest.mark.parametrize(
    ("optimizer_class", "settings"),
    [(torch.optim.SGD, {"momentum": 0.9, "nesterov": True}), (torch.optim.AdamW, {})],
)
def test_a_skipped_step_changes_no_bit_of_weights_optimizer_and_statistics(poison, optimizer_class, settings):
    model, optimizer = make(optimizer_class, **settings)
    refused = []
    guard = Guard(model, refuse=lambda name, loss: refused.append((name, loss.item())), skips=True)
    images = torch.randn(4, 3, 8, 8)
    guard.remember()
    assert guard.descend(optimizer, loss_of(model, images)) > 0
    before = snapshot(model, optimizer)
    bad = images.clone()
    bad[0, 0, 0, 0] = poison
    guard.remember()
    assert guard.descend(optimizer, loss_of(model, bad), name="inhibited loss") is None
    assert_same(snapshot(model, optimizer), before)
    assert [name for name, _ in refused] == ["inhibited loss"]
    # And what comes after is what would have come without it.
    guard.remember()
    guard.descend(optimizer, loss_of(model, images))
    after = snapshot(model, optimizer)
    twin, twins = make(optimizer_class, **settings)
    for _ in range(2):
        twins.zero_grad()
        loss_of(twin, images).backward()
        twins.step()
    assert_same(after, snapshot(twin, twins))


def test_a_finite_loss_with_a_non_finite_gradient_is_refused():
    model, optimizer = make()
    refused = []
    guard = Guard(model, refuse=lambda _, loss: refused.append(loss.item()), skips=True)
    guard.remember()
    before = snapshot(model, optimizer)
    weight = model[3].weight
    # The root's slope at 0 is infinite, its value is not.
    loss = loss_of(model, torch.randn(4, 3, 8, 8)) + (0 * weight).abs().sqrt().sum()
    assert guard.descend(optimizer, loss) is None
    assert len(refused) == 1
    assert refused[0] < 10
    assert_same(snapshot(model, optimizer)[0].pop("3.weight"), before[0].pop("3.weight"))


def test_an_overflow_in_bf16_is_refused():
    model, optimizer = make()
    refused = []
    guard = Guard(model, refuse=lambda _, loss: refused.append(loss.item()), skips=True)
    guard.remember()
    with torch.no_grad():
        model[3].weight.fill_(3e38)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_of(model, torch.randn(4, 3, 8, 8))
    assert guard.descend(optimizer, loss) is None
    assert len(refused) == 1


def test_without_skipping_the_refusal_comes_before_any_weight_is_touched():
    model, optimizer = make()

    def refuse(name, loss):
        raise ArithmeticError(name)

    guard = Guard(model, refuse=refuse)
    before = [one.detach().clone() for one in model.parameters()]
    with pytest.raises(ArithmeticError, match=r"^loss$"):
        guard.descend(optimizer, loss_of(model, torch.full((4, 3, 8, 8), torch.nan)))
    assert_same(list(model.parameters()), before)
    assert any(one.grad.isnan().any() for one in model.parameters()), "for the diagnosis"


def test_other_steps_are_the_optimizers_own():
    model, optimizer = make(momentum=0.9)
    twin, twins = make(momentum=0.9)
    guard = Guard(model, refuse=lambda name, loss: pytest.fail(name))
    for seed in range(3):
        torch.manual_seed(seed)
        images = torch.randn(4, 3, 8, 8)
        norm = guard.descend(optimizer, loss_of(model, images))
        twins.zero_grad()
        loss_of(twin, images).backward()
        expected = torch.cat([one.grad.flatten() for one in twin.parameters()]).norm()
        torch.testing.assert_close(norm, expected)
        twins.step()
    assert_same(snapshot(model, optimizer), snapshot(twin, twins))
