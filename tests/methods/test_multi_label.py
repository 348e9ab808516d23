"""Images that show several classes: the binary cross-entropy, and inhibition on the labels that were right."""

import pytest
import torch
from torch.nn import functional as F

from tenet.methods import Batch, BinaryCrossEntropy, Draw, Inhibited, importance_pass
from tenet.methods.labels import MultiLabel
from tenet.networks import Network, ResNet
from tenet.training.means import RunningMeans
from tests import golden
from tests.methods.steps import RecordingNetwork

CLASSES = 5


class GivenLogits(torch.nn.Module):
    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(logits)

    def forward(self, images):
        return self.logits


def make_batch(labels, *, images=None, views=1, step=1):
    if images is None:
        images = torch.rand(views * len(labels), 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return Batch(images=images, labels=labels, step=step, draw=Draw("cpu", seed=0, step=step), views=views)


def update_of(logits, labels, *, views=1, **settings):
    network = GivenLogits(logits)
    (update,) = BinaryCrossEntropy(**settings).updates(network, make_batch(labels, views=views))
    return network, update


def some_labels(rows=6, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, 2, (rows, CLASSES), generator=generator).to(torch.int8)


def test_the_loss_and_its_gradient_are_the_golden_ones_with_and_without_difficult_entries():
    values = golden.load("targets.npz")
    # In the golden file, as in Pascal VOC's lists, -1 is absent and 0 not counted.
    flags = values["multilabel_labels"]
    labels = torch.where(flags == 0, -1, (flags == 1).long()).to(torch.int8)
    network, update = update_of(values["multilabel_logits"], labels)
    torch.testing.assert_close(update.loss, values["multilabel_loss_known_mean"], rtol=0, atol=1e-6)
    assert int(update.samples) == int((flags != 0).sum())
    update.loss.backward()
    torch.testing.assert_close(network.logits.grad, values["multilabel_gradients"], rtol=0, atol=1e-6)
    _, update = update_of(values["multilabel_logits"], labels, count_difficult=True)
    torch.testing.assert_close(update.loss, values["multilabel_loss_all_mean"], rtol=0, atol=1e-6)
    assert int(update.samples) == flags.numel()


def test_the_training_error_is_the_share_of_the_labels_that_count_and_are_wrong():
    labels = torch.tensor([[1, 0, -1], [0, 1, 1]], dtype=torch.int8)
    logits = torch.tensor([[2.0, 1.0, 5.0], [-1.0, -2.0, 0.5]])  # wrong at [0, 1] and [1, 1], of 5
    _, update = update_of(logits, labels)
    means = RunningMeans(torch.device("cpu"))
    update.gradient_norm = torch.zeros(())
    means.add(update)
    assert means.read()[0]["train/error_pct"] == pytest.approx(40)


def test_the_losses_of_several_views_are_added_and_the_first_says_what_was_right():
    labels, logits = some_labels(), torch.randn(12, CLASSES, generator=torch.Generator().manual_seed(3))
    _, both = update_of(logits, labels, views=2)
    (_, one), (_, other) = update_of(logits[:6], labels), update_of(logits[6:], labels)
    torch.testing.assert_close(both.loss, one.loss + other.loss)
    assert torch.equal(both.correct, one.correct)


def test_the_number_of_samples_weighs_the_shares_of_a_batch_as_one_batch():
    labels, logits = some_labels(), torch.randn(6, CLASSES, generator=torch.Generator().manual_seed(3))
    shares = [update_of(logits[part], labels[part])[1] for part in (slice(0, 4), slice(4, 6))]
    whole = update_of(logits, labels)[1]
    total = sum(share.loss * share.samples for share in shares) / sum(share.samples for share in shares)
    torch.testing.assert_close(total, whole.loss)


def test_a_batch_whose_labels_are_all_left_out_moves_nothing():
    network, update = update_of(torch.ones(2, 3), torch.full((2, 3), -1, dtype=torch.int8))
    update.loss.backward()
    assert update.loss == 0
    assert not network.logits.grad.any()


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = RecordingNetwork(ResNet(num_classes=CLASSES, depth=8, width=4), cut="stage_2").train()
    with torch.no_grad():  # logits of both signs
        network(torch.rand(32, 3, 8, 8))
    return network


def inhibit(network, labels, **settings):
    method = Inhibited(
        method=BinaryCrossEntropy(**settings), layer="stage_2", groups=3, start_step=0, interval=1
    )
    batch = make_batch(labels)
    return batch, list(method.updates(network, batch))


def test_an_inhibited_update_follows_on_the_samples_with_a_present_class_of_positive_logit(network):
    labels = some_labels()
    labels[0] = 0  # shows nothing: never chosen
    _, (plain, inhibited) = inhibit(network, labels)
    right = plain.correct & (labels == 1)
    chosen = right.any(dim=1)
    assert 0 < chosen.sum() < 6
    assert inhibited.samples == int(chosen.sum())
    # On all labels that count, also those that were wrong: each sample's mean, then the mean over samples.
    expected = [
        F.binary_cross_entropy_with_logits(logits[row >= 0], row[row >= 0].float())
        for logits, row in zip(network.masked_logits, labels[chosen], strict=True)
    ]
    torch.testing.assert_close(inhibited.terms["loss_inhibited"], torch.stack(expected).mean().detach())
    inhibited.loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


def test_importance_is_that_of_the_right_labels_together(network):
    images = make_batch(some_labels()).images
    right = torch.rand(6, CLASSES, generator=torch.Generator().manual_seed(5)) < 0.4
    _, gradients = importance_pass(network, images, right, kind=MultiLabel())
    by_label = torch.zeros_like(gradients)
    for label in range(CLASSES):
        alone = importance_pass(network, images, torch.full((6,), label)).gradients
        by_label += alone * right[:, label, None, None, None]
    torch.testing.assert_close(gradients, by_label)


def test_with_one_present_class_a_sample_importance_and_mask_are_those_of_single_labels(network):
    classes = torch.tensor([0, 3, 1, 4, 2, 2])
    labels = F.one_hot(classes, CLASSES).to(torch.int8)
    _, (plain, inhibited) = inhibit(network, labels)
    chosen = plain.correct[torch.arange(6), classes]
    assert inhibited.samples == int(chosen.sum()) > 0
    images = make_batch(labels).images[chosen]
    kind = MultiLabel()
    decisive = kind.decisive(labels, plain.correct)[chosen]
    one = importance_pass(network, images, decisive, kind=kind)
    other = importance_pass(network, images, classes[chosen])
    torch.testing.assert_close(one.gradients, other.gradients)
    torch.testing.assert_close(
        inhibited.terms["loss_inhibited"],
        F.binary_cross_entropy_with_logits(network.masked_logits, labels[chosen].float()).detach(),
    )


def test_labels_that_were_all_wrong_skip_the_inhibited_step(network):
    method = Inhibited(method=BinaryCrossEntropy(), layer="stage_2", groups=3, start_step=0, interval=1)
    batch = make_batch(torch.zeros(6, CLASSES, dtype=torch.int8))
    assert len(list(method.updates(network, batch))) == 1
    assert method.counters()["skipped_steps"] == 1


def test_the_labels_that_a_network_predicts_are_all_right():
    torch.manual_seed(0)
    network = Network(ResNet(num_classes=CLASSES, depth=8, width=4)).train()
    batch = make_batch(some_labels())
    labels = MultiLabel().predicted(network(batch.images))
    (update,) = BinaryCrossEntropy().updates(network, make_batch(labels, images=batch.images))
    assert update.correct.all()
