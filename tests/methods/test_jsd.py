"""AugMix's objective: the official values, finite gradients, and inhibition on top."""

import pytest
import torch
from torch.nn import functional as F

from tenet.methods import Batch, CrossEntropy, Draw, Inhibited, Jsd
from tenet.methods.jsd import jensen_shannon
from tenet.networks import Network, ResNet
from tests import golden


@pytest.mark.parametrize("case", ["plain", "many", "extreme"])
def test_loss_and_gradients_are_the_official_ones_and_finite_where_those_are_not(case):
    values = golden.load("jsd.npz")
    logits = values[f"{case}/logits"].clone().requires_grad_()
    cross_entropy = F.cross_entropy(logits[0], values[f"{case}/labels"])
    consistency = 12 * jensen_shannon(logits)
    loss = cross_entropy + consistency
    close = {"atol": 0, "rtol": 1e-5}
    torch.testing.assert_close(loss.detach(), values[f"{case}/loss"], **close)
    torch.testing.assert_close(consistency.detach(), values[f"{case}/consistency"], **close)
    (gradients,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradients, values[f"{case}/gradients"], atol=1e-6, rtol=1e-5)
    if case == "extreme":
        assert values["extreme/official_gradient_is_nan"].any()


def test_label_smoothing_and_soft_targets_are_the_published_ones():
    values = golden.load("targets.npz")
    network = torch.nn.Identity()

    def update_of(method, **settings):
        logits = values["logits"].clone().requires_grad_()
        batch = Batch(
            images=logits, labels=values["labels"], step=1, draw=Draw("cpu", seed=0, step=1), **settings
        )
        (update,) = method.updates(network, batch)
        return update.loss.detach(), torch.autograd.grad(update.loss, logits)[0]

    expected = zip(values["smoothing"], values["smoothed_loss"], values["smoothed_gradients"], strict=True)
    for smoothing, loss, gradients in expected:
        got = update_of(CrossEntropy(label_smoothing=round(float(smoothing), 6)))
        torch.testing.assert_close(got, (loss, gradients), atol=1e-6, rtol=1e-6)
    got = update_of(CrossEntropy(), targets=values["soft_targets"])
    torch.testing.assert_close(got, (values["soft_loss"], values["soft_gradients"]), atol=1e-6, rtol=1e-6)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Network(ResNet(num_classes=5, depth=8, width=4), cut="stage_2")


def batch_of_views(**settings):
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.rand(18, 3, 16, 16, generator=generator), torch.tensor([0, 1, 2, 3, 4, 0])
    return Batch(images=images, labels=labels, step=1, draw=Draw("cpu", seed=0, step=1), views=3, **settings)


def test_all_views_go_through_one_forward_and_the_clean_one_is_classified(network):
    batch = batch_of_views()
    (update,) = Jsd(weight=2.0).updates(network.train(), batch)
    assert update.terms.keys() == {"loss", "loss_cross_entropy", "loss_consistency"}
    torch.testing.assert_close(
        update.terms["loss"], update.terms["loss_cross_entropy"] + 2 * update.terms["loss_consistency"]
    )
    assert update.samples == 6
    assert len(update.correct) == 6
    assert all(
        int(module.num_batches_tracked) == 1
        for module in network.modules()
        if isinstance(module, torch.nn.BatchNorm2d)
    )


def test_inhibition_follows_on_the_clean_view_of_the_samples_that_were_right(network):
    seen = []
    network.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    batch = batch_of_views()
    with torch.no_grad():
        labels = network.train()(batch.images)[:6].argmax(1)
    seen.clear()
    labels[0] = (labels[0] + 1) % 5  # one sample is wrong
    batch = Batch(images=batch.images, labels=labels, step=1, draw=batch.draw, views=3)
    method = Inhibited(method=Jsd(), layer="stage_2", groups=2, start_step=0, interval=1)
    assert method.views == 3
    plain, inhibited = method.updates(network.train(), batch)
    assert plain.correct.tolist() == [False] + [True] * 5
    assert inhibited.samples == 5
    passes = [
        images for images in seen[1:] if not images.is_meta
    ]  # the least batch is found on the meta device
    assert len(passes) == 2
    assert all(torch.equal(images, batch.images[1:6]) for images in passes)


def test_an_inhibited_update_has_soft_targets_and_no_label_smoothing(network):
    generator = torch.Generator().manual_seed(1)
    targets = torch.rand(6, 5, generator=generator).softmax(1)
    batch = batch_of_views()
    with torch.no_grad():
        labels = network.train()(batch.images[:6]).argmax(1)
    batch = Batch(images=batch.images[:6], labels=labels, targets=targets, step=1, draw=batch.draw)
    logits = []
    network.register_forward_hook(lambda module, arguments, output: logits.append(output))
    plain = CrossEntropy(label_smoothing=0.3)
    method = Inhibited(method=plain, layer="stage_2", groups=2, start_step=0, interval=1)
    _, inhibited = method.updates(network, batch)
    masked = logits[-1][1]
    torch.testing.assert_close(
        inhibited.terms["loss_inhibited"], F.cross_entropy(masked, targets[: len(masked)]).detach()
    )
