"""Adversarial training: the published updates, with other methods inside and inhibition on top."""

import torch

from tenet.methods import Batch, CrossEntropy, Draw, Free, Trades, trades
from tests.methods import small_net

EXACT = {"atol": 1e-9, "rtol": 1e-9}


def batch_of(images, labels, **settings):
    return Batch(images=images, labels=labels, step=1, draw=Draw("cpu", seed=0, step=1), **settings)


def take(update, optimizer):
    optimizer.zero_grad()
    update.loss.backward()
    optimizer.step()


def test_free_training_is_the_official_one_over_two_batches():
    values, network, images, labels = small_net.load(torch.float64)
    method = Free(method=CrossEntropy())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for part, signs in zip((slice(0, 8), slice(8, 13)), values["free/noise_sign_after_replay"], strict=True):
        for update in method.updates(network.train(), batch_of(images[part], labels[part])):
            take(update, optimizer)
        torch.testing.assert_close(method.noise[:, 0], signs.double() * 4 / 255, **EXACT)
    for name, weight in network.backbone.state_dict().items():
        torch.testing.assert_close(weight, values[f"free/weights/{name}64"], **EXACT)


def test_the_loss_and_the_gradients_of_trades_are_the_official_ones(monkeypatch):
    values, network, images, labels = small_net.load(torch.float64)
    monkeypatch.setattr(trades, "draw_like", lambda *arguments: values["trades/noise"].double())
    method, batch = Trades(method=CrossEntropy()), batch_of(images[:4], labels[:4])
    worse = method.attack(network, batch)
    torch.testing.assert_close(worse.float(), values["trades/adversarial"], atol=1e-6, rtol=0)
    (update,) = method.updates(network.train(), batch)
    update.loss.backward()
    torch.testing.assert_close(update.terms["loss"], values["trades/loss64"], **EXACT)
    for name, weight in network.backbone.named_parameters():
        torch.testing.assert_close(weight.grad, values[f"trades/gradients/{name}64"], **EXACT)
