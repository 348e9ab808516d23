"""Standard training: the loss, and which samples count as right."""

import torch
from torch.nn import functional as F

from tenet.methods import Batch, CrossEntropy, Draw
from tenet.networks import Network, ResNet


def make(**changes):
    torch.manual_seed(0)
    network = Network(ResNet(num_classes=3, depth=8, width=4)).eval()
    images, labels = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 0])
    batch = Batch(
        **{"images": images, "labels": labels, "step": 1, "draw": Draw("cpu", seed=0, step=1), **changes}
    )
    (update,) = CrossEntropy().updates(network, batch)
    return network(batch.images), update


def test_the_loss_is_the_mean_cross_entropy_and_right_is_who_has_the_highest_logit():
    logits, update = make()
    torch.testing.assert_close(update.loss, F.cross_entropy(logits, update.batch.labels))
    assert torch.equal(update.correct, logits.argmax(1) == update.batch.labels)
    assert update.samples == 4
    assert not update.terms["loss"].requires_grad


def test_soft_targets_replace_the_labels_in_the_loss_alone():
    targets = torch.tensor([[0.5, 0.5, 0.0]]).expand(4, 3)
    logits, update = make(targets=targets)
    expected = -(targets * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(update.loss, expected)
    assert torch.equal(update.correct, logits.argmax(1) == update.batch.labels)


def test_all_views_are_trained_on_and_the_first_says_who_was_right():
    logits, update = make(images=torch.rand(8, 3, 8, 8), views=2)
    torch.testing.assert_close(update.loss, 2 * F.cross_entropy(logits, update.batch.labels.repeat(2)))
    assert torch.equal(update.correct, logits[:4].argmax(1) == update.batch.labels)
