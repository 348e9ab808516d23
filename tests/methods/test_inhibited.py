"""Inhibition on top of a method: which samples, when, and what one inhibited update is."""

import copy

import pytest
import torch
from torch import nn

from tenet.inhibition import inhibition_mask, orthogonality_loss
from tenet.methods import Batch, CrossEntropy, Draw, Inhibited, importance_pass
from tenet.networks import Network, ResNet
from tests.methods.steps import AllRight, RecordingNetwork, fix_medoids, inhibit
from tests.reference.inhibited_step import inhibited_loss


@pytest.fixture
def network():
    torch.manual_seed(0)
    return RecordingNetwork(ResNet(num_classes=5, depth=8, width=4), cut="stage_2")


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(6, 3, 16, 16, generator=generator), torch.randint(5, (6,), generator=generator)


def test_due_on_every_interval_th_iteration_from_the_start_step_on():
    inhibited = Inhibited(method=CrossEntropy(), layer="stage_2", interval=3, start_step=7)
    assert [step for step in range(1, 16) if inhibited.is_due(step)] == [9, 12, 15]


def test_the_update_is_the_nine_steps_written_out_on_the_samples_that_were_right(network, batch):
    images, labels = batch
    twin = copy.deepcopy(network.backbone)
    correct = torch.tensor([True, False, True, True, False, True])
    update = inhibit(network, images, labels, method=AllRight(correct=correct), weight=0.25)
    settings = Inhibited(method=CrossEntropy(), layer="stage_2", groups=3, weight=0.25)
    expected = inhibited_loss(
        twin,
        (images[correct] - 0.5) / 0.5,
        labels[correct],
        settings=settings,
        generator=update.batch.draw("medoids"),
    )
    assert torch.equal(update.loss, expected)
    assert update.samples == 4
    for loss in (update.loss, expected):
        loss.backward()
    for one, other in zip(network.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_terms_are_the_unweighted_losses(network, batch):
    update = inhibit(network, *batch, weight=0.25, orthogonality=0.5)
    terms = update.terms
    torch.testing.assert_close(
        update.loss, 0.25 * terms["loss_inhibited"] + 0.5 * terms["loss_orthogonality"]
    )
    torch.testing.assert_close(
        terms["loss_inhibited"], nn.functional.cross_entropy(network.masked_logits, batch[1])
    )


def test_importance_pass_moves_neither_statistics_nor_gradients_nor_the_mode(network, batch):
    network.train()
    before = copy.deepcopy(network.state_dict())
    importance_pass(network, *batch)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(module.training for module in network.modules())


def test_importance_pass_returns_the_gradient_of_the_true_classes_sigmoid_scores(network, batch):
    images, labels = batch
    features, gradients = importance_pass(network, images, labels)
    backbone = network.backbone.eval()
    front, back = backbone.stages[:3], nn.Sequential(backbone.stages[3], backbone.head)
    inputs = front((images - 0.5) / 0.5).detach().requires_grad_()
    torch.testing.assert_close(features, inputs.detach())
    scores = torch.sigmoid(back(inputs))[torch.arange(6), labels]
    torch.testing.assert_close(gradients, torch.autograd.grad(scores.sum(), inputs)[0])


def test_the_masked_pass_is_in_train_mode_and_moves_statistics_once(network, batch):
    inhibit(network.train(), *batch)
    assert all(module.training for module in network.modules())
    counts = [
        module.num_batches_tracked for module in network.modules() if isinstance(module, nn.BatchNorm2d)
    ]
    assert counts
    assert all(count == 1 for count in counts)


def test_the_mask_is_that_of_the_importance_pass_and_the_orthogonality_that_of_the_masked_pass(
    network, batch, monkeypatch
):
    twin = copy.deepcopy(network)
    assignments = fix_medoids(monkeypatch, torch.arange(3).expand(6, -1))
    update = inhibit(network, *batch)
    features, gradients = importance_pass(twin, *batch)
    mask = inhibition_mask(features, gradients=gradients, assignments=assignments[0], groups=3)
    assert torch.equal(network.mask, mask)
    again = orthogonality_loss(network.features, assignments=assignments[0], groups=3)
    torch.testing.assert_close(update.terms["loss_orthogonality"], again.detach())


def test_in_bf16_the_methods_arithmetic_stays_in_float32(batch):
    torch.manual_seed(0)
    network = RecordingNetwork(ResNet(num_classes=5, depth=8, width=4), cut="stage_2", precision="bf16")
    update = inhibit(network, *batch)
    assert network.features.dtype == torch.bfloat16
    assert network.mask.dtype == update.terms["loss_orthogonality"].dtype == torch.float32
    update.loss.backward()
    # Autocast must not have kept weights without a graph from the importance pass (pytorch issue 112583).
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.backbone.stages.stem.parameters())


def test_any_model_and_any_module_will_do_also_one_before_a_module_that_works_in_place(batch):
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
    )
    network = RecordingNetwork(model, cut="0")
    features, gradients = importance_pass(network, *batch)
    assert (features < 0).any(), "the features are those before the ReLU"
    assert gradients.abs().sum() > 0
    inhibit(network, *batch, layer="0", groups=4).loss.backward()
    assert (network.features < 0).any()


def check(layer, **settings):
    with torch.device("meta"):
        network = Network(ResNet(num_classes=5, depth=8, width=4), cut=layer)
    Inhibited(method=CrossEntropy(), layer=layer, **settings).check(network.to("meta"), (3, 16, 16))


def test_groups_beyond_the_channels_and_layers_without_maps_are_refused():
    check("stage_2", groups=8)
    with pytest.raises(ValueError, match="groups=9 exceeds the 8 channels at layer stage_2"):
        check("stage_2", groups=9)
    with pytest.raises(
        ValueError,
        match=r"layer=head can't be cut: its output .* has no channels and places; choose among head.0",
    ):
        check("head")


def test_a_network_that_is_cut_elsewhere_is_refused(network, batch):
    with pytest.raises(ValueError, match=r"layer=stage_1 is not where the network is cut, stages\.stage_2"):
        inhibit(network, *batch, layer="stage_1")
    with pytest.raises(ValueError, match="layer=stage_9 is no module of ResNet"):
        inhibit(network, *batch, layer="stage_9")


def test_one_right_sample_is_skipped_where_maps_of_one_pixel_need_two(batch):
    torch.manual_seed(0)
    network = RecordingNetwork(ResNet(num_classes=5, depth=8, width=4), cut="stage_2")
    images, labels = batch[0][..., :4, :4], batch[1]
    for right, updates in ((1, 1), (2, 2)):
        method = Inhibited(
            method=AllRight(correct=torch.arange(6) < right),
            layer="stage_2",
            groups=3,
            start_step=0,
            interval=1,
        )
        draw = Draw("cpu", seed=0, step=1)
        found = list(method.updates(network.train(), Batch(images=images, labels=labels, step=1, draw=draw)))
        assert len(found) == updates
        assert method.counters()["skipped_steps"] == 2 - updates


@pytest.mark.parametrize("bad", [-1, 5])
def test_labels_out_of_range_are_refused(network, batch, bad):
    images, labels = batch
    labels[2] = bad
    with pytest.raises(ValueError, match=r"labels must be in \[0, 5\)"):
        inhibit(network, images, labels)


def test_non_finite_features_give_an_update_to_refuse_and_leave_the_mode_as_it_was(network, batch):
    images, labels = batch
    images[1] = torch.nan
    update = inhibit(network.train(), images, labels)
    assert update.loss.isnan()
    assert update.name == "inhibited loss (features contain NaN or infinity)"
    assert network.training


@pytest.mark.parametrize(
    "setting",
    [{"groups": 0}, {"weight": -0.1}, {"interval": 0}, {"max_iterations": 0}, {"weight": float("nan")}],
)
def test_settings_out_of_range_are_refused(setting):
    (name,) = setting
    with pytest.raises(ValueError, match=f"{name}=.* must be .* of at least"):
        Inhibited(method=CrossEntropy(), layer="stage_2", **setting)


@pytest.mark.parametrize("setting", [{"groups": 2.5}, {"interval": 1.5}])
def test_counts_that_are_no_integers_are_refused(setting):
    with pytest.raises((ValueError, TypeError)):
        Inhibited(method=CrossEntropy(), layer="stage_2", **setting)
