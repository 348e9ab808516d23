"""Adversarial training: the published updates, with other methods inside and inhibition on top."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from tenet.methods import (
    Adversarial,
    Batch,
    CrossEntropy,
    Draw,
    FgsmRs,
    Free,
    Inhibited,
    Pgd,
    Trades,
    adversarial,
    trades,
)
from tenet.networks import Network, ResNet
from tenet.run.metrics_file import read_metrics
from tests.entry_points import TINY, train
from tests.methods import small_net
from tests.training.runs import assert_same_weights, run

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


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Network(ResNet(num_classes=3, depth=8, width=4), cut="stage_2").train()


@pytest.fixture
def batch():
    images = torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return batch_of(images, torch.arange(12) % 3)


def test_an_update_and_the_inhibited_one_see_the_images_made_worse(network, batch):
    seen = []
    network.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].detach()))
    attack = Pgd(steps=1, radius=1e-3, step_size=1e-3)
    method = Inhibited(
        method=Adversarial(method=CrossEntropy(), attack=attack),
        layer="stage_2",
        groups=2,
        start_step=0,
        interval=1,
    )
    worse = attack.perturb(network, batch.images, batch.labels, draw=batch.draw)
    plain, _ = method.updates(network, batch)
    assert not torch.equal(worse, batch.images)
    assert torch.equal(plain.batch.images, worse)
    assert torch.equal(seen[-1], worse[plain.correct])
    assert method.forwards == 2


def test_trades_normalises_images_and_worse_images_apart(network, batch):
    (update,) = Trades(method=CrossEntropy(), steps=1).updates(network, batch)
    alone = F.cross_entropy(network(batch.images), batch.labels)
    torch.testing.assert_close(update.terms["loss_cross_entropy"], alone.detach())
    torch.testing.assert_close(
        update.terms["loss"], update.terms["loss_cross_entropy"] + 6 * update.terms["loss_divergence"]
    )
    assert network.training
    assert int(network.backbone.stages.stem[1].num_batches_tracked) == 3, "twice in the update, once above"


def test_catastrophic_overfitting_is_measured_and_warned_of_once(network, batch, caplog):
    class Harmless(FgsmRs):
        def search(self, network, images, labels, *, draw):
            return images

    with torch.no_grad():
        labels = network(batch.images).argmax(1)
    method = Adversarial(method=CrossEntropy(), attack=Harmless(radius=0.5))
    errors = []
    for step in (199, 200, 400):
        (update,) = method.updates(network, replace(batch, labels=labels, step=step))
        errors.append(update.terms.get("error_pgd_pct"))
    assert errors[0] is None
    assert 50 < errors[1] <= 100
    assert errors[2] is not None
    (warning,) = caplog.records
    what = "step 200: catastrophic overfitting: of 12 training images, 100 % withstand the attack of training but only "
    assert warning.message.startswith(what)


def test_the_watch_searches_the_ball_of_the_attack_of_training(network, batch, monkeypatch):
    searched = []
    whole = adversarial.ascend
    monkeypatch.setattr(
        adversarial, "ascend", lambda *args, **kw: searched.append(whole(*args, **kw)) or searched[0]
    )
    attack = Pgd(steps=1, norm="l2", radius=2, step_size=2)
    (update,) = Adversarial(method=CrossEntropy(), attack=attack).updates(network, replace(batch, step=200))
    assert "error_pgd_pct" in update.terms
    change = (searched[0] - batch.images).flatten(1).norm(dim=1)
    assert 1.9 < change.max() <= 2 + 1e-5


@pytest.mark.slow
def test_free_training_that_is_resumed_takes_the_steps_of_an_uninterrupted_run(tmp_path):
    def free():
        return Inhibited(
            method=Free(method=CrossEntropy(), replays=2), layer="stage_2", groups=3, start_step=3
        )

    whole = run(tmp_path / "whole", method=free())
    run(tmp_path / "part", method=free(), max_steps=8)
    resumed = run(tmp_path / "part", method=free())
    assert resumed.resumed_at == 8
    assert_same_weights(resumed.network, whole.network)
    assert torch.equal(resumed.method.method.noise, whole.method.method.noise)


@pytest.mark.parametrize(
    ("words", "metric"),
    [
        (["attack=pgd", "attack.steps=2", "objective=jsd", "mixing=mixup"], "train/loss_consistency"),
        (["attack=trades", "attack.radius=4/255", "trainer.precision=bf16"], "train/loss_divergence"),
    ],
)
def test_attacks_train_by_the_command(tmp_path, words, metric):
    train(*TINY, *words, "trainer.max_steps=6", "hydra.run.dir=run", cwd=tmp_path)
    rows = [row for row in read_metrics(tmp_path / "run" / "metrics.jsonl") if metric in row]
    assert [row["step"] for row in rows] == [3, 6]
    assert rows[-1]["train/inhibited_steps"] + rows[-1]["train/skipped_steps"] > 0
