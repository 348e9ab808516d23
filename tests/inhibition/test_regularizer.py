import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tenet.inhibition import Inhibition, inhibition_mask, orthogonality_loss, split
from tenet.networks import ResNet


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ResNet(num_classes=5, depth=8, width=4)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(6, 3, 16, 16, generator=generator), torch.randint(5, (6,), generator=generator)


def test_due_on_every_interval_th_iteration_from_the_start_step_on():
    inhibition = Inhibition(layer="stage_2", interval=3, start_step=7)
    assert [step for step in range(1, 16) if inhibition.is_due(step)] == [9, 12, 15]


def test_the_cut_is_exact(model, batch):
    images, _ = batch
    model.eval()
    for layer in ("stem", "stage_1", "stage_2", "stage_3"):
        front, back = split(model, layer)
        assert torch.equal(back(front(images)), model(images))


def test_loss_is_the_weighted_sum_and_reaches_every_parameter(model, batch):
    inhibition = Inhibition(layer="stage_2", groups=3, weight=0.25, orthogonality=0.5)
    output = inhibition.step(model, *batch, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(output.loss, 0.25 * output.cross_entropy + 0.5 * output.orthogonality)
    torch.testing.assert_close(output.cross_entropy, F.cross_entropy(output.logits, batch[1]))
    again = orthogonality_loss(output.features, assignments=output.assignments, groups=3)
    torch.testing.assert_close(output.orthogonality, again)
    output.loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_importance_pass_moves_neither_statistics_nor_gradients(model, batch):
    model.train()
    before = copy.deepcopy(model.state_dict())
    Inhibition(layer="stage_2", groups=3).importance_pass(model, *batch)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_importance_pass_gives_the_gradient_of_the_true_classes_sigmoid_scores(model, batch):
    images, labels = batch
    features, gradients = Inhibition(layer="stage_2", groups=3).importance_pass(model, images, labels)
    front, back = split(model.eval(), "stage_2")
    torch.testing.assert_close(features, front(images).detach())
    inputs = front(images).detach().requires_grad_()
    scores = torch.sigmoid(back(inputs))[torch.arange(6), labels]
    torch.testing.assert_close(gradients, torch.autograd.grad(scores.sum(), inputs)[0])


def test_inhibited_pass_is_in_train_mode_and_moves_statistics_once(model, batch):
    model.eval()
    Inhibition(layer="stage_2", groups=3).step(model, *batch, generator=torch.Generator().manual_seed(0))
    assert all(module.training for module in model.modules())
    counts = [module.num_batches_tracked for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert counts
    assert all(count == 1 for count in counts)


def test_mask_is_that_of_the_importance_pass(model, batch):
    inhibition = Inhibition(layer="stage_2", groups=3)
    twin = copy.deepcopy(model)
    output = inhibition.step(model, *batch, generator=torch.Generator().manual_seed(0))
    features, gradients = inhibition.importance_pass(twin, *batch)
    mask = inhibition_mask(features, gradients=gradients, assignments=output.assignments, groups=3)
    assert torch.equal(output.mask, mask)
    # Masked in train mode, behind the cut alone.
    front, back = split(twin.train(), "stage_2")
    torch.testing.assert_close(output.logits, back(front(batch[0]) * mask))


def test_under_bf16_autocast_the_groups_are_those_of_the_same_features_in_full_precision(model, batch):
    inhibition = Inhibition(layer="stage_2", groups=3)
    medoids = torch.arange(3).expand(6, -1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = inhibition.step(model, *batch, initial_medoids=medoids)
    assert output.mask.dtype == torch.float32
    assert output.orthogonality.dtype == torch.float32
    output.loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_any_model_with_stages_and_head_will_do(batch):
    class Tiny(nn.Module):
        def __init__(self):
            super().__init__()
            self.stages = nn.Sequential()
            self.stages.add_module("only", nn.Conv2d(3, 4, 3))
            self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))

    output = Inhibition(layer="only", groups=4).step(Tiny(), *batch)
    assert output.logits.shape == (6, 5)


def test_unknown_layer_is_refused_with_the_names(model, batch):
    with pytest.raises(
        ValueError, match=r"layer='stage_9' is not a stage .* stem, stage_1, stage_2, stage_3"
    ):
        Inhibition(layer="stage_9").step(model, *batch)


def test_groups_beyond_the_channels_are_refused(model, batch):
    inhibition = Inhibition(layer="stage_2", groups=9)
    with pytest.raises(ValueError, match="groups=9 must be from 1 to the number of channels, 8"):
        inhibition.step(model, *batch)
    with pytest.raises(ValueError, match="groups=9 exceeds the 8 channels at layer stage_2"):
        inhibition.check(model, (3, 16, 16))
    model.train()
    Inhibition(layer="stage_2", groups=8).check(model, (3, 16, 16))
    assert all(module.training for module in model.modules())


def test_labels_out_of_range_are_refused(model, batch):
    images, labels = batch
    for bad in (-1, 5):
        labels[2] = bad
        with pytest.raises(ValueError, match=r"labels must be in \[0, 5\)"):
            Inhibition(layer="stage_2", groups=3).step(model, images, labels)


def test_non_finite_features_are_refused(model, batch):
    images, labels = batch
    images[1] = torch.nan
    with pytest.raises(ValueError, match="features contain NaN or infinity"):
        Inhibition(layer="stage_2", groups=3).step(model, images, labels)


def test_an_empty_batch_is_refused(model, batch):
    images, labels = batch
    with pytest.raises(ValueError, match="at least one sample"):
        Inhibition(layer="stage_2", groups=3).step(model, images[:0], labels[:0])


@pytest.mark.parametrize(
    "setting",
    [{"groups": 0}, {"weight": -0.1}, {"interval": 0}, {"max_iterations": 0}, {"weight": float("nan")}],
)
def test_settings_out_of_range_are_refused(setting):
    (name,) = setting
    with pytest.raises(ValueError, match=f"{name}=.* must be at least"):
        Inhibition(layer="stage_2", **setting)


def test_a_module_behind_the_cut_may_work_in_place_and_repeat(batch):
    shared = nn.Conv2d(4, 4, 1)
    model = nn.Module()
    model.stages = nn.Sequential()
    for name, module in {"a": nn.Conv2d(3, 4, 3), "b": shared, "c": shared}.items():
        model.stages.add_module(name, module)
    model.head = nn.Sequential(nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    for layer in ("b", "c"):
        front, back = split(model, layer)
        assert torch.equal(back(front(batch[0])), model.head(model.stages(batch[0])))
    features, gradients = Inhibition(layer="c", groups=2).importance_pass(model, *batch)
    assert (features < 0).any(), "the features are those before the in-place module"
    assert gradients.abs().sum() > 0


def test_a_refused_step_leaves_the_mode_as_it_was(model, batch):
    images, labels = batch
    images[0] = torch.inf
    with pytest.raises(ValueError, match="NaN or infinity"):
        Inhibition(layer="stage_2", groups=3).step(model.train(), images, labels)
    assert model.training


@pytest.mark.parametrize("setting", [{"groups": 2.5}, {"interval": 1.5}])
def test_counts_that_are_no_integers_are_refused(setting):
    with pytest.raises((ValueError, TypeError)):
        Inhibition(layer="stage_2", **setting)
