"""Evaluation under attack: published counts, the same figures however the work is shared or interrupted, and its signs."""

import copy
import importlib.util

import pytest
import torch
from torch import nn

from tenet.data import ImageArrays
from tenet.distributed import ProcessGroup
from tenet.errors import ConfigError
from tenet.evaluation import attacked
from tenet.evaluation.attack_settings import AttackSettings, radius_text
from tenet.evaluation.attacked import attack_batch, predict_attacked
from tenet.evaluation.cache import PredictionCache
from tenet.evaluation.classifier import Classifier
from tenet.evaluation.loop import predict_suites
from tenet.evaluation.measures import Measures
from tenet.evaluation.robustbench import Model
from tenet.evaluation.suites.attacks import Attacks
from tenet.methods.attacks import Pgd
from tenet.networks import Network
from tests import golden
from tests.methods.small_net import SmallNet

MODEL = Model("mine", "cifar10", "SmallNet")


@pytest.fixture(scope="module")
def values():
    return golden.load("autoattack.npz")


@pytest.fixture
def test_set(values):
    return ImageArrays(values["images"], values["labels"].long(), tuple("abcdefghij"))


@pytest.fixture
def classifier(values):
    """The small network, in train mode and with autocast, as a run may have it."""
    backbone = SmallNet()
    weights = {key: value for key, value in values.items() if key.startswith("weights/")}
    backbone.load_state_dict({key.removeprefix("weights/"): value for key, value in weights.items()})
    return Classifier(Network(backbone, precision="bf16"), batch_size=16)


def make_suite(test_set, classifier=None, **changes):
    settings = AttackSettings(**{"names": ["pgd"], "steps": 5, **changes})
    return Attacks(
        test_set, Measures(test_set.classes), settings=settings, model=MODEL, classifier=classifier
    )


def test_pgd_20_from_the_image_leaves_the_published_images_right(values, test_set, classifier):
    found = predict_attacked(classifier, test_set, Pgd(steps=20, random_start=False))
    # The published count holds one image that is wrong without attack, which here is not robust.
    expected = values["correct_pgd_20_from_the_image"] & values["correct_clean"]
    assert torch.equal(~found.wrong, expected)
    assert classifier.network.training
    assert classifier.network.precision == "bf16"


@pytest.mark.alone
def test_autoattack_leaves_the_published_count_of_images_right(values, test_set, classifier):
    pytest.importorskip("pyautoattack")
    attack = AttackSettings(names=["autoattack"]).attacks(classes=10)["autoattack-linf-8"].attack
    ids = torch.arange(len(test_set))
    state = torch.get_rng_state()
    found = attack_batch(classifier, test_set.read(ids), attack, ids)
    right = (found.logits.argmax(1) == found.labels).sum()
    assert abs(right - values["correct_standard"].sum()) <= 1
    change = found.images - values["images"].permute(0, 3, 1, 2) / 255
    assert change.abs().max() <= 8 / 255 + 1e-6
    assert torch.equal(torch.get_rng_state(), state)


def test_a_custom_autoattack_is_stronger_than_no_attack_and_named(values, test_set, classifier):
    pytest.importorskip("pyautoattack")
    suite = make_suite(test_set, names=["autoattack"], autoattack=["apgd-ce"], images=10)
    predictions = predict_suites([suite], classifier, None)
    summary = suite.summarize(predictions)
    assert "AutoAttack: custom version (apgd-ce)" in summary.lines
    info = summary.documents["robustbench-linf-8.json"]
    assert (info["eps"], info["dataset"]) == ("8/255", "cifar10")
    assert float(info["autoattack_acc"]) < float(info["clean_acc"])
    assert info["footnote"] == "AutoAttack, custom version (apgd-ce). Measured on 10 of the 50 test images."


def test_each_share_and_order_of_classes_gives_the_same_predictions(test_set, classifier):
    attack = Pgd(steps=3)
    whole = predict_attacked(classifier, test_set, attack)
    order = torch.arange(10).roll(3)
    network = copy.deepcopy(classifier.network)
    for parameter in network.backbone.fc.parameters():
        parameter.data[order] = parameter.data.clone()
    shares = []

    class OneOfTwo(ProcessGroup):
        def gather(self, value):
            shares.append(value)
            return shares

    def predict(rank):
        one = Classifier(network, 16, tuple(order.tolist()), OneOfTwo(rank, 2))
        return predict_attacked(one, test_set, attack)

    with pytest.raises(KeyError):  # the batches of the other process, which has not come to it
        predict(1)
    found = predict(0)
    assert [len(share) for share in shares] == [2, 2]
    assert torch.equal(found.predicted, whole.predicted)
    torch.testing.assert_close(found.nll, whole.nll)


@pytest.mark.slow
def test_an_attack_continues_after_its_last_whole_batch(test_set, classifier, tmp_path, monkeypatch):
    suite = make_suite(test_set)
    whole = predict_suites(
        [suite], classifier, PredictionCache(tmp_path / "whole", identity=suite.identity())
    )
    perturbed = []

    def interrupted(*args):
        perturbed.append(1)
        if len(perturbed) == 15:  # none, random, fgsm: 4 batches each; then the third one of PGD
            raise KeyboardInterrupt
        return attack_batch(*args)

    monkeypatch.setattr(attacked, "attack_batch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict_suites([suite], classifier, PredictionCache(tmp_path / "parts", identity=suite.identity()))
    found = predict_suites(
        [suite], classifier, PredictionCache(tmp_path / "parts", identity=suite.identity())
    )
    assert len(perturbed) == 15 + 2
    for name in whole:
        assert all(torch.equal(a, b) for a, b in zip(whole[name], found[name], strict=True))
    assert not list((tmp_path / "parts").glob("*.parts"))


def test_a_radius_is_named_in_255ths_where_it_is_a_multiple_of_them():
    radii = (0.0, 8 / 255, 0.5, 1.0)
    assert [radius_text(radius) for radius in radii] == ["0/255", "8/255", "0.5", "1.0"]
    assert "pgd-linf-1.0" in AttackSettings(names=["pgd"], radius=1.0, steps=1).attacks(classes=10)
    attacks = AttackSettings(names=["apgd"], norm="l2", radius=[0.5, "8/255"]).attacks(classes=10)
    assert list(attacks) == [
        "none", "random-l2-8", "fgsm-l2-8", "apgd-l2-8", "random-l2-0.5", "fgsm-l2-0.5", "apgd-l2-0.5",
    ]  # fmt: skip


class Rounded(nn.Module):
    """Masks the gradients of another network: those of rounding are 0."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, images):
        return self.inner((images * 8).round() / 8)


@pytest.mark.slow
def test_masked_gradients_are_told_and_honest_ones_are_not(test_set, classifier):
    suite = make_suite(test_set, radius=["8/255", "16/255"])
    honest = suite.summarize(predict_suites([suite], classifier, None))
    assert honest.lines[-1].startswith("no sign of masked gradients")
    masked = Classifier(Network(Rounded(classifier.network.backbone)), batch_size=16)
    summary = suite.summarize(predict_suites([suite], masked, None))
    text = "\n".join(summary.lines)
    assert "linf 16/255: PGD-5 is weaker than random search" in text
    assert "a step along the gradient changes nothing for 100 % of the images: it is zero" in text
    assert "of the images does not rise over the steps of PGD-5" in text
    assert summary.content["attacks"]["signs_of_masked_gradients"]


def test_at_radius_0_there_is_nothing_to_judge_gradients_by(test_set, classifier):
    suite = make_suite(test_set, radius=0.0, step_size=0.0, images=10)
    summary = suite.summarize(predict_suites([suite], classifier, None))
    assert summary.lines[-2:] == [
        "PGD: 5 steps of 0.0 from 1 random start",
        "no sign of masked gradients (docs/adversarial.md)",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": 51}, "attacks.images=51 exceeds the 50 test images; lower it, or write null for all"),
        ({"radius": "300/255"}, "attacks.radius=1.17.* must be at most 1, because images are in"),
        ({"radius": []}, r"attacks.radius=\[\]: name at least one radius"),
        ({"names": ["autoattack"], "autoattack": []}, r"attacks.autoattack=\[\]: name at least one attack"),
        ({"names": ["autoattack"], "few": True}, "apgd-t needs 4 classes, and the data set has 3"),
    ],
)
def test_what_cannot_be_measured_is_refused(test_set, changes, message):
    if "autoattack" in changes.get("names", ()):
        pytest.importorskip("pyautoattack")
    if changes.pop("few", False):
        test_set = ImageArrays(test_set.images, test_set.labels % 3, tuple("abc"))
    with pytest.raises(ConfigError, match=f"^{message}|: {message}"):
        make_suite(test_set, **changes)


def test_autoattack_without_its_package_names_the_extra(test_set, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"needs pyautoattack; install it with pip install 'tenet-training\[attacks\]'"
    ):
        make_suite(test_set, names=["autoattack"])
